package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"tokenward.dev/tokenward/test/cluster"
)

// AuditEvent is what tests read of an event in the API server's audit log.
type AuditEvent struct {
	Verb        string
	ObjectRef   struct{ Resource, Namespace, Name string }
	Annotations map[string]string
}

// EachEvent visits the requests about something in a namespace in the audit log.
func (e *Env) EachEvent(visit func(AuditEvent)) error {
	log, err := os.ReadFile(e.Plane.AuditLog)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event AuditEvent
		// The last line may be half written.
		if json.Unmarshal(lines.Bytes(), &event) == nil && event.ObjectRef.Namespace != "" {
			visit(event)
		}
	}
	return lines.Err()
}

// AuditAnnotation returns what the API server's audit log has under a key of
// ours for the creation of a pod.
func (e *Env) AuditAnnotation(t *testing.T, namespace, name, key string) string {
	t.Helper()
	var value string
	err := cluster.Eventually(t.Context(), Patience, func(context.Context) error {
		found := false
		err := e.EachEvent(func(event AuditEvent) {
			if event.Verb == "create" && event.ObjectRef.Resource == "pods" && event.ObjectRef.Namespace == namespace && event.ObjectRef.Name == name {
				value, found = event.Annotations["validate.pods.tokenward.dev/"+key], true
			}
		})
		if err == nil && !found {
			err = fmt.Errorf("the audit log does not have the creation of pod %s/%s", namespace, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Requests returns what a user has asked the API server for, by the audit log
// from some byte on; and of that what it was refused.
func (e *Env) Requests(user string, from int64) (all, refused []Right, err error) {
	log, err := os.Open(e.Plane.AuditLog)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = log.Close() }()
	if _, err := log.Seek(from, io.SeekStart); err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(log)
	if err != nil {
		return nil, nil, err
	}
	for line := range bytes.Lines(text) {
		var event struct {
			Verb      string
			User      struct{ Username string }
			ObjectRef struct{ Namespace, APIGroup, Resource, Subresource, Name string }

			ResponseStatus struct {
				Code    int
				Message string
			}
		}
		// The last line may be half written.
		if !bytes.Contains(line, []byte(user)) || json.Unmarshal(line, &event) != nil || event.User.Username != user || event.ObjectRef.Resource == "" {
			continue
		}
		o := event.ObjectRef
		r := Right{o.Namespace, event.Verb, o.APIGroup, o.Resource, o.Subresource, o.Name}
		// Nothing can be made in a namespace that goes, whatever the rights.
		ending := strings.Contains(event.ResponseStatus.Message, "because it is being terminated")
		if event.ResponseStatus.Code == 403 && !ending && !slices.Contains(refused, r) {
			refused = append(refused, r)
		}
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all, refused, nil
}
