// Command bench measures Tokenward beside two other webhooks in one run: one of
// controller-runtime that only decodes the pod and allows it, and a bare
// net/http server that reads the body and answers. Each is a process of its
// own, so that its CPU time is its own.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/cmd/program"
)

func main() {
	os.Exit(program.Execute(command()))
}

func command() *cobra.Command {
	b := &bench{round: 2 * time.Second, rounds: 3, secrets: 100_000}
	c := &cobra.Command{
		Use: "bench", Short: "Measure the hot path, policies, tokens and the inventory", Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) },
	}
	c.Flags().StringSliceVar(&b.only, "part", nil, "hot-path, growth, policies, tokens, mutation, key-change, cluster or audit; all if not given")
	c.Flags().StringVar(&b.webhook, "webhook", "bin/webhook", "the binary of the webhook")
	c.Flags().StringVar(&b.plugin, "plugin", "bin/kubectl-tokenward", "the binary of the command line")
	c.Flags().DurationVar(&b.round, "round", b.round, "how long to measure each server at a time")
	c.Flags().IntVar(&b.rounds, "rounds", b.rounds, "how often")
	c.Flags().IntVar(&b.secrets, "secrets", b.secrets, "Secrets in the real control plane; 0 leaves that part out")
	c.AddCommand(serveCommand())
	return c
}

// bench holds the flags.
type bench struct {
	only    []string
	webhook string
	plugin  string
	round   time.Duration
	rounds  int
	secrets int
}

func (b *bench) run(ctx context.Context) error {
	type part struct {
		name    string
		measure func(context.Context) error
	}
	parts := []part{
		// First: the peak memory of a child process counts what its parent had when it
		// was started.
		{"audit", b.audit},
		{"hot-path", b.hotPath},
		{"growth", b.growth},
		{"policies", b.policies},
		{"tokens", b.tokens},
		{"mutation", b.mutation},
		{"key-change", b.keyChange},
		{"cluster", b.cluster},
	}
	for _, name := range b.only {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("--part: there is no %q", name)
		}
	}
	for _, p := range parts {
		if len(b.only) > 0 && !slices.Contains(b.only, p.name) {
			continue
		}
		if err := p.measure(ctx); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}
