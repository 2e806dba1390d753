// Command clidocs writes one page a command into a directory, from the help of
// kubectl-tokenward itself.
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
	root.CompletionOptions.DisableDefaultCmd = true // cobra's own text
	plain(root)
	return doc.GenMarkdownTreeCustom(root, dir, func(string) string { return generated }, func(name string) string { return name })
}

// plain keeps the build's date out of the pages.
func plain(c *cobra.Command) {
	c.DisableAutoGenTag = true
	c.Long = strings.TrimSpace(c.Long)
	for _, sub := range c.Commands() {
		plain(sub)
	}
}
