package app

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/cases"
	"tokenward.dev/tokenward/pkg/report"
)

func newTestCommand() *cobra.Command {
	output, run := "text", ""
	command := &cobra.Command{
		Use:   "test PATH...",
		Short: "Run case files: decisions written down as data",
		Long: `Run case files, and all YAML files below directories. A case says what a cluster
holds, which TokenPolicies there are, what is requested, and what the verdict
must be; no cluster is needed. Files of manifests below a directory are no
cases; cases name them by policyFiles and clusterFiles.

--run selects the cases whose name matches a regular expression (Go's). The
name is the path of the file, with "#2" for the second case in it. Files that
can't be read are errors all the same.

Exit status: 0 all cases pass, 1 some do not, 2 they could not be run.`,
		Example: `  kubectl tokenward test policies/tests
  kubectl tokenward test --run payments policies/tests
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
			if all, err = selectCases(all, run); err != nil && loadErr == nil {
				return err
			}
			results := runCases(cmd, all)
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
	command.Flags().StringVar(&run, "run", "", "run only the cases whose name matches this `regexp`")
	completeWords(command, "output", "text", "json", "junit")
	return command
}

// selectCases returns the cases whose name the regular expression matches.
func selectCases(all []*cases.Case, expression string) ([]*cases.Case, error) {
	wanted, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("--run: %w", err)
	}
	var selected []*cases.Case
	for _, c := range all {
		if wanted.MatchString(c.Name) {
			selected = append(selected, c)
		}
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("--run: no case matches %q; the name of a case is the path of its file, with #2 for the second one in it", expression)
	}
	return selected, nil
}

func runCases(cmd *cobra.Command, all []*cases.Case) []report.TestResult {
	results := make([]report.TestResult, len(all))
	for i, c := range all {
		results[i] = report.TestResult{Name: c.Name, Differences: c.Run()}
		for _, w := range c.Warnings {
			warner(cmd)(w)
		}
	}
	return results
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
