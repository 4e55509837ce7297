// Command argo-lint is `argo lint --offline` with Argo's own packages. The program
// argo is no tool of this repository as others are: its module leaves out the pages
// of its server, without which it cannot be built.
//
//	argo-lint FILE...
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/argoproj/argo-workflows/v4/cmd/argo/lint"
	"github.com/argoproj/argo-workflows/v4/pkg/apiclient"
	"github.com/argoproj/argo-workflows/v4/pkg/apis/workflow"
	"github.com/argoproj/argo-workflows/v4/util/logging"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "argo-lint:", err)
		os.Exit(1)
	}
}

// run says on standard output what is wrong with the files, and ends the program
// with 1 where something is.
func run(files []string) error {
	ctx := logging.WithLogger(context.Background(), logging.NewSlogLogger(logging.Warn, logging.Text))
	ctx, client, err := apiclient.NewClientFromOptsWithContext(ctx, apiclient.Opts{Offline: true, OfflineFiles: files})
	if err != nil {
		return err
	}
	kinds := []string{workflow.WorkflowPlural, workflow.WorkflowTemplatePlural}
	return lint.RunLint(ctx, client, kinds, "simple", true, lint.LintOptions{Files: files, Strict: true, Printer: os.Stdout})
}
