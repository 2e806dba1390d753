package app

import (
	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/version"
)

func newVersionCommand() *cobra.Command {
	output := formatTable
	command := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Long:  "Say which build this is. No cluster is asked.",
		Example: `  kubectl tokenward version
  kubectl tokenward version -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(output); err != nil {
				return err
			}
			info := version.Get()
			return printAs(cmd.OutOrStdout(), output, info, func() { newPrinter(cmd.OutOrStdout()).line(info.String()) })
		},
	}
	addOutputFlag(command, &output)
	return command
}
