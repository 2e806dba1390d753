// Command kubectl-tokenward is the command line of Tokenward. As kubectl
// plugin it is called "kubectl tokenward".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"tokenward.dev/tokenward/cmd/kubectl-tokenward/app"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return app.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
}
