package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func clientOf(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	c, err := NewClient(&rest.Config{Host: server.URL, QPS: -1}, Reducer{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNamesAreListedPageByPage(t *testing.T) {
	pages := map[string]string{
		"":  `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"continue":"2","resourceVersion":"7"},"items":[{"metadata":{"name":"a","annotations":{"k":"}]"}}},{"metadata":{"name":"b"}}]}`,
		"2": `{"items":[{"metadata":{"name":"c"}}],"metadata":{}}`,
	}
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/shop/secrets" || !strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList") {
			t.Errorf("%s wants %s", r.URL.Path, r.Header.Get("Accept"))
		}
		_, _ = w.Write([]byte(pages[r.URL.Query().Get("continue")]))
	})
	names, err := c.Names(t.Context(), reference.Secret, "shop")
	if err != nil || len(names) != 3 || !names["a"] || !names["b"] || !names["c"] {
		t.Errorf("got %v, %v", names, err)
	}
}

// What is listed in part tells of nothing that it is absent.
func TestNamesThatCannotAllBeListedAreNone(t *testing.T) {
	page := func(next string, items string) string {
		return fmt.Sprintf(`{"metadata":{"continue":%q},"items":[%s]}`, next, items)
	}
	for name, answer := range map[string]string{
		"there is no end":       page("more", `{"metadata":{"name":"a"}}`),
		"much is said of one":   page("", `{"metadata":{"name":"a","annotations":{"k":"`+strings.Repeat("x", maxNamesAnswer)+`"}}}`),
		"the answer is cut":     `{"metadata":{},"items":[{"metadata":{"name":"a"}}`,
		"items are no list":     `{"metadata":{},"items":{}}`,
		"it is no list":         `{"kind":"Status"`,
		"the second page fails": page("fail", `{"metadata":{"name":"a"}}`),
	} {
		t.Run(name, func(t *testing.T) {
			c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("continue") == "fail" {
					w.WriteHeader(http.StatusGone)
					return
				}
				_, _ = w.Write([]byte(answer))
			})
			names, err := c.Names(t.Context(), reference.Secret, "shop")
			if names != nil || err == nil {
				t.Errorf("got %d names, %v", len(names), err)
			}
			if large := strings.HasPrefix(name, "there") || strings.HasPrefix(name, "much"); large != errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestANameThatNoObjectCanHaveIsAbsentWithoutARead(t *testing.T) {
	c := clientOf(t, func(http.ResponseWriter, *http.Request) { t.Error("there was a read") })
	for _, name := range []string{"../../x", "A", "a b", "a\n", strings.Repeat("x", 1<<20)} {
		for _, kind := range []reference.Kind{reference.Secret, reference.ConfigMap, reference.ServiceAccount} {
			q := facts.Query{Object: facts.Object{Kind: kind, Namespace: "shop", Name: name}}
			if f := c.answer(t.Context(), &q); f.State != facts.Absent {
				t.Errorf("%s %.20q: %+v", kind, name, f)
			}
		}
	}
}
