// Package program is what the programs of Tokenward share: how they end, and the
// flags that several of them have, each with what it reads.
//
// It imports packages of the bottom layer (printable, token, workload), and none of the
// programs.
package program

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/printable"
)

// Run runs a program with a context that ends when the process is asked to stop,
// and returns its exit status.
func Run(run func(context.Context) int) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx)
}

// Execute runs a command in this way, prints its error, and returns 1 if there is
// one.
func Execute(command *cobra.Command) int {
	return Run(func(ctx context.Context) int {
		if err := command.ExecuteContext(ctx); err != nil {
			_, _ = fmt.Fprintln(command.ErrOrStderr(), "error:", printable.Lines(err.Error()))
			return 1
		}
		return 0
	})
}
