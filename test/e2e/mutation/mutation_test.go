package mutation

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

var update = flag.Bool("update", false, "write the golden files of TestMutationGolden anew")

const accountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"

// What is stored is as the golden files have it, the ServiceAccount
// plugin is content, and whoever is asked once more changes nothing.
func TestMutationGolden(t *testing.T) {
	var policies strings.Builder
	for _, m := range mutations() {
		fmt.Fprintf(&policies, "---\napiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: %s}\nspec:\n  match: {namespaceSelector: {matchLabels: {mutation: %s}}}\n  %s\n",
			m.name, m.name, strings.ReplaceAll(m.spec, "\n", "\n  "))
	}
	s := env.StartWebhook(t, "--policy-file="+harness.PolicyFile(t, policies.String()))
	labelled := metav1.LabelSelectorRequirement{Key: "mutation", Operator: metav1.LabelSelectorOpExists}
	env.RegisterMutating(t, "https://127.0.0.1:"+strconv.Itoa(s.Port), s.CA, admissionregistrationv1.Fail, labelled)
	env.RegisterAt(t, "https://127.0.0.1:"+strconv.Itoa(s.Port), s.CA, labelled)
	otherWebhooks(t)
	waitMutating(t, s)
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.run(t, s)
		})
	}
}

func (m *mutation) run(t *testing.T, s *harness.Server) {
	ns := newLabelledNamespace(t, map[string]string{"mutation": m.name, "other-webhook": m.other})
	if m.before != nil {
		m.before(t, ns)
	}
	var told []string
	err := cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
		// The ServiceAccount plugin knows of accounts by a watch of its own.
		var err error
		if told, err = env.CreatePod(t, ns, m.pod.DeepCopy()); apierrors.IsForbidden(err) && strings.Contains(err.Error(), "looking up service account") {
			return err
		} else if err != nil {
			t.Fatal(err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := storedPod(t, ns, m.pod.Name)
	golden(t, filepath.Join("testdata", "mutation", m.name+".yaml"), map[string]any{
		"warnings": told, "audit": mutationAnnotations(t, ns, m.pod.Name), "pod": normal(stored),
	})
	if patch := reviewOnce(t, s, ns, stored); len(patch) > 0 {
		t.Errorf("asked once more: %s", patch)
	}
}

// storedPod returns a pod as the API server has it, fields that our types do not
// know included.
func storedPod(t *testing.T, namespace, name string) map[string]any {
	t.Helper()
	client, err := dynamic.NewForConfig(env.Plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	u, err := client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return u.Object
}

var generated = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`)

// normal leaves out what differs from run to run.
func normal(stored map[string]any) any {
	metadata := maps.Clone(stored["metadata"].(map[string]any))
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "namespace", "generation"} {
		delete(metadata, field)
	}
	text, err := json.Marshal(map[string]any{"metadata": metadata, "spec": stored["spec"]})
	if err != nil {
		return err.Error()
	}
	var out any
	if err := json.Unmarshal(generated.ReplaceAll(text, []byte("kube-api-access-xxxxx")), &out); err != nil {
		return err.Error()
	}
	return out
}

// mutationAnnotations are what the mutating webhook left in the audit log.
func mutationAnnotations(t *testing.T, namespace, name string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
		found := false
		err := env.EachEvent(func(e harness.AuditEvent) {
			if e.Verb != "create" || e.ObjectRef.Resource != "pods" || e.ObjectRef.Namespace != namespace || e.ObjectRef.Name != name {
				return
			}
			found = true
			for k, v := range e.Annotations {
				if key, ok := strings.CutPrefix(k, "mutate.pods.tokenward.dev/"); ok {
					out[key] = generated.ReplaceAllString(v, "kube-api-access-xxxxx")
				}
			}
		})
		if err == nil && !found {
			err = errors.New("the audit log does not have it")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func golden(t *testing.T, path string, got any) {
	t.Helper()
	text, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		harness.WriteFile(t, path, text)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, text) {
		t.Errorf("%s differs; -update writes it anew. Got:\n%s", path, text)
	}
}

// reviewOnce asks the webhook about an object as the API server does, and
// returns its patch.
func reviewOnce(t *testing.T, s *harness.Server, namespace string, object map[string]any) []byte {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "again", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Namespace: namespace, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	response, err := https.Post("https://127.0.0.1:"+strconv.Itoa(s.Port)+"/mutate/pods", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	var review admissionv1.AdmissionReview
	if err := errors.Join(err, json.Unmarshal(text, &review)); err != nil || !review.Response.Allowed {
		t.Fatalf("%v: %s", err, text)
	}
	return review.Response.Patch
}

// waysToCreate are the ways in which a pod with an account, or none, is made.
func waysToCreate(ns string) map[string]func(t *testing.T, name, account string) *corev1.Pod {
	applied := func(field string) func(t *testing.T, name, account string) *corev1.Pod {
		return func(t *testing.T, name, account string) *corev1.Pod {
			line := ""
			if account != "" {
				line = field + ": " + account + ", "
			}
			manifest := "{apiVersion: v1, kind: Pod, metadata: {name: " + name + "}, spec: {" + line + "containers: [{name: main, image: 'example.test/main:1'}]}}"
			made, err := env.Client.CoreV1().Pods(ns).Patch(t.Context(), name, types.ApplyYAMLPatchType, []byte(manifest), metav1.PatchOptions{FieldManager: "kubectl"})
			if err != nil {
				t.Fatal(err)
			}
			return made
		}
	}
	return map[string]func(t *testing.T, name, account string) *corev1.Pod{
		"create": func(t *testing.T, name, account string) *corev1.Pod {
			p := harness.Pod(name)
			p.Spec.ServiceAccountName = account
			made, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), p, metav1.CreateOptions{FieldManager: "kubectl-create"})
			if err != nil {
				t.Fatal(err)
			}
			return made
		},
		"server-side apply":              applied("serviceAccountName"),
		"server-side apply of the alias": applied("serviceAccount"),
		"Deployment": func(t *testing.T, name, account string) *corev1.Pod {
			one, labels := int32(1), map[string]string{"app": name}
			template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: harness.Pod(name).Spec}
			template.Spec.ServiceAccountName = account
			_, err := env.Client.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec:       appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var made *corev1.Pod
			err = cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
				list, err := env.Client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
				if err == nil && len(list.Items) == 0 {
					err = errors.New("no pod yet")
				}
				if err == nil {
					made = &list.Items[0]
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return made
		},
	}
}

// A pod that names default keeps it, one that names none gets the account of
// the policy, however it is made.
func TestAccountIsSetOnlyWhereTheClientSetNone(t *testing.T) {
	const policy = "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: p}\nspec: {mutate: {serviceAccount: {name: runner}}}\n"
	s := env.StartWebhook(t, "--policy-file="+harness.PolicyFile(t, policy))
	label := map[string]string{"account-when-unset": "true"}
	env.RegisterMutating(t, "https://127.0.0.1:"+strconv.Itoa(s.Port), s.CA, admissionregistrationv1.Fail, metav1.LabelSelectorRequirement{Key: "account-when-unset", Operator: metav1.LabelSelectorOpExists})
	ns := newLabelledNamespace(t, label)
	makeAccount(t, ns, corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner"}})
	waitChanged(t, ns)
	for way, create := range waysToCreate(ns) {
		for account, want := range map[string]string{"": "runner", "default": "default"} {
			t.Run(way+"/"+map[string]string{"": "none", "default": "default"}[account], func(t *testing.T) {
				name := strings.ToLower(strings.ReplaceAll(way, " ", "-")) + "-" + want
				made := create(t, name, account)
				if made.Spec.ServiceAccountName != want || made.Spec.DeprecatedServiceAccount != want {
					t.Errorf("runs as %q (alias %q), want %q", made.Spec.ServiceAccountName, made.Spec.DeprecatedServiceAccount, want)
				}
			})
		}
	}
}

// waitChanged waits until pods without an account get one.
func waitChanged(t *testing.T, namespace string) {
	t.Helper()
	err := cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		p, err := env.Client.CoreV1().Pods(namespace).Create(ctx, harness.Pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && p.Spec.ServiceAccountName != "runner" {
			err = errors.New("not changed yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// With failurePolicy: Ignore a webhook that is down changes nothing and stops
// nobody.
func TestMutationDownAndIgnored(t *testing.T) {
	const policy = "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: p}\nspec: {mutate: {serviceAccount: {name: runner}, automountServiceAccountToken: false}}\n"
	s := env.StartWebhook(t, "--policy-file="+harness.PolicyFile(t, policy))
	ns := newLabelledNamespace(t, map[string]string{"mutation-down": "true"})
	makeAccount(t, ns, corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner"}})
	env.RegisterMutating(t, "https://127.0.0.1:"+strconv.Itoa(s.Port), s.CA, admissionregistrationv1.Ignore, metav1.LabelSelectorRequirement{Key: "mutation-down", Operator: metav1.LabelSelectorOpExists})
	waitChanged(t, ns)
	if err := s.Stop(t); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), harness.Pod("app"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err := env.Client.CoreV1().Pods(ns).Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Spec.ServiceAccountName != "default" || p.Spec.AutomountServiceAccountToken != nil || len(p.Spec.Volumes) != 1 {
		t.Errorf("the pod was changed: %+v", p.Spec)
	}
}
