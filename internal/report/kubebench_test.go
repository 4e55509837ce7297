package report

// The types below are what kube-bench prints for --json: OverallControls,
// Controls, Group, Check and Summary of its package check, with their field
// names and order.
type (
	kbOverall struct {
		Controls []kbControls
		Totals   kbSummary
	}
	kbControls struct {
		ID              string    `json:"id"`
		Version         string    `json:"version"`
		DetectedVersion string    `json:"detected_version,omitempty"`
		Text            string    `json:"text"`
		NodeType        string    `json:"node_type"`
		Groups          []kbGroup `json:"tests"`
		kbSummary
	}
	kbGroup struct {
		ID     string    `json:"section"`
		Type   string    `json:"type"`
		Pass   int       `json:"pass"`
		Fail   int       `json:"fail"`
		Warn   int       `json:"warn"`
		Info   int       `json:"info"`
		Text   string    `json:"desc"`
		Checks []kbCheck `json:"results"`
	}
	kbCheck struct {
		ID             string   `json:"test_number"`
		Text           string   `json:"test_desc"`
		Audit          string   `json:"audit"`
		AuditEnv       string   `json:"AuditEnv"`
		AuditConfig    string   `json:"AuditConfig"`
		Type           string   `json:"type"`
		Remediation    string   `json:"remediation"`
		TestInfo       []string `json:"test_info"`
		State          string   `json:"status"`
		ActualValue    string   `json:"actual_value"`
		Scored         bool     `json:"scored"`
		IsMultiple     bool     `json:"IsMultiple"`
		ExpectedResult string   `json:"expected_result"`
		Reason         string   `json:"reason,omitempty"`
	}
	kbSummary struct {
		Pass int `json:"total_pass"`
		Fail int `json:"total_fail"`
		Warn int `json:"total_warn"`
		Info int `json:"total_info"`
	}
)
