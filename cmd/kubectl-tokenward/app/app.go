// Package app is the command line of Tokenward: one file a command.
//
// It may import every package but the app of the other program: no package imports
// it but main.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/strictyaml"
	"tokenward.dev/tokenward/pkg/version"
)

// The exit statuses of all commands.
const (
	exitClean    = 0
	exitFindings = 1 // findings, or cases that fail
	exitFailed   = 2 // could not run
	// exitIncomplete is for no finding, while something could not be read or judged.
	exitIncomplete = 3
)

// errFindings ends a command that ran and found something. It has been told.
var errFindings = errors.New("findings") //nolint:gochecknoglobals // an error to compare with

// errIncomplete ends a command that has told of all it could, and not of everything;
// errNothing one that could judge nothing. Both have been told.
var (
	errIncomplete = errors.New("incomplete")         //nolint:gochecknoglobals // an error to compare with
	errNothing    = errors.New("nothing was judged") //nolint:gochecknoglobals // an error to compare with
)

// Main runs the command line and returns its exit status.
func Main(ctx context.Context, args []string, out, errOut io.Writer) int {
	return run(ctx, New(time.Now), args, os.Stdin, out, errOut)
}

// New returns the command with all that are below it, for documentation too.
func New(now func() time.Time) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-tokenward",
		Short: "Verify the tokens and Secrets that pods depend on",
		Long: `Verify the tokens and Secrets that pods depend on.

Exit status: 0 clean, 1 findings (or a token that is not valid, or a link that
is broken), 2 could not run, 3 no findings, but something could not be read.`,
		Version:       version.Get().String(),
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl tokenward"},
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs, // cobra's own error would repeat a token
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetUsageFunc(func(c *cobra.Command) error {
		_, err := fmt.Fprint(c.OutOrStderr(), usage(c))
		return err
	})
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(newAuditCommand())
	root.AddCommand(newCheckCommand())
	root.AddCommand(newTestCommand())
	root.AddCommand(newTokenCommand(now))
	root.AddCommand(newDoctorCommand(now))
	root.AddCommand(newExplainCommand())
	root.AddCommand(newVersionCommand())
	return root
}

func run(ctx context.Context, root *cobra.Command, args []string, in io.Reader, out, errOut io.Writer) int {
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return exitClean
	case errors.Is(err, errFindings):
		return exitFindings
	case errors.Is(err, errIncomplete):
		return exitIncomplete
	case errors.Is(err, errNothing):
		return exitFailed
	default:
		_, _ = fmt.Fprintln(errOut, "error:", redact(err.Error()))
		return exitFailed
	}
}

func unknownCommand(root *cobra.Command, word string) error {
	if !commandWord.MatchString(word) {
		return errors.New("unknown command; see kubectl tokenward --help")
	}
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	if near := strictyaml.Nearest(word, names); near != "" {
		return fmt.Errorf("unknown command %q; did you mean %q?", word, near)
	}
	return fmt.Errorf("unknown command %q; see kubectl tokenward --help", word)
}
