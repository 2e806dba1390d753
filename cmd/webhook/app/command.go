// Package app wires the webhook server together: flags, policies, facts,
// certificate, handlers, health and metrics, and their order of start and stop.
//
// It may import every package but the app of the other program: no package imports
// it but main.
package app

import (
	"os"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/version"
)

// NewCommand returns the command of the webhook server.
func NewCommand() *cobra.Command {
	options := NewOptions()
	command := &cobra.Command{
		Use:     "webhook",
		Short:   "Admission webhook that verifies the tokens and Secrets that pods depend on",
		Args:    cobra.NoArgs,
		Version: version.Get().String(),
		// Errors are printed once, by main.
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := New(options, os.Stderr)
			if err != nil {
				return err
			}
			return server.Run(cmd.Context())
		},
	}
	options.AddFlags(command.Flags())
	command.AddCommand(newReleaseCommand())
	return command
}
