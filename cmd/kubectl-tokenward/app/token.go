package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/tokentext"
)

func newTokenCommand(now func() time.Time) *cobra.Command {
	command := &cobra.Command{
		Use:   "token",
		Short: "Read and verify service-account tokens",
		// Whatever stands here may be a token: it is not repeated.
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errors.New("token: say what to do with it: token inspect or token verify")
			}
			return cmd.Help()
		},
	}
	command.AddCommand(newInspectCommand(now), newVerifyCommand(now))
	return command
}

// tokenForms is what both commands say of their input.
const tokenForms = `The token comes from a file (-f), from standard input, or as an argument. It may
be as you have copied it: with "Bearer", quotes, line breaks or invisible
characters, in base64, in a Secret (YAML, JSON, or as kubectl describe prints
it), in a kubeconfig, or in the output of kubectl create token.

An argument ends up in the history of your shell and in the list of processes:
better use standard input.`

// tokenInput reads what was pasted.
type tokenInput struct{ file string }

func (i *tokenInput) addFlags(command *cobra.Command) {
	command.Flags().StringVarP(&i.file, "filename", "f", "", `file with the token; "-" is standard input`)
}

func (i *tokenInput) read(cmd *cobra.Command, args []string) ([]byte, error) {
	switch {
	case i.file != "" && len(args) > 0:
		return nil, errors.New("--filename: takes the place of the argument")
	case i.file != "" && i.file != "-":
		file, err := os.Open(i.file)
		if err != nil {
			return nil, fileError("filename", i.file, err)
		}
		defer func() { _ = file.Close() }()
		return readAll(file)
	case len(args) == 0 || len(args) == 1 && args[0] == "-":
		in := cmd.InOrStdin()
		if isTerminal(in) {
			cmd.PrintErrln("Paste the token, then press Enter and Ctrl-D:")
		}
		return readAll(in)
	}
	if _, err := os.Stat(args[0]); err == nil {
		return nil, errors.New("the argument is the name of a file: use -f")
	}
	return []byte(strings.Join(args, " ")), nil // of a token that was not quoted
}

// fileError says why a file can't be read, without its name if that is a token.
func fileError(flag, path string, err error) error {
	if !mayQuote(path) {
		return fmt.Errorf("--%s: there is no such file; a token is given without a flag", flag)
	}
	return fmt.Errorf("--%s: %w", flag, err)
}

func readAll(in io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(in, tokentext.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("can't read the token: %w", err)
	}
	return data, nil
}
