package audit

import (
	"errors"
	"net/http"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
)

// maxRefusalsLogged bounds what one look at a namespace logs: whoever makes objects
// there must not fill the log.
const maxRefusalsLogged = 10

// refusals gathers what the API server refuses to take in a namespace, one object by
// itself: the others are written all the same.
type refusals struct {
	log   logr.Logger
	known map[string]bool // that were logged before
	now   map[string]bool // of those the ones that are still refused, and new ones
	fresh int             // how many were logged by this look
	again error           // why the namespace must be looked at again soon
}

// refusalsOf begins to gather. What was logged before is not logged again.
func (a *Auditor) refusalsOf(what, namespace string) *refusals {
	key := what + " " + namespace
	r := &refusals{log: a.Log.WithValues("namespace", namespace, "kind", what), known: a.refused[key], now: map[string]bool{}}
	a.refused[key] = r.now
	return r
}

// forgetRefusals forgets a namespace that is gone.
func (a *Auditor) forgetRefusals(namespace string) {
	delete(a.refused, kindReport+" "+namespace)
	delete(a.refused, kindEvent+" "+namespace)
}

// note notes how a write ended. It returns the error if the other writes would fail
// as well.
func (r *refusals) note(name, about string, err error) error {
	switch {
	case err == nil:
		return nil
	case !isAboutOne(err):
		return err
	case !isRefused(err):
		r.again = err
	}
	logged := r.known[name]
	if !logged && r.fresh < maxRefusalsLogged {
		r.fresh++
		logged = true
		r.log.Error(err, "The API server does not take an object that the audit writes; the others are written", "name", name, "about", about)
	}
	if logged {
		r.now[name] = true
	}
	return nil
}

// isAboutOne reports whether the API server answered, and what it said is about the
// one object.
func isAboutOne(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code == http.StatusServiceUnavailable {
		return false
	}
	why := cluster.WhyNot(err)
	return why != facts.Unauthorized && why != facts.Throttled && why != facts.Timeout
}

// isRefused reports whether the API server will not take an object as it is, however
// often it is asked.
func isRefused(err error) bool {
	var status apierrors.APIStatus
	return isAboutOne(err) && errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && !apierrors.IsConflict(err)
}
