// Command bench measures Tokenward beside two other webhooks in one run: one of
// controller-runtime that only decodes the pod and allows it, and a bare
// net/http server that reads the body and answers. Each is a process of its
// own, so that its CPU time is its own.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func command() *cobra.Command {
	b := &bench{round: 2 * time.Second, rounds: 3, secrets: 100_000}
	c := &cobra.Command{
		Use: "bench", Short: "Measure the hot path and the inventory", Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) },
	}
	c.Flags().StringVar(&b.webhook, "webhook", "bin/webhook", "the binary of the webhook")
	c.Flags().DurationVar(&b.round, "round", b.round, "how long to measure each server at a time")
	c.Flags().IntVar(&b.rounds, "rounds", b.rounds, "how often")
	c.Flags().IntVar(&b.secrets, "secrets", b.secrets, "Secrets in the real control plane; 0 leaves that part out")
	c.AddCommand(serveCommand())
	return c
}

// bench holds the flags.
type bench struct {
	webhook string
	round   time.Duration
	rounds  int
	secrets int
}

func (b *bench) run(ctx context.Context) error {
	for _, part := range []func(context.Context) error{b.hotPath, b.growth, b.cluster} {
		if err := part(ctx); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}
