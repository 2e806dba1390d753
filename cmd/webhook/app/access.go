package app

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/admission"
	"tokenward.dev/tokenward/pkg/logonce"
)

// How many answers are kept, for how long, how long one is waited for, and how often
// the API server is asked: whoever may create pods can make us ask.
const (
	accessKept         = 1024
	accessFor          = 10 * time.Second
	accessTimeout      = 500 * time.Millisecond
	accessQPS          = 10
	accessBurst        = 20
	secrets, readsVerb = "secrets", "get"
)

// accessReviews asks the API server what callers may do.
type accessReviews struct {
	client   kubernetes.Interface
	answers  *cache.LRUExpireCache
	failures *logonce.Failures
}

// access returns nil in embedded mode: there is nobody to ask.
func (s *Server) access() (admission.Access, error) {
	if s.config == nil {
		return nil, nil //nolint:nilnil // nobody may know more than the pod says
	}
	config := rest.CopyConfig(s.config)
	config.QPS, config.Burst = accessQPS, accessBurst
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return newAccessReviews(client, s.log.WithName("access")), nil
}

func newAccessReviews(client kubernetes.Interface, log logr.Logger) *accessReviews {
	return &accessReviews{client: client, answers: cache.NewLRUExpireCache(accessKept), failures: logonce.New(log)}
}

// MayReadSecrets implements admission.Access.
func (a *accessReviews) MayReadSecrets(ctx context.Context, user *authenticationv1.UserInfo, namespace string) bool {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extraOf(user),
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: readsVerb, Resource: secrets},
	}
	if user.Username == "" && len(user.Groups) == 0 {
		return false // no API server asks for nobody
	}
	text, err := json.Marshal(&spec) // everything that the answer depends on
	if err != nil {
		return false
	}
	key := sha256.Sum256(text)
	if known, ok := a.answers.Get(key); ok {
		allowed, _ := known.(bool)
		return allowed
	}
	limited, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	review, err := a.client.AuthorizationV1().SubjectAccessReviews().Create(limited, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if ctx.Err() != nil {
		return false // nobody waits for it any more
	}
	a.failures.Report("ask", err, "It can't be found out who may read Secrets; messages leave out the names of token Secrets")
	if err != nil {
		return false
	}
	a.answers.Add(key, review.Status.Allowed, accessFor)
	return review.Status.Allowed
}

func extraOf(user *authenticationv1.UserInfo) map[string]authorizationv1.ExtraValue {
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	return extra
}
