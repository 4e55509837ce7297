// Package packerui is the rim between this plugin and Packer: whatever is said,
// logged or returned as an error passes it, and comes out without terminal
// escapes and without passwords.
package packerui

import (
	"fmt"
	"io"
	"log"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// Clean is how a text leaves the plugin: safetext.Lines without passwords.
func Clean(text string) string { return safetext.Passwords(safetext.Lines(text)) }

// ui cleans what is said before another Ui says it.
type ui struct{ packersdk.Ui }

// New returns a Ui that cleans what is said and passes it to to.
func New(to packersdk.Ui) packersdk.Ui { return ui{to} }

// Say, Message and Error say one text; Sayf and Errorf format it first. Ask and
// Askf put it as a question. Machine says it to programs.
func (u ui) Say(text string)                   { u.Ui.Say(Clean(text)) }
func (u ui) Sayf(format string, args ...any)   { u.Say(fmt.Sprintf(format, args...)) }
func (u ui) Message(text string)               { u.Ui.Say(Clean(text)) }
func (u ui) Error(text string)                 { u.Ui.Error(Clean(text)) }
func (u ui) Errorf(format string, args ...any) { u.Error(fmt.Sprintf(format, args...)) }

func (u ui) Ask(query string) (string, error) { return u.Ui.Ask(Clean(query)) }

func (u ui) Askf(format string, args ...any) (string, error) {
	return u.Ask(fmt.Sprintf(format, args...))
}

func (u ui) Machine(kind string, args ...string) {
	cleaned := make([]string, len(args))
	for i, a := range args {
		cleaned[i] = Clean(a)
	}
	u.Ui.Machine(Clean(kind), cleaned...)
}

// TrackProgress shows how far a download is; its name comes from a URL.
func (u ui) TrackProgress(name string, current, total int64, stream io.ReadCloser) io.ReadCloser {
	return u.Ui.TrackProgress(Clean(name), current, total, stream)
}

// said is an error in words that may leave the plugin.
type said struct{ err error }

// Error returns an error whose text is clean, or nil for nil. It wraps err.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return said{err}
}

func (s said) Error() string { return Clean(s.err.Error()) }

func (s said) Unwrap() error { return s.err }

// logs cleans what is logged. The log package writes one entry at a time.
type logs struct{ to io.Writer }

func (l logs) Write(p []byte) (int, error) {
	if _, err := io.WriteString(l.to, Clean(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CleanLogs has everything that the process logs cleaned, which Packer shows
// with PACKER_LOG=1.
func CleanLogs() { log.SetOutput(logs{log.Writer()}) }
