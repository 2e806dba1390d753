package app

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
)

// clusterFlag marks the flags that kubectl has, too: help tells them apart.
const clusterFlag = "tokenward-cluster"

// addClusterFlags gives a command kubectl's flags for reaching an API server.
func addClusterFlags(command *cobra.Command, namespaced bool) *genericclioptions.ConfigFlags {
	flags := genericclioptions.NewConfigFlags(true)
	// What nothing here needs; --token would be taken for the token in question.
	flags.CacheDir, flags.Username, flags.Password, flags.DisableCompression, flags.BearerToken = nil, nil, nil, nil, nil
	if !namespaced {
		flags.Namespace = nil
	}
	flags.ImpersonateUID, flags.ImpersonateUserExtra = nil, nil
	set := pflag.NewFlagSet("cluster", pflag.ContinueOnError)
	flags.AddFlags(set)
	set.VisitAll(func(f *pflag.Flag) {
		f.Annotations = map[string][]string{clusterFlag: {"true"}}
		command.Flags().AddFlag(f)
	})
	return flags
}

// noCluster fails where nothing says which cluster is meant; kubectl's libraries
// would take localhost:8080.
func noCluster(flags *genericclioptions.ConfigFlags) error {
	if chosen(flags.KubeConfig, flags.Context, flags.ClusterName, flags.AuthInfoName, flags.APIServer) ||
		os.Getenv("KUBERNETES_SERVICE_HOST") != "" || kubeconfigExists() {
		return nil
	}
	return errors.New("this is no pod, and there is no kubeconfig: give --kubeconfig")
}

func chosen(flags ...*string) bool {
	return slices.ContainsFunc(flags, func(f *string) bool { return value(f) != "" })
}

func value(flag *string) string {
	if flag == nil {
		return ""
	}
	return *flag
}

func kubeconfigExists() bool {
	return slices.ContainsFunc(clientcmd.NewDefaultClientConfigLoadingRules().Precedence, func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// usage is what help says after the description. Cobra's own does not wrap.
func usage(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", strings.TrimSuffix(useLine(c), " [flags]"))
	if c.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range c.Commands() {
			if !sub.IsAvailableCommand() {
				continue
			}
			name, column := sub.Name(), sub.NamePadding()
			for _, line := range wrapped(sub.Short, width-column-4) {
				fmt.Fprintf(&b, "  %-*s  %s\n", column, name, line)
				name = ""
			}
		}
	}
	if c.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", c.Example)
	}
	own, cluster := flagsOf(c)
	if own.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nFlags:\n%s", flagUsages(own))
	}
	if cluster.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nThe cluster, as for kubectl:\n%s", flagUsages(cluster))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n\"%s COMMAND --help\" tells more.\n", c.CommandPath())
	}
	return b.String()
}

// flagUsages prints flags in two columns; a flag with a long name stands alone.
func flagUsages(set *pflag.FlagSet) string {
	const column = 30
	var b strings.Builder
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, text := pflag.UnquoteUsage(f)
		name := "      --" + f.Name
		if f.Shorthand != "" {
			name = "  -" + f.Shorthand + ", --" + f.Name
		}
		name = strings.TrimRight(name+" "+strings.TrimSuffix(kind, "Array"), " ")
		if !slices.Contains([]string{"", "false", "0", "0s", "[]"}, f.DefValue) {
			text += " (default " + f.DefValue + ")"
		}
		if len(name) > column-2 {
			fmt.Fprintln(&b, name)
			name = ""
		}
		for _, line := range wrapped(text, width-column) {
			fmt.Fprintf(&b, "%-*s%s\n", column, name, line)
			name = ""
		}
	})
	return b.String()
}

func useLine(c *cobra.Command) string {
	if c.HasAvailableSubCommands() {
		return c.CommandPath() + " COMMAND"
	}
	return c.UseLine()
}

func flagsOf(c *cobra.Command) (own, cluster *pflag.FlagSet) {
	own, cluster = pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[clusterFlag] != nil {
			cluster.AddFlag(f)
		} else {
			own.AddFlag(f)
		}
	})
	return own, cluster
}
