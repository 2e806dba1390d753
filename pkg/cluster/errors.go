package cluster

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/facts"
)

// Unanswered turns the error of a read into a fact. Only the API server's own word
// that this very object does not exist makes it absent.
func Unanswered(name string, err error) facts.Fact {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Code == http.StatusNotFound && isAboutObject(status.Status(), name) {
		return facts.Fact{State: facts.Absent}
	}
	return facts.Fact{Why: WhyNot(err)}
}

// WhyNot says why an error leaves something unknown.
func WhyNot(err error) facts.Why {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return facts.NoReason
	case meta.IsNoMatchError(err), errors.As(err, &status) && status.Status().Code == http.StatusNotFound:
		return facts.NotServed
	case apierrors.IsUnauthorized(err):
		return facts.Unauthorized
	case apierrors.IsForbidden(err):
		return facts.Forbidden
	case apierrors.IsTooManyRequests(err):
		return facts.Throttled
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return facts.Timeout
	}
	return facts.Failed
}

// isAboutObject tells "no such object" from "no such resource", for which the
// API server (or a proxy before it) answers with plain text.
func isAboutObject(s metav1.Status, name string) bool {
	if s.Reason != metav1.StatusReasonNotFound || s.Details == nil || s.Details.Name != name {
		return false
	}
	for _, c := range s.Details.Causes {
		if c.Type == metav1.CauseTypeUnexpectedServerResponse {
			return false
		}
	}
	return true
}
