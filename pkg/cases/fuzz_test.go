package cases

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenward.dev/tokenward/pkg/policy"
)

func FuzzParse(f *testing.F) {
	err := filepath.WalkDir(corpus, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		f.Add(data)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := Parse("f.yaml", data)
		if err != nil && !strings.Contains(err.Error(), "f.yaml") {
			t.Errorf("an error that does not name the file: %q", err)
		}
		for _, c := range all {
			c.Run()
			v, err := c.Outcome()
			if err != nil {
				t.Fatal(err)
			}
			for _, finding := range v.Findings {
				if len(finding.Check)+2+len(finding.Message) > policy.MaxMessage || strings.ContainsAny(finding.Message, "\n\r") {
					t.Errorf("a message that is too long, or has a line break: %q", finding.Message)
				}
			}
		}
	})
}
