// Package app is the command line of Tokenward: one file a command.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// The exit statuses of all commands.
const (
	exitClean    = 0
	exitFindings = 1 // findings, or cases that fail
	exitFailed   = 2 // could not run
)

// errFindings ends a command that ran and found something. It has been told.
var errFindings = errors.New("findings") //nolint:gochecknoglobals // an error to compare with

// Main runs the command line and returns its exit status.
func Main(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := &cobra.Command{
		Use:           "kubectl-tokenward",
		Short:         "Verify the tokens and Secrets that pods depend on",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(newAuditCommand())
	root.AddCommand(newCheckCommand())
	root.AddCommand(newTestCommand())
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return exitClean
	case errors.Is(err, errFindings):
		return exitFindings
	default:
		_, _ = fmt.Fprintln(errOut, "error:", err)
		return exitFailed
	}
}
