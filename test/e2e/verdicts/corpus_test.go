package verdicts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/cases"
	"tokenward.dev/tokenward/pkg/workload"
	"tokenward.dev/tokenward/test/cluster"
)

// The corpus gives the same verdicts end to end as it does in the library.
// Each case gets a namespace of its own, in which its cluster is made; its
// request goes to the real API server, which asks the webhook, which looks
// into the live inventory.
func TestCorpusEndToEnd(t *testing.T) {
	corpus := filepath.Join(cluster.Root(), "test", "cases")
	all, err := cases.Load(corpus)
	if err != nil {
		t.Fatal(err)
	}
	server := newCorpusServer(t)
	installClasses(t)
	bundles := bundlesServed(t)

	skipped := map[string]int{}
	var runs []*corpusRun
	for i, c := range all {
		name, _ := filepath.Rel(corpus, c.Name)
		if why := cannotRun(name, c, bundles); why != "" {
			skipped[why]++
			t.Logf("not run: %s: %s", name, why)
			continue
		}
		runs = append(runs, &corpusRun{name: name, namespace: fmt.Sprintf("corpus-%03d", i), server: server})
	}
	top := t
	t.Run("prepare", func(t *testing.T) {
		for _, r := range runs {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				r.prepareIn(t, top, corpus)
			})
		}
	})
	// Policies are of the whole cluster, so that the cases come one by one.
	for _, r := range runs {
		t.Run("requests/"+r.name, func(t *testing.T) { r.request(t) })
	}
	events := readAuditLog(t, runs)
	for _, r := range runs {
		t.Run("verdicts/"+r.name, func(t *testing.T) { r.compare(t, events) })
	}
	if could := len(all) - skipped[ofOtherKeys] - skipped[ofMutation] - skipped[ofGuard]; len(runs)*100 < could*60 {
		t.Errorf("only %d of %d cases ran end to end", len(runs), could)
	}
	t.Logf("%d of %d cases ran end to end; not run: %v", len(runs), len(all), skipped)
}

// cannotRun says why a case can't be put to a real API server, or "".
func cannotRun(name string, c *cases.Case, bundles bool) string {
	r := &c.File.Request
	var kind metav1.TypeMeta
	_ = json.Unmarshal(r.Object, &kind)
	byName := map[string]string{
		"rules/mirror-pod.yaml":                                         "the API server refuses mirror pods that use Secrets",
		"rules/mirror-annotation-may-be-empty.yaml":                     "the API server refuses mirror pods that use Secrets",
		"rules/empty-names-in-the-environment.yaml":                     "the API server refuses empty names",
		"rules/empty-names-point-nowhere.yaml":                          "the API server refuses empty names",
		"rules/update-moves-a-reference.yaml":                           "the API server lets nobody change a pod's volumes",
		"rules/update-makes-a-reference-required.yaml":                  "the API server lets nobody change a pod's volumes",
		"rules/update-of-a-pod-that-is-being-deleted.yaml":              "the API server lets nobody change a pod's volumes",
		"service-account-exists/pods-are-the-api-servers-business.yaml": "the API server refuses the pod itself",
		"secret-exists/cluster-may-be-a-list.yaml":                      "an API server takes no lists",
		"token-default-account/template-whose-account-says-no.yaml":     "every namespace has its account already",
		"token-default-account/template-against-its-account.yaml":       "every namespace has its account already",
		"token-own-account/default-token-of-a-default-pod.yaml":         "its token names another namespace",
		"token-own-account/opaque-own.yaml":                             "its token names another namespace",
		"token-own-account/own.yaml":                                    "its token names another namespace",
		"secret-exists/replacement-goes-by-the-annotation.yaml":         "it is about kube-system, which is not enforced upon",
		"token-in-environment/optional-and-empty.yaml":                  "the token controller fills the Secret",
		"templates/no-template.yaml":                                    "the API server refuses the object itself",
		"secret-key-exists/empty-key-is-no-key.yaml":                    "the API server refuses empty keys",
		"matching/deprecated-account-field.yaml":                        "the API server wants the account to exist",
	}
	check, _, _ := strings.Cut(name, "/")
	switch {
	case strings.HasPrefix(name, "token-in-environment/literal") && bytes.Contains(c.File.Request.Object, []byte("eyJ")):
		return "its token names another namespace"
	case c.IsGuarded():
		return ofGuard
	case expectsHold(c):
		return "this webhook holds no pods: see test/e2e/hold"
	case c.File.Phase == "mutate":
		return ofMutation
	case byName[name] != "":
		return byName[name]
	case len(c.File.Keys) > 0 || check == "token-valid":
		return ofOtherKeys
	case check == "token-secret-owner" || check == "token-secret-populated" || check == "token-ca-current":
		return "the token controller mends or deletes such Secrets at once"
	case kind.Kind == "Pod" && (check == "token-required" || check == "token-default-account"):
		return "the API server gives the pod a token of its own"
	case kind.Kind == "Pod" && !hasAccount(c):
		return "the API server wants the account to exist"
	case len(c.File.Unknown) > 0:
		return "a single object that can't be looked up"
	case len(c.File.Absent) > 0:
		return "controllers make the object again at once"
	case kind.Kind != "Pod" && (r.Operation != admissionv1.Create || !isWorkload(kind)):
		return "the webhook is not registered for the kind, or the object would have to be made first"
	case r.SubResource != "" && r.SubResource != "ephemeralcontainers":
		return "the webhook is not registered for the subresource"
	case strings.HasPrefix(name, "trust-bundle-exists/") && !bundles:
		return "this API server does not serve ClusterTrustBundles"
	}
	return ""
}

// ofMutation is told of cases whose pods policies change: the API server adds to
// what they expect.
const ofMutation = "what an API server makes of a changed pod is for TestMutationGolden"

// ofGuard is told of cases about Secrets and accounts.
const ofGuard = "about a Secret or an account: see test/e2e/guard"

// expectsHold reports whether the pod of a case is held.
func expectsHold(c *cases.Case) bool {
	findings := c.File.Expect.Findings
	return findings != nil && slices.ContainsFunc(*findings, func(f cases.Finding) bool { return f.Action != nil && *f.Action == string(v1alpha1.Hold) })
}

// ofOtherKeys is told of cases whose tokens are made for keys beside the case;
// TestVerdictsAgree does the same with tokens of the cluster's own.
const ofOtherKeys = "its tokens are signed by keys that this API server does not have"

// hasAccount reports whether the case's cluster has the account of its pod.
func hasAccount(c *cases.Case) bool {
	var pod corev1.Pod
	if json.Unmarshal(c.File.Request.Object, &pod) != nil || pod.Spec.ServiceAccountName == "" || pod.Spec.ServiceAccountName == "default" {
		return true
	}
	return slices.ContainsFunc(c.File.Cluster, func(m json.RawMessage) bool {
		var o metav1.PartialObjectMetadata
		return json.Unmarshal(m, &o) == nil && (o.Kind == "List" || o.Kind == "ServiceAccount" && o.Name == pod.Spec.ServiceAccountName)
	})
}

func isWorkload(kind metav1.TypeMeta) bool {
	return slices.Contains(workload.BuiltinTemplates().Kinds(), kind.GroupVersionKind().GroupKind())
}
