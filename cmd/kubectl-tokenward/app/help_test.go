package app

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tokenward.dev/tokenward/pkg/policy"
)

// eachCommand visits all commands.
func eachCommand(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, visit)
	}
}

func path(c *cobra.Command) []string { return strings.Fields(c.CommandPath())[2:] }

func TestHelpFitsInto80Columns(t *testing.T) {
	eachCommand(New(time.Now), func(c *cobra.Command) {
		r := command(t, "", append(path(c), "--help")...)
		if r.status != exitClean || !strings.Contains(r.out, "Usage:\n  kubectl tokenward") {
			t.Errorf("%s --help: %+v", c.CommandPath(), r)
		}
		fits(t, c.CommandPath()+" --help", r.out)
	})
}

// fits fails for each line that is longer than it may be, but for one command or
// path that is to be copied.
func fits(t *testing.T, name, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if utf8.RuneCountInString(line) > width && !copied.MatchString(line) {
			t.Errorf("%s: %d characters: %s", name, utf8.RuneCountInString(line), line)
		}
	}
}

var copied = regexp.MustCompile(`^ +(kubectl|bin/) ?`)

func TestTablesFitInto80Columns(t *testing.T) {
	f := newTokenFixture(t)
	commands := [][]string{{"explain"}, {"explain", "tokenpolicy"}, {"explain", "default-policy"}, {"version"}, {"token", "inspect"}, {"token", "inspect", f.secret()}, {"token", "verify", "--key-file", f.keyFile}, {"token", "verify", f.expired, "--jwks", f.jwks}}
	for _, c := range policy.Checks() {
		commands = append(commands, []string{"explain", c.ID})
	}
	for _, c := range commands {
		r := command(t, f.bound, c...)
		if r.out == "" {
			t.Errorf("%q: %+v", c[:1], r)
		}
		fits(t, c[0], r.out)
	}
}

// Every example is of a command that there is, with flags that it has.
func TestExamplesParse(t *testing.T) {
	segment := regexp.MustCompile(`kubectl[ -]tokenward ([^|>\n]*)`)
	eachCommand(New(time.Now), func(c *cobra.Command) {
		if c.Runnable() && c.HasParent() && !c.HasAvailableSubCommands() && !strings.HasPrefix(c.CommandPath(), "kubectl tokenward completion") && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if text := strings.TrimSpace(line); text == "" || strings.HasPrefix(text, "#") {
				continue
			}
			found := segment.FindStringSubmatch(line)
			if found == nil {
				t.Errorf("%s: no command in %s", c.CommandPath(), line)
				continue
			}
			args := strings.Fields(found[1])
			sub, rest, err := New(time.Now).Find(args)
			if err == nil {
				err = sub.ParseFlags(rest)
			}
			if err == nil {
				err = sub.ValidateArgs(sub.Flags().Args())
			}
			if err != nil || sub.CommandPath() != c.CommandPath() {
				t.Errorf("%s: %s: %v", c.CommandPath(), line, err)
			}
		}
	})
}

func TestExplain(t *testing.T) {
	for _, c := range policy.Checks() {
		r := command(t, "", "explain", c.ID)
		for _, want := range []string{c.ID + "\n", "Default action: " + string(c.Default), "\nWhat goes wrong\n", "\nHow to mend it\n", "    - {name: " + c.ID + ", action: Deny}"} {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s: no %q in %s", c.ID, want, r.out)
			}
		}
		if strings.Contains(r.out, "\nParameters\n") != (len(c.Parameters) > 0) {
			t.Errorf("%s: parameters: %s", c.ID, r.out)
		}
	}
	for _, tt := range []struct{ check, want string }{
		{"token-vald", `there is no check "token-vald"; did you mean "token-valid"?`},
		{"tokenpolicy.spec.chekcs", `a TokenPolicy has no such field; kubectl tokenward explain tokenpolicy lists them`},
		{"zzzzzzzz", `there is no check "zzzzzzzz"; kubectl tokenward explain lists them`},
		{"eyJhbGciOiJSUzI1NiJ9", "there is no such check; kubectl tokenward explain lists them"},
	} {
		if r := command(t, "", "explain", tt.check); r.status != exitFailed || r.err != "error: "+tt.want+"\n" {
			t.Errorf("%s: %+v", tt.check, r)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"commands", []string{"tok"}, "token\t"},
		{"checks", []string{"explain", "token-l"}, "token-long-lived\ta pod that uses"},
		{"formats", []string{"token", "inspect", "-o", ""}, "table\njson\nyaml\n"},
		{"formats of check", []string{"check", "-o", ""}, "github\ngitlab\njson\njunit\nsarif\n"},
		{"formats of audit", []string{"audit", "-o", ""}, "github\ngitlab\nhtml\njson\n"},
		{"actions", []string{"check", "--fail-on", ""}, "Deny\nWarn\nAudit\nNone\n"},
	} {
		if r := command(t, "", append([]string{"__complete"}, tt.args...)...); !strings.HasPrefix(r.out, tt.want) {
			t.Errorf("%s: %s", tt.name, r.out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := command(t, "", "completion", shell); r.status != exitClean || !strings.Contains(r.out, "kubectl-tokenward") {
			t.Errorf("completion %s: exit status %d", shell, r.status)
		}
	}
}

// Colours are for terminals, and not for those who want none.
func TestColours(t *testing.T) {
	for _, tt := range []struct {
		name        string
		terminal    bool
		environment map[string]string
		want        bool
	}{
		{"a terminal", true, nil, true},
		{"a file", false, nil, false},
		{"a terminal of somebody who wants none", true, map[string]string{"NO_COLOR": "1"}, false},
		{"a terminal that knows none", true, map[string]string{"TERM": "dumb"}, false},
	} {
		p := &printer{colour: colours(tt.terminal, func(name string) string { return tt.environment[name] })}
		if got := p.paint(red, "x") == "\x1b[31mx\x1b[0m"; got != tt.want {
			t.Errorf("%s: coloured %t", tt.name, got)
		}
	}
	f := newTokenFixture(t)
	if r := command(t, f.expired, "token", "inspect"); strings.Contains(r.out, "\x1b") {
		t.Error("colours without a terminal")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if newPrinter(file).colour || newPrinter(&bytes.Buffer{}).colour {
		t.Error("a file is taken for a terminal")
	}
}

func TestUnknownCommands(t *testing.T) {
	for _, tt := range []struct{ word, want string }{
		{"tset", `unknown command "tset"; did you mean "test"?`},
		{"frobnicate", `unknown command "frobnicate"; see kubectl tokenward --help`},
		{"eyJhbGciOiJSUzI1NiJ9.e30.x", "unknown command; see kubectl tokenward --help"},
	} {
		if r := command(t, "", tt.word); r.status != exitFailed || r.err != "error: "+tt.want+"\n" {
			t.Errorf("%s: %+v", tt.word, r)
		}
	}
	if r := command(t, ""); r.status != exitClean || !strings.Contains(r.out, "Commands:") {
		t.Errorf("no command: %+v", r)
	}
}
