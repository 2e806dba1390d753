package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// askedPath is what both answers are to: everybody who is authenticated may
// see it (system:discovery).
const askedPath = "/api"

// get asks once, and returns the status.
func (w *walk) get(ctx context.Context, config *rest.Config) (int, error) {
	config = rest.CopyConfig(config)
	config.Dial, config.Timeout = w.Dial, w.Patience
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return 0, err
	}
	defer client.CloseIdleConnections()
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(askedPath).String(), http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, response.Body.Close()
}

func status(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }

// unwell is for answers that say nothing of who asks.
func unwell(code int, err error) (Step, bool) {
	switch {
	case timedOut(err):
		return failed("no answer to a request", "The API server accepts connections and does not answer: look at its log, and at etcd."), true
	case err != nil:
		return failed("no answer to a request: "+cause(err), "Look at the log of the API server."), true
	case code >= http.StatusInternalServerError:
		return failed(status(code), "The API server is not well: look at its log, and at etcd."), true
	case code == http.StatusTooManyRequests:
		return failed(status(code), "The API server has too much to do: try again, and look at its flow control."), true
	}
	return Step{}, false
}

func (w *walk) anonymous(ctx context.Context) Step {
	code, err := w.get(ctx, rest.AnonymousClientConfig(w.config))
	if step, bad := unwell(code, err); bad {
		return step
	}
	switch code {
	case http.StatusUnauthorized:
		return ok("GET " + askedPath + " without a token: " + status(code) + ", as it should be: the API server takes no anonymous requests")
	case http.StatusForbidden:
		return ok("GET " + askedPath + " without a token: " + status(code) + " for system:anonymous, as it should be")
	case http.StatusOK:
		return note("GET "+askedPath+" without a token: "+status(code), "system:anonymous may see more than by default: look at the ClusterRoleBindings of system:unauthenticated.")
	}
	return note("GET "+askedPath+" without a token: "+status(code), "This is not what an API server answers: check the address.")
}

func (w *walk) authenticated(ctx context.Context) Step {
	code, err := w.get(ctx, w.config)
	if step, bad := unwell(code, err); bad {
		return step
	}
	switch with := "GET " + askedPath + w.with() + ": " + status(code); code {
	case http.StatusUnauthorized:
		return failed(with, "The token itself is refused; no RoleBinding mends that. kubectl tokenward token verify tells why."+w.renewal())
	case http.StatusForbidden:
		return note(with, "The token is good, but the ClusterRoleBinding system:discovery is gone: clients that look around first will fail.")
	case http.StatusOK:
		return ok(with)
	default:
		return failed(with, "This is not what an API server answers: check the address.")
	}
}

// renewal says when a token in a file gets better.
func (w *walk) renewal() string {
	if w.config.BearerTokenFile == "" {
		return ""
	}
	return " The kubelet renews it at 80 % of its lifetime, not when the signing keys change: kubectl rollout restart brings a new one at once."
}

func (w *walk) with() string {
	if w.config.BearerToken != "" || w.config.BearerTokenFile != "" {
		return " with the token"
	}
	return " with the kubeconfig"
}

func (w *walk) whoAmI(ctx context.Context) Step {
	client, err := kubernetes.NewForConfig(w.config)
	if err != nil {
		return failed(cause(err), "")
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return note("may not ask that", "The ClusterRoleBinding system:basic-user is gone.")
	case apierrors.IsUnauthorized(err):
		return failed("401 Unauthorized", "The token itself is refused. kubectl tokenward token verify tells why."+w.renewal())
	case err != nil:
		return note("not answered: "+serverSays(err), "")
	}
	w.user = review.Status.UserInfo.Username
	if w.Namespace == "" {
		w.Namespace = namespaceOf(w.user)
	}
	return ok(fmt.Sprintf("%.200q", w.user))
}

func namespaceOf(user string) string {
	parts := strings.Split(user, ":")
	if len(parts) == 4 && parts[0] == "system" && parts[1] == "serviceaccount" {
		return parts[2]
	}
	return metav1.NamespaceDefault
}

// serverSays is what an API server tells of an error.
func serverSays(err error) string {
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		return s.Status().Message
	}
	return cause(err)
}

func (w *walk) permissions(ctx context.Context) Step {
	client, err := kubernetes.NewForConfig(w.config)
	if err != nil {
		return failed(cause(err), "")
	}
	if w.Namespace == "" {
		w.Namespace = metav1.NamespaceDefault
	}
	review, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: w.Namespace}}, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return failed("403 Forbidden to ask that, and most likely to everything else", w.bind())
	case err != nil:
		return note("not answered: "+serverSays(err), "")
	}
	rules := rights(review.Status.ResourceRules)
	switch {
	case len(rules) == 0 && review.Status.Incomplete:
		return note("not known: the API server's authorizer can't list them", "Ask for one: kubectl auth can-i get pods -n "+w.Namespace)
	case len(rules) == 0:
		return failed("none in the namespace "+w.Namespace+": the API server knows who asks, and answers 403 Forbidden", w.bind())
	}
	return ok("in the namespace " + w.Namespace + ": " + strings.Join(rules, "; "))
}

// bind is the cure for an account without rights.
func (w *walk) bind() string {
	const role = " Narrow is better: a Role of your own, with the verbs and resources that the program needs."
	if w.token == nil || !areNames(w.token.Claims.Namespace+"/"+w.token.Claims.ServiceAccount.Name) {
		return "Bind a Role to this user." + role
	}
	account := w.token.Claims.Namespace + ":" + w.token.Claims.ServiceAccount.Name
	return fmt.Sprintf("Bind a Role to the account: kubectl create rolebinding NAME -n %s --role=ROLE --serviceaccount=%s.%s", w.Namespace, account, role)
}

// everybodys reports whether a rule is one that all authenticated users, or all
// accounts, have: system:basic-user and system:cluster-trust-bundle-discovery.
func everybodys(r authorizationv1.ResourceRule) bool {
	only := func(list []string, known ...string) bool {
		return !slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(known, s) })
	}
	return only(r.APIGroups, "authorization.k8s.io", "authentication.k8s.io") ||
		only(r.APIGroups, "certificates.k8s.io") && only(r.Resources, "clustertrustbundles") && only(r.Verbs, "get", "list", "watch")
}

// rights says in words what rules allow, but for what everybody may.
func rights(rules []authorizationv1.ResourceRule) []string {
	const most = 8
	var out []string
	for _, r := range rules {
		if everybodys(r) {
			continue
		}
		resources := make([]string, 0, len(r.Resources))
		for _, name := range r.Resources {
			if len(r.APIGroups) > 0 && r.APIGroups[0] != "" && r.APIGroups[0] != "*" {
				name += "." + r.APIGroups[0]
			}
			resources = append(resources, name)
		}
		what := strings.Join(resources, ", ")
		if slices.Contains(r.Resources, "*") {
			what = "everything"
		}
		verbs := strings.Join(r.Verbs, ", ")
		if slices.Contains(r.Verbs, "*") {
			verbs = "do anything with"
		}
		if len(r.ResourceNames) > 0 {
			what += " of certain names"
		}
		out = append(out, verbs+" "+what)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return out
}
