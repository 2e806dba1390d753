package docs

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	longFlag    = regexp.MustCompile(`(?:^|[\s(\[=])--([a-z][a-z0-9-]*)`)
	ourPath     = regexp.MustCompile(`(?:^|[\s"'(,=])(?:\.{1,2}/)*((?:` + strings.ReplaceAll(strings.Join(directories, "|"), ".", `\.`) + `)/[\w./*-]*)`)
	below       = regexp.MustCompile(`^[a-z][a-z0-9]*(/[\w.]+)+$`)
	dotted      = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$`)
	camelCase   = regexp.MustCompile(`^[a-z]+[A-Z]\w*$`)
	goTest      = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*$`)
	series      = regexp.MustCompile(`\btokenward_[a-z_]+\*?`)
	hyphenated  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)+$`)
	inPolicy    = regexp.MustCompile(`\{name: ([a-z-]+), action:`)
	separators  = regexp.MustCompile(`\|\|?|&&|;| -- |\$\(|<\(`)
	setting     = regexp.MustCompile(`--set(?:-file|-string)? ([\w.]+)=`)
	foreignPath = regexp.MustCompile(`\b[a-z0-9-]+(?:\.[a-z0-9-]+)+/[\w./-]+(?:\s*\([^)]*\))?`)
	inComment   = regexp.MustCompile(`\b[a-z]\w*\.(?:[A-Z]\w*)(?:\.[A-Z]\w*)?`)
	goFile      = regexp.MustCompile(`\b[a-z]\w*\.go\b`)
	docLink     = regexp.MustCompile(`\[\*?([A-Za-z]\w*(?:\.\w+)*)\](?:[^(:]|$)`)
	named       = regexp.MustCompile(`(^|\w+\s+)package(?:\s+([a-z0-9/]+)|s\s+((?:[a-z0-9/]+,\s+)*[a-z0-9/]+(?:,?\s+and\s+[a-z0-9/]+)?))`)
	quotedMake  = regexp.MustCompile(`"(make [^"]+)"`)
	docsPage    = regexp.MustCompile(`(?:^|[\s"'(])(docs/[\w-]+\.md)(?:#([\w-]+))?`)

	// Spans that look like an identifier and end so are files or groups of an API.
	endings = []string{"yaml", "yml", "md", "json", "html", "sarif", "sh", "sum", "mod", "crt", "key", "pub", "io", "dev", "com", "log", "tar"}
)

// claims collects what a text names and does not exist.
type claims struct {
	*repository
	where     string
	aboutCode bool // the page is for people who change the code
	problems  []string
}

func (c *claims) fail(format string, arguments ...any) {
	c.problems = append(c.problems, c.where+": "+fmt.Sprintf(format, arguments...))
}

