// Command webhook is the Tokenward admission webhook server.
package main

import (
	"os"

	"tokenward.dev/tokenward/cmd/program"
	"tokenward.dev/tokenward/cmd/webhook/app"
)

func main() {
	os.Exit(program.Execute(app.NewCommand()))
}
