// Command kubectl-tokenward is the command line of Tokenward. As kubectl
// plugin it is called "kubectl tokenward".
//
// It imports the packages app beside it and program, and nothing else of ours.
package main

import (
	"context"
	"os"

	"tokenward.dev/tokenward/cmd/kubectl-tokenward/app"
	"tokenward.dev/tokenward/cmd/program"
)

func main() {
	os.Exit(program.Run(func(ctx context.Context) int {
		return app.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}))
}