// check returns every name in the documentation that stands for nothing.
func (r *repository) check() []string {
	c := &claims{repository: r}
	for _, name := range slices.Sorted(maps.Keys(r.pages)) {
		top := !strings.Contains(name, "/")
		if top || strings.HasPrefix(name, "docs/") || strings.HasPrefix(name, "charts/") {
			c.where, c.aboutCode = name, name == "docs/architecture.md" || name == "CONTRIBUTING.md"
			c.checkPage(name, r.pages[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.comments)) {
		c.where = name
		c.checkComment(name, r.comments[name])
	}
	return slices.Compact(c.problems)
}

func (c *claims) checkPage(name string, p *page) {
	generated := strings.HasPrefix(name, "docs/cli/")
	for _, s := range p.spans {
		c.checkSpan(name, s)
	}
	for _, line := range p.commands {
		c.checkPaths(line)
		for _, m := range inPolicy.FindAllStringSubmatch(line, -1) {
			c.checkID(m[1])
		}
		if !generated { // written from the commands themselves
			c.checkCommand(strings.TrimSpace(line))
		}
	}
	for _, text := range append([]string{p.prose}, p.commands...) {
		c.checkSeries(text)
	}
	for _, target := range p.links {
		c.checkLink(name, target)
	}
}

func (c *claims) checkSpan(page, s string) {
	c.checkPaths(s)
	bare := strings.TrimSuffix(strings.TrimSuffix(s, "()"), "[]")
	first, _, _ := strings.Cut(bare, "=")
	switch {
	case strings.HasPrefix(s, "--"):
		if !strings.HasPrefix(page, "docs/checks/") {
			c.checkFlags(s, c.flags, "any of our programs")
		}
	case strings.Contains(s, " "), strings.HasPrefix(s, "ARGS="):
		c.checkCommand(s)
	case strings.HasSuffix(s, ".go"):
		c.checkGoFile(s)
	case dotted.MatchString(first):
		c.checkDotted(first)
	case below.MatchString(s) && c.files["pkg/"+strings.Split(s, "/")[0]] && !slices.Contains(directories, strings.Split(s, "/")[0]):
		if !c.hasFile("pkg/" + s) {
			c.fail("there is no pkg/%s", s)
		}
	case goTest.MatchString(bare), c.aboutCode && camelCase.MatchString(bare):
		if !c.names[bare] {
			c.fail("no code has the name %s", bare)
		}
	case hyphenated.MatchString(s):
		if c.firstWordOfCheck(s) && !strings.HasPrefix(page, "charts/") {
			c.checkID(s)
		}
	}
}

func (c *claims) checkPaths(text string) {
	for _, m := range ourPath.FindAllStringSubmatch(text, -1) {
		name := strings.TrimRight(strings.TrimSuffix(m[1], "..."), "./")
		if !c.hasFile(name) {
			c.fail("there is no file or directory %s", name)
		}
	}
}

func (c *claims) checkGoFile(name string) {
	for file := range c.files {
		if file == name || strings.HasSuffix(file, "/"+name) {
			return
		}
	}
	if !strings.Contains(name, "/") || !ourPath.MatchString(name) {
		c.fail("there is no file %s", name)
	}
}

// checkDotted resolves package.Name, package.Type.Member, Type.Member and values of the chart.
func (c *claims) checkDotted(name string) {
	parts := strings.Split(name, ".")
	if slices.Contains(endings, parts[len(parts)-1]) {
		return
	}
	packages, types := c.packages[parts[0]], c.types[parts[0]]
	ours := len(packages) > 0 || c.startsWithType(parts) || c.hasValue(parts[:1])
	if !ours || c.hasValue(parts) {
		return
	}
	for _, p := range packages {
		if p.top[parts[1]] && (len(parts) == 2 || c.hasMember(p, parts[1], parts[2], 3)) {
			return
		}
	}
	for _, p := range types {
		if c.hasMember(p, parts[0], parts[1], 3) {
			return
		}
	}
	c.fail("there is no %s in the code or among the values of the chart", name)
}

// startsWithType says whether Plan.Needs is meant, or podRequest.review on a page
// about the code, rather than request.operation, NAME.NAMESPACE or spec.podSelector.
func (c *claims) startsWithType(parts []string) bool {
	first := parts[0]
	if len(parts) > 2 || strings.ToUpper(first) == first {
		return false
	}
	return strings.ToUpper(first[:1]) == first[:1] || c.aboutCode && camelCase.MatchString(first)
}

func (c *claims) firstWordOfCheck(name string) bool {
	first, _, _ := strings.Cut(name, "-")
	for file := range c.pages {
		if id, ok := strings.CutPrefix(file, "docs/checks/"); ok && strings.HasPrefix(id, first+"-") {
			return true
		}
	}
	return false
}

func (c *claims) checkID(id string) {
	if c.pages["docs/checks/"+id+".md"] == nil {
		c.fail("there is no check %s", id)
	}
}

func (c *claims) checkSeries(text string) {
	for _, name := range series.FindAllString(text, -1) {
		prefix, wild := strings.CutSuffix(name, "*")
		found := c.metrics[name]
		for metric := range c.metrics {
			found = found || wild && strings.HasPrefix(metric, prefix)
		}
		if !found {
			c.fail("there is no metric %s", name)
		}
	}
}

func (c *claims) checkFlags(text string, flags map[string]bool, of string) {
	for _, m := range longFlag.FindAllStringSubmatch(text, -1) {
		if !flags[m[1]] {
			c.fail("there is no flag --%s of %s", m[1], of)
		}
	}
}

// checkCommand looks at each command of a line that is one of our programs, make or helm.
func (c *claims) checkCommand(line string) {
	for _, command := range separators.Split(strings.TrimPrefix(line, "- run: "), -1) {
		words := strings.Fields(command)
		for len(words) > 0 && strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "ARGS=") {
			words = words[1:] // a variable before the command
		}
		if len(words) == 0 {
			continue
		}
		switch program := path.Base(words[0]); {
		case program == "make" || strings.HasPrefix(program, "ARGS="):
			c.checkMake(words)
		case program == "webhook":
			c.checkFlags(command, c.flags, "webhook")
		case program == "kubectl-tokenward":
			c.checkSubcommand(words[1:], command)
		case program == "kubectl" && len(words) > 1 && words[1] == "tokenward":
			c.checkSubcommand(words[2:], command)
		case program == "helm" && strings.Contains(command, "tokenward"), strings.HasPrefix(program, "--set"):
			for _, m := range setting.FindAllStringSubmatch(command, -1) {
				if !c.hasValue(strings.Split(m[1], ".")) {
					c.fail("the chart has no value %s", m[1])
				}
			}
		}
	}
}

func (c *claims) checkMake(words []string) {
	for _, w := range words {
		variable, value, isVariable := strings.Cut(w, "=")
		switch {
		case w == "make":
		case isVariable:
			if !strings.Contains(c.makefile, "$("+variable+")") {
				c.fail("the Makefile has no variable %s", variable)
			}
			c.checkFlags(value, c.flags, "any of our programs")
		case strings.HasPrefix(w, "-"), strings.HasPrefix(w, "#"):
			return
		case !c.targets[w]:
			c.fail("the Makefile has no target %s", w)
		}
	}
}

// checkSubcommand finds the page of a command, which lists its flags.
func (c *claims) checkSubcommand(words []string, command string) {
	file := "docs/cli/kubectl_tokenward"
	for i, w := range words {
		if !regexp.MustCompile(`^[a-z]+$`).MatchString(w) {
			break
		}
		if c.pages[file+"_"+w+".md"] == nil {
			if i == 0 && w != "completion" { // cobra's own
				c.fail("there is no command kubectl tokenward %s", w)
			}
			break
		}
		file += "_" + w
	}
	flags := map[string]bool{}
	if p := c.pages[file+".md"]; p != nil {
		for _, m := range longFlag.FindAllStringSubmatch(strings.Join(p.commands, "\n"), -1) {
			flags[m[1]] = true
		}
	}
	c.checkFlags(command, flags, strings.ReplaceAll(path.Base(file), "_", " "))
}

func (c *claims) checkLink(from, target string) {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return
	}
	file, anchor, hasAnchor := strings.Cut(target, "#")
	name := from
	if file != "" {
		name = path.Join(path.Dir(from), file)
	}
	p := c.pages[name]
	switch {
	case !c.files[name]:
		c.fail("the link to %s leads nowhere", target)
	case hasAnchor && (p == nil || !p.anchors[anchor]):
		c.fail("the link to %s leads to no heading", target)
	}
}

