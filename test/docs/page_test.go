package docs

import (
	"regexp"
	"strings"
)

// page is a Markdown file as far as it names things.
type page struct {
	prose    string   // the text without code blocks
	spans    []string // between backticks
	commands []string // lines of code blocks, those that end in a backslash joined with the next
	anchors  map[string]bool
	links    []string
}

var (
	fence   = regexp.MustCompile("^\\s*```")
	span    = regexp.MustCompile("`([^`]+)`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`^#{1,6} (.*)$`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

func parsePage(text string) *page {
	p := &page{anchors: map[string]bool{}}
	var prose []string
	fenced, indented, blank := false, false, true
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if fence.MatchString(line) {
			fenced, blank = !fenced, false
			continue
		}
		indented = strings.HasPrefix(line, "    ") && (blank || indented)
		if fenced || indented {
			p.addCommand(line)
			blank = false
			continue
		}
		blank = line == ""
		if m := heading.FindStringSubmatch(line); m != nil {
			slug := strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(link.ReplaceAllString(m[1], "")), ""), " ", "-")
			p.anchors[slug] = true
		}
		prose = append(prose, line)
	}
	p.prose = strings.Join(prose, "\n")
	for _, paragraph := range paragraphs(prose) {
		for _, m := range span.FindAllStringSubmatch(paragraph, -1) {
			p.spans = append(p.spans, strings.ReplaceAll(m[1], `\|`, "|"))
		}
		for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(paragraph, ""), -1) {
			p.links = append(p.links, m[1])
		}
	}
	return p
}

// paragraphs joins the lines of a paragraph, since a span may go on in the next
// line. A row of a table and a heading stand alone.
func paragraphs(lines []string) []string {
	var all []string
	open := false
	for _, line := range lines {
		alone := line == "" || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "#")
		if open && !alone {
			all[len(all)-1] += " " + strings.TrimSpace(line)
		} else {
			all = append(all, line)
		}
		open = !alone
	}
	return all
}

func (p *page) addCommand(line string) {
	if n := len(p.commands); n > 0 && strings.HasSuffix(p.commands[n-1], `\`) {
		p.commands[n-1] = strings.TrimSuffix(p.commands[n-1], `\`) + strings.TrimSpace(line)
		return
	}
	p.commands = append(p.commands, line)
}
