// Command webhook is the Tokenward admission webhook server.
//
// It imports the packages app beside it and program, and nothing else of ours.
package main

import (
	"os"

	"tokenward.dev/tokenward/cmd/program"
	"tokenward.dev/tokenward/cmd/webhook/app"
)

func main() {
	os.Exit(program.Execute(app.NewCommand()))
}
