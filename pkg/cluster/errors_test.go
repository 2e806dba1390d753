package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tokenward.dev/tokenward/pkg/facts"
)

func TestOnlyTheAPIServersOwnWordMakesAbsent(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	tests := []struct {
		name string
		err  error
		want facts.Fact
	}{
		{"not found", apierrors.NewNotFound(secrets, "db"), facts.Fact{State: facts.Absent}},
		{"not found, wrapped", fmt.Errorf("reading: %w", apierrors.NewNotFound(secrets, "db")), facts.Fact{State: facts.Absent}},
		{"something else not found", apierrors.NewNotFound(secrets, "other"), facts.Fact{Why: facts.NotServed}},
		{"a resource that is not served", apierrors.NewGenericServerResponse(http.StatusNotFound, "get", secrets, "db", "404 page not found", 0, true), facts.Fact{Why: facts.NotServed}},
		{"forbidden", apierrors.NewForbidden(secrets, "db", errors.New("no")), facts.Fact{Why: facts.Forbidden}},
		{"our own token is not accepted", apierrors.NewUnauthorized("no"), facts.Fact{Why: facts.Unauthorized}},
		{"too many requests", apierrors.NewTooManyRequests("slow down", 1), facts.Fact{Why: facts.Throttled}},
		{"a time-out of the server", apierrors.NewTimeoutError("etcd", 1), facts.Fact{Why: facts.Timeout}},
		{"a time-out of ours", fmt.Errorf("get: %w", context.DeadlineExceeded), facts.Fact{Why: facts.Timeout}},
		{"an internal error", apierrors.NewInternalError(errors.New("boom")), facts.Fact{Why: facts.Failed}},
		{"no connection", errors.New("connection refused"), facts.Fact{Why: facts.Failed}},
		{"gone", apierrors.NewResourceExpired("gone"), facts.Fact{Why: facts.Failed}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Unanswered("db", tt.err); got.State != tt.want.State || got.Why != tt.want.Why {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
