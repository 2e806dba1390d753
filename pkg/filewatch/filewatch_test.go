package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// step changes the file, unless content is "same", and checks it.
type step struct {
	content string // "gone" removes the file
	news    bool
	fails   bool
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []step
		used  []string
	}{
		{"a file that stays is used once", []step{{"same", false, false}, {"same", false, false}}, []string{"first"}},
		{"a change is used when it has settled", []step{{"second", false, false}, {"same", true, false}, {"same", false, false}}, []string{"first", "second"}},
		{"a file that is being written is not used", []step{{"sec", false, false}, {"second", false, false}, {"same", true, false}}, []string{"first", "second"}},
		{"a change that was taken back is none", []step{{"second", false, false}, {"first", false, false}, {"same", false, false}}, []string{"first"}},
		{"what can't be used is tried once", []step{{"bad", false, false}, {"same", true, true}, {"same", false, false}}, []string{"first", "bad"}},
		{"the old content after a bad one is used again", []step{{"bad", false, false}, {"same", true, true}, {"first", false, false}, {"same", true, false}}, []string{"first", "bad", "first"}},
		{"a file that is gone is reported each time", []step{{"gone", true, true}, {"same", true, true}}, []string{"first"}},
		{"a file that is back is used, though it is the same", []step{{"gone", true, true}, {"first", false, false}, {"same", true, false}}, []string{"first", "first"}},
		{"an empty file is a change", []step{{"", false, false}, {"same", true, false}, {"same", false, false}}, []string{"first", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			write := func(content string) {
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("first")
			var used []string
			f, err := Read(path, func(content []byte) error {
				used = append(used, string(content))
				if strings.HasPrefix(string(content), "bad") {
					return errors.New("bad content")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range tt.steps {
				switch s.content {
				case "same":
				case "gone":
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				default:
					write(s.content)
				}
				if news, err := f.Check(); news != s.news || (err != nil) != s.fails {
					t.Errorf("step %d: news %v, error %v", i, news, err)
				}
			}
			if !slices.Equal(used, tt.used) {
				t.Errorf("used %q, want %q", used, tt.used)
			}
		})
	}
}

func TestReadFails(t *testing.T) {
	if _, err := Read(filepath.Join(t.TempDir(), "missing"), func([]byte) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
	refused := errors.New("refused")
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, func([]byte) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("a file that can't be used: %v", err)
	}
}

func TestFollowReportsUntilItsContextEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("b"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reports := 0
	f.Follow(ctx, time.Millisecond, func(news bool, err error) {
		if err != nil {
			t.Error(err)
		}
		if news {
			reports++
			cancel()
		}
	})
	if reports != 1 {
		t.Errorf("%d reports", reports)
	}
}
