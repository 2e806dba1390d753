package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/cmd/program"
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/version"
)

// findings are what a command has found.
type findings interface {
	// AtLeast reports whether there is a finding with the action or a stronger one.
	AtLeast(v1alpha1.Action) bool
}

// findingsFlags are the flags of a command that judges and writes what it found.
type findingsFlags[T findings] struct {
	formats        map[string]report.Writer[T]
	output, failOn string
	resources      program.WorkloadResources
}

// add adds the flags to a command.
func (f *findingsFlags[T]) add(command *cobra.Command) {
	f.output, f.failOn = "table", string(v1alpha1.Warn)
	set, names := command.Flags(), slices.Sorted(maps.Keys(f.formats))
	set.StringVarP(&f.output, "output", "o", f.output, strings.Join(names, ", "))
	set.StringVar(&f.failOn, "fail-on", f.failOn, "exit with 1 for findings with this `action` or a stronger one: Deny, Warn or Audit; None for never")
	f.resources.AddFlag(set)
	completeWords(command, "output", names...)
	completeWords(command, "fail-on", "Deny", "Warn", "Audit", "None")
}

// writer returns what writes the findings and decides the exit status, or says
// which flag is wrong.
func (f *findingsFlags[T]) writer(cmd *cobra.Command) (func(T) error, error) {
	write, err := chooseFormat(f.formats, f.output)
	if err != nil {
		return nil, err
	}
	failOn, err := parseAction(f.failOn)
	if err != nil {
		return nil, err
	}
	return func(found T) error {
		out := cmd.OutOrStdout()
		options := report.Options{Colour: newPrinter(out).colour, FailOn: failOn, Version: version.Get().Version}
		if err := write(out, found, options); err != nil {
			return err
		}
		if failOn != v1alpha1.None && found.AtLeast(failOn) {
			return errFindings
		}
		return nil
	}, nil
}

// chooseFormat returns the format of --output.
func chooseFormat[T any](formats map[string]report.Writer[T], name string) (report.Writer[T], error) {
	if write, ok := formats[name]; ok {
		return write, nil
	}
	return nil, fmt.Errorf("--output: %q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
}

// parseAction reads the action of --fail-on.
func parseAction(text string) (v1alpha1.Action, error) {
	for _, a := range []v1alpha1.Action{v1alpha1.None, v1alpha1.Audit, v1alpha1.Warn, v1alpha1.Deny} {
		if strings.EqualFold(text, string(a)) {
			return a, nil
		}
	}
	return "", fmt.Errorf("--fail-on: %q is none of Deny, Warn, Audit, None", text)
}
