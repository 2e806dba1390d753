// Command clidocs writes one page for each command of kubectl-tokenward into a
// directory, from the help of the command.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"tokenward.dev/tokenward/cmd/kubectl-tokenward/app"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: clidocs DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const generated = "<!-- Written by make generate from cmd/kubectl-tokenward. Do not edit. -->\n\n"

func write(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := app.New(time.Now)
	root.CompletionOptions.DisableDefaultCmd = true // its help is cobra's, not ours
	makeReproducible(root)
	return doc.GenMarkdownTreeCustom(root, dir, func(string) string { return generated }, func(name string) string { return name })
}

// makeReproducible keeps the date of the build out of the pages.
func makeReproducible(c *cobra.Command) {
	c.DisableAutoGenTag = true
	c.Long = strings.TrimSpace(c.Long)
	for _, sub := range c.Commands() {
		makeReproducible(sub)
	}
}
