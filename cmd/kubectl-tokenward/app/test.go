package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/cases"
	"tokenward.dev/tokenward/pkg/report"
)

func newTestCommand() *cobra.Command {
	output := "text"
	command := &cobra.Command{
		Use:   "test PATH...",
		Short: "Run case files: decisions written down as data",
		Long: `Run case files, and all YAML files below directories. A case says what a cluster
holds, which TokenPolicies there are, what is requested, and what the verdict
must be; no cluster is needed.

Exit status: 0 all cases pass, 1 some do not, 2 they could not be run.`,
		Example: `  kubectl tokenward test policies/tests
  kubectl tokenward test -o junit tests/payments.yaml > junit.xml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("test: give at least one case file or directory")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			write, err := chooseFormat(report.TestFormats(), output)
			if err != nil {
				return err
			}
			// One broken file does not keep the others from being run.
			all, loadErr := cases.Load(args...)
			if loadErr == nil && len(all) == 0 {
				return errors.New("there are no case files (*.yaml, *.yml) in " + strings.Join(args, ", "))
			}
			results := make([]report.TestResult, len(all))
			for i, c := range all {
				results[i] = report.TestResult{Name: c.Name, Differences: c.Run()}
				for _, w := range c.Warnings {
					warner(cmd)(w)
				}
			}
			broken := leaves(loadErr)
			for _, err := range broken {
				text := redact(err.Error())
				file, _, _ := strings.Cut(text, ":")
				results = append(results, report.TestResult{Name: file, Error: text})
			}
			if err := write(cmd.OutOrStdout(), results, report.Options{}); err != nil {
				return err
			}
			if len(broken) > 0 {
				return fmt.Errorf("%d errors in case files", len(broken))
			}
			if slices.ContainsFunc(results, report.TestResult.Failed) {
				return errFindings
			}
			return nil
		},
	}
	command.Flags().StringVarP(&output, "output", "o", output, "text, json or junit")
	completeWords(command, "output", "text", "json", "junit")
	return command
}

// leaves takes joined errors apart.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // this error itself is asked, not what it wraps
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, leaves(e)...)
	}
	return all
}
