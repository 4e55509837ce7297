package report

// The types below are what report.sarif has of SARIF 2.1.0: the property names
// are the standard's, and fields stand in alphabetical order, as in the file.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Runs    []sarifRun `json:"runs"`
		Version string     `json:"version"`
	}
	sarifRun struct {
		AutomationDetails  sarifAutomation      `json:"automationDetails"`
		ColumnKind         string               `json:"columnKind"`
		Invocations        []sarifInvocation    `json:"invocations"`
		Language           string               `json:"language"`
		NewlineSequences   []string             `json:"newlineSequences"`
		OriginalURIBaseIDs map[string]sarifBase `json:"originalUriBaseIds"`
		Properties         sarifRunProperties   `json:"properties"`
		Results            []sarifResult        `json:"results"`
		Tool               sarifTool            `json:"tool"`
	}
	sarifAutomation struct {
		ID string `json:"id"`
	}
	sarifInvocation struct {
		EndTimeUTC          string `json:"endTimeUtc"`
		ExecutionSuccessful bool   `json:"executionSuccessful"`
	}
	sarifBase struct {
		Description sarifText `json:"description"`
	}
	sarifRunProperties struct {
		Access     string `json:"access,omitempty"`
		Benchmark  string `json:"benchmark,omitempty"`
		Build      string `json:"build,omitempty"`
		Datastore  string `json:"datastore,omitempty"`
		K3sVersion string `json:"k3s_version,omitempty"`
		Role       string `json:"role,omitempty"`
		Verdict    string `json:"verdict"`
	}
	// sarifText is a message or a multiformat message string.
	sarifText struct {
		Text string `json:"text"`
	}
)

// The tool and its rules.
type (
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Contents        []string    `json:"contents"`
		InformationURI  string      `json:"informationUri"`
		IsComprehensive bool        `json:"isComprehensive"`
		Language        string      `json:"language"`
		Name            string      `json:"name"`
		Organization    string      `json:"organization"`
		Rules           []sarifRule `json:"rules"`
		Version         string      `json:"version"`
	}
	sarifRule struct {
		DefaultConfiguration sarifConfiguration  `json:"defaultConfiguration"`
		FullDescription      *sarifText          `json:"fullDescription,omitempty"`
		Help                 *sarifText          `json:"help,omitempty"`
		ID                   string              `json:"id"`
		Name                 string              `json:"name"`
		Properties           sarifRuleProperties `json:"properties"`
		ShortDescription     sarifText           `json:"shortDescription"`
	}
	sarifConfiguration struct {
		Enabled bool   `json:"enabled"`
		Level   string `json:"level"`
	}
	sarifRuleProperties struct {
		ID      string   `json:"id,omitempty"`
		Origin  string   `json:"origin"`
		Section string   `json:"section,omitempty"`
		Tags    []string `json:"tags"`
	}
)

// A result, where it was seen and who accepts it.
type (
	sarifResult struct {
		Kind                string                `json:"kind"`
		Level               string                `json:"level"`
		Locations           []sarifLocation       `json:"locations,omitempty"`
		Message             sarifText             `json:"message"`
		PartialFingerprints map[string]string     `json:"partialFingerprints"`
		Properties          sarifResultProperties `json:"properties"`
		RuleID              string                `json:"ruleId"`
		RuleIndex           int                   `json:"ruleIndex"`
		Suppressions        []sarifSuppression    `json:"suppressions,omitempty"`
	}
	sarifResultProperties struct {
		Expected string `json:"expected,omitempty"`
		Found    string `json:"found,omitempty"`
		Reason   string `json:"reason,omitempty"`
		Status   string `json:"status"`
	}
	sarifLocation struct {
		LogicalLocations []sarifLogicalLocation `json:"logicalLocations,omitempty"`
		Message          *sarifText             `json:"message,omitempty"`
		PhysicalLocation *sarifPhysicalLocation `json:"physicalLocation,omitempty"`
	}
	sarifLogicalLocation struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}
	sarifPhysicalLocation struct {
		ArtifactLocation sarifArtifactLocation `json:"artifactLocation"`
		Region           *sarifRegion          `json:"region,omitempty"`
	}
	sarifArtifactLocation struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifSuppression struct {
		Justification string                `json:"justification"`
		Kind          string                `json:"kind"`
		Properties    sarifWaiverProperties `json:"properties"`
		Status        string                `json:"status"`
	}
	sarifWaiverProperties struct {
		Build   string `json:"build,omitempty"`
		Control string `json:"control,omitempty"`
		Expires string `json:"expires"`
		Owner   string `json:"owner,omitempty"`
		Role    string `json:"role,omitempty"`
	}
)
