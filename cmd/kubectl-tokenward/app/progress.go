package app

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// progress is a line on a terminal that tells how far the audit has come.
type progress struct {
	to    io.Writer // nil: no terminal
	last  time.Time
	what  []string
	count map[string]int
}

// progressEvery keeps the line from flickering.
const progressEvery = 100 * time.Millisecond

func newProgress(to io.Writer) *progress {
	if !isTerminal(to) {
		to = nil
	}
	return &progress{to: to, count: map[string]int{}}
}

func (p *progress) show(what string, n int) {
	if p.to == nil {
		return
	}
	if !slices.Contains(p.what, what) {
		p.what = append(p.what, what)
	}
	p.count[what] = n
	if time.Since(p.last) < progressEvery {
		return
	}
	p.last = time.Now()
	parts := make([]string, len(p.what))
	for i, w := range p.what {
		parts[i] = fmt.Sprintf("%d %s", p.count[w], w)
	}
	_, _ = io.WriteString(p.to, "\r\x1b[Kreading: "+strings.Join(parts, ", "))
}

func (p *progress) clear() {
	if p.to != nil {
		_, _ = io.WriteString(p.to, "\r\x1b[K")
	}
}