// checkComment looks at a package comment, where names have no backticks.
func (c *claims) checkComment(file, text string) {
	text = strings.ReplaceAll(text, "tokenward.dev/tokenward/", "")
	text = foreignPath.ReplaceAllString(text, "")
	c.checkPaths(text)
	c.checkSeries(text)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "\t") {
			c.checkCommand(strings.TrimSpace(line))
		} else {
			c.checkFlags(line, c.flags, "any of our programs")
		}
	}
	for _, m := range quotedMake.FindAllStringSubmatch(text, -1) {
		c.checkCommand(m[1])
	}
	for _, name := range goFile.FindAllString(text, -1) {
		if !c.files[path.Join(path.Dir(file), name)] && !strings.Contains(text, "/"+name) {
			c.fail("there is no file %s in %s", name, path.Dir(file))
		}
	}
	for _, name := range inComment.FindAllString(text, -1) {
		c.checkDotted(name)
	}
	c.checkDocLinks(text)
	c.checkPackages(text)
}

// checkDocLinks looks at [Name] and [package.Name].
func (c *claims) checkDocLinks(text string) {
	for _, m := range docLink.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], ".") {
			c.checkDotted(m[1])
		} else if strings.ToUpper(m[1][:1]) == m[1][:1] && strings.ToUpper(m[1]) != m[1] && !c.names[m[1]] {
			c.fail("no code has the name %s", m[1])
		}
	}
}

// checkPackages looks at "package policy" and "packages facts and token", but not
// at "this package adds" and "packages that are pure".
func (c *claims) checkPackages(text string) {
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		before := strings.TrimSpace(m[1])
		names := strings.FieldsFunc(m[2]+m[3], func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
		if slices.Contains([]string{"a", "an", "the", "this", "that", "each", "every", "no", "own", "other"}, before) ||
			slices.Contains([]string{"that", "which", "whose", "of", "is", "may", "with", "by", "in"}, names[0]) {
			continue
		}
		for _, name := range names {
			if name != "and" && len(c.packages[path.Base(name)]) == 0 && !c.hasFile("pkg/"+name) {
				c.fail("there is no package %s", name)
			}
		}
	}
}
