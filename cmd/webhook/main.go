// Command webhook is the Tokenward admission webhook server.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"tokenward.dev/tokenward/cmd/webhook/app"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := app.NewCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}
