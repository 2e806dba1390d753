package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// list answers as an API server does: without a version from the store itself,
// with version 0 from the watch cache as it is, with another from a cache that is
// no older.
func (s *server) list(c *call) answer {
	version, refused := s.listVersion(c)
	if refused != nil {
		return *refused
	}
	after := ""
	if page := c.query("continue"); page != "" {
		text, name, _ := strings.Cut(page, " ")
		version, _ = strconv.ParseInt(text, 10, 64)
		after = name
		if s.tooOld(version) {
			return expired()
		}
	}
	if c.query("resourceVersion") != "" || c.query("limit") != "50" { // by which tokens are verified anew; nobody goes on from it
		s.world.noteReader(c, version, false)
	}
	objects := selected(s.world.store.stateAt(version), c.resource, c.namespace)
	objects = slices.DeleteFunc(objects, func(o *object) bool { return !c.selects(o) || place(o) <= after })
	next := ""
	if limit, _ := strconv.Atoi(c.query("limit")); limit > 0 && len(objects) > limit && c.query("resourceVersion") != "0" {
		objects = objects[:limit]
		next = fmt.Sprintf("%d %s", version, place(objects[limit-1]))
	}
	return answer{code: http.StatusOK, body: c.items(objects, metav1.ListMeta{ResourceVersion: fmt.Sprint(version), Continue: next})}
}

// place orders the objects of a resource.
func place(o *object) string { return o.namespace + "/" + o.name }

func (s *server) tooOld(version int64) bool {
	s.world.store.mu.Lock()
	defer s.world.store.mu.Unlock()
	return version < s.world.store.compacted
}

func (s *server) listVersion(c *call) (int64, *answer) {
	view := s.view()
	st := s.world.store
	st.mu.Lock()
	newest := st.version
	st.mu.Unlock()
	switch text := c.query("resourceVersion"); text {
	case "":
		return newest, nil
	case "0":
		return view, nil
	default:
		wanted, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			a := status(http.StatusBadRequest, "BadRequest", "invalid resource version", nil)
			return 0, &a
		}
		if wanted > newest {
			// As etcd3/errors.go has it: the client must ask without a version.
			details := cause(metav1.CauseTypeResourceVersionTooLarge, "", "Too large resource version")
			details.RetryAfterSeconds = 1
			a := status(http.StatusGatewayTimeout, metav1.StatusReasonTimeout, "Too large resource version", details)
			return 0, &a
		}
		return max(view, wanted), nil
	}
}
