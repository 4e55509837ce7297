package report

import "sync"

// view is a report and what several formats need of it. That is worked out when
// the first of them asks, and once.
type view struct {
	Report
	// sections are the report's; see Report.sections. Nobody changes them.
	sections func() []section
	// json is report.json. Nobody changes it.
	json func() ([]byte, error)
	// Verdict is the report's; see Report.Verdict.
	Verdict func() string
}

func newView(r Report) *view {
	return &view{
		Report:   r,
		sections: sync.OnceValue(r.sections),
		json:     sync.OnceValues(func() ([]byte, error) { return marshalJSON(r) }),
		Verdict:  sync.OnceValue(r.Verdict),
	}
}
