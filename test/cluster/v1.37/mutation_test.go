package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podapi "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corev1conversion "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	plugin "k8s.io/kubernetes/plugin/pkg/admission/serviceaccount"

	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policy/rewrite"
	"tokenward.dev/tokenward/pkg/source"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/workload"
)

const (
	shop           = "shop"
	tokenDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// What policies change of random pods is taken by the API server's validation
// and its ServiceAccount plugin, leaves everything else as it was, and is not
// changed again.
func TestChangesOfRandomPods(t *testing.T) {
	const pods = 20_000
	bench := newWorkbench(t)
	changed, refused := 0, 0
	for seed := range int64(pods) {
		r := rand.New(rand.NewSource(seed)) //nolint:gosec // random pods, not keys
		client := randomPod(r)
		first, err := bench.admit(withDefaults(client))
		if err != nil {
			refused++ // by the plugin, before anybody asks us
			continue
		}
		owned := r.Intn(5) > 0
		raw := bench.raw(r, first, client, owned)
		policies := randomPolicies(r)
		snapshot := bench.compile(policies)
		name := fmt.Sprintf("seed %d, policies %s", seed, policies)
		result := bench.change(name, snapshot, raw)
		patched, err := rewrite.Apply(raw, result.Operations)
		if err != nil {
			t.Fatalf("%s: the patch does not apply: %v\n%+v", name, err, result.Operations)
		}
		if len(result.Operations) == 0 {
			continue
		}
		changed++
		bench.onlyPlanned(name, raw, patched, result)
		if again := bench.change(name, snapshot, patched); len(again.Operations) > 0 {
			t.Fatalf("%s: a second run does %+v\nafter %+v", name, again.Operations, result.Operations)
		}
		stored, err := bench.admit(bench.decode(patched))
		if err != nil {
			t.Fatalf("%s: the ServiceAccount plugin is not content: %v\n%s", name, err, patched)
		}
		bench.valid(name, stored)
		bench.withoutToken(name, stored, client)
		reinvoked := bench.change(name, snapshot, bench.raw(nil, stored, client, owned))
		if len(reinvoked.Operations) > 0 {
			t.Fatalf("%s: a run after the plugin's does %+v\nafter %+v", name, reinvoked.Operations, result.Operations)
		}
	}
	if changed < pods/3 || refused > pods/3 {
		t.Errorf("of %d pods only %d were changed, and %d refused before", pods, changed, refused)
	}
}

// workbench has a cluster, as facts and as the plugin's informers.
type workbench struct {
	t        *testing.T
	plugin   *plugin.Plugin
	cluster  *manifest.Cluster
	compiler *policy.Compiler
}

func newWorkbench(t *testing.T) *workbench {
	b := &workbench{t: t, plugin: plugin.NewServiceAccount(), cluster: &manifest.Cluster{}, compiler: policy.NewCompiler(policy.Checks())}
	b.cluster.Keys = token.NewKeySet(token.KeySetOptions{Unavailable: true})
	accounts := []runtime.Object{
		account("default", nil, "reg-default"), account("runner", nil, "reg-runner"), account("plain", nil), account("quiet", new(bool)), strict(),
	}
	for _, o := range append(accounts, secrets()...) {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.cluster.Add(text); err != nil {
			t.Fatal(err)
		}
	}
	client := fake.NewClientset(accounts...)
	factory := informers.NewSharedInformerFactory(client, 0)
	b.plugin.SetExternalKubeClientSet(client)
	b.plugin.SetExternalKubeInformerFactory(factory)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return b
}

func account(name string, automount *bool, pull ...string) *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: shop},
		AutomountServiceAccountToken: automount,
	}
	for _, p := range pull {
		a.ImagePullSecrets = append(a.ImagePullSecrets, corev1.LocalObjectReference{Name: p})
	}
	return a
}

// strict admits only the Secrets that it lists.
func strict() *corev1.ServiceAccount {
	a := account("strict", nil, "reg-strict")
	a.Annotations = map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}
	a.Secrets = []corev1.ObjectReference{{Name: "db"}}
	return a
}

func secrets() []runtime.Object {
	one := func(name, of string, keys ...string) runtime.Object {
		s := &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: shop},
			Data: map[string][]byte{},
		}
		if of != "" {
			s.Type, s.Annotations = corev1.SecretTypeServiceAccountToken, map[string]string{corev1.ServiceAccountNameKey: of}
		}
		for _, k := range keys {
			s.Data[k] = []byte("x")
		}
		return s
	}
	return []runtime.Object{
		one("db", "", "password"),
		one("default-token-aaaaa", "default", "token", "ca.crt", "namespace"),
		one("runner-token-bbbbb", "runner", "token", "ca.crt", "namespace"),
		one("runner-more", "runner", "token", "ca.crt", "namespace", "extra"),
	}
}

var yes = true

func pick[T any](r *rand.Rand, of ...T) T { return of[r.Intn(len(of))] }

// pluginShape is the source of the volume that the plugin adds.
func pluginShape() *corev1.ProjectedVolumeSource {
	out := &corev1.ProjectedVolumeSource{}
	if err := corev1conversion.Convert_core_ProjectedVolumeSource_To_v1_ProjectedVolumeSource(plugin.TokenVolumeSource(), out, nil); err != nil {
		return nil
	}
	return out
}

func (b *workbench) compile(policies string) *policy.Snapshot {
	compiled, err := b.compiler.Parse("policies.yaml", []byte(policies))
	if err != nil {
		b.t.Fatal(err)
	}
	return policy.NewSnapshot(policy.Checks(), compiled, policy.Options{})
}

// withDefaults is what the API server makes of a client's pod before admission.
func withDefaults(client *corev1.Pod) *corev1.Pod {
	p := client.DeepCopy()
	p.APIVersion, p.Kind = "v1", "Pod"
	legacyscheme.Scheme.Default(p)
	return p
}

// admit runs the ServiceAccount plugin.
func (b *workbench) admit(pod *corev1.Pod) (*corev1.Pod, error) {
	internal := &api.Pod{}
	if err := legacyscheme.Scheme.Convert(pod, internal, nil); err != nil {
		b.t.Fatal(err)
	}
	attributes := admission.NewAttributesRecord(internal, nil, api.Kind("Pod").WithVersion("v1"), shop, "app", api.Resource("pods").WithVersion("v1"), "", admission.Create, &metav1.CreateOptions{}, false, nil)
	if err := b.plugin.Admit(b.t.Context(), attributes, nil); err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	if err := legacyscheme.Scheme.Convert(internal, out, nil); err != nil {
		b.t.Fatal(err)
	}
	out.APIVersion, out.Kind = "v1", "Pod"
	return out, nil
}

// raw is the pod as a webhook gets it: with managedFields of what the client
// wrote, if owned, and with fields that nobody here knows.
func (b *workbench) raw(r *rand.Rand, pod, client *corev1.Pod, owned bool) []byte {
	managed := pod.DeepCopy()
	if owned {
		managed.ManagedFields = managedBy(client)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(managed)
	if err != nil {
		b.t.Fatal(err)
	}
	if r != nil {
		unknownFields(r, fields)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

func managedBy(client *corev1.Pod) []metav1.ManagedFieldsEntry {
	spec := map[string]any{}
	if client.Spec.ServiceAccountName != "" {
		spec["f:serviceAccountName"] = map[string]any{}
	}
	if client.Spec.AutomountServiceAccountToken != nil {
		spec["f:automountServiceAccountToken"] = map[string]any{}
	}
	named := func(field string, names []string, inner map[string]any) {
		list := map[string]any{}
		for _, n := range names {
			list[`k:{"name":"`+n+`"}`] = inner
		}
		if len(list) > 0 {
			spec[field] = list
		}
	}
	var volumes, pull []string
	for _, v := range client.Spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, p := range client.Spec.ImagePullSecrets {
		pull = append(pull, p.Name)
	}
	named("f:volumes", volumes, map[string]any{".": map[string]any{}})
	named("f:imagePullSecrets", pull, map[string]any{".": map[string]any{}})
	annotations := map[string]any{}
	for k := range client.Annotations {
		annotations["f:"+k] = map[string]any{}
	}
	text, _ := json.Marshal(map[string]any{"f:spec": spec, "f:metadata": map[string]any{"f:annotations": annotations}})
	return []metav1.ManagedFieldsEntry{{Manager: "client", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(text))}}
}

func (b *workbench) decode(raw []byte) *corev1.Pod {
	p := &corev1.Pod{}
	if err := json.Unmarshal(raw, p); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *workbench) change(name string, snapshot *policy.Snapshot, raw []byte) rewrite.Result {
	review := &policy.Attributes{Operation: admissionv1.Create, Namespace: shop, Now: time.Unix(0, 0), Pod: workload.OfPod(b.decode(raw))}
	review.Values = func() *policy.Values {
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			b.t.Fatalf("%s: %v", name, err)
		}
		return &policy.Values{Object: review.Pod.Unstructured(fields, shop), Request: map[string]any{}}
	}
	plan := rewrite.New(snapshot, review)
	return plan.Result(source.Answer(b.cluster, time.Time{}, plan.Needs))
}

// onlyPlanned fails if anything differs that no change tells of.
func (b *workbench) onlyPlanned(name string, before, after []byte, result rewrite.Result) {
	var x, y map[string]any
	if json.Unmarshal(before, &x) != nil || json.Unmarshal(after, &y) != nil {
		b.t.Fatalf("%s: no JSON", name)
	}
	planned := map[string]bool{}
	gone := map[string]bool{} // volumes
	for _, c := range result.Changes {
		planned[c.Path] = true
		if strings.HasPrefix(c.Path, "spec.volumes[") && c.To == "" {
			gone[c.From] = true
		}
	}
	for i, pod := range []map[string]any{x, y} {
		spec := pod["spec"].(map[string]any)
		if planned["spec.serviceAccountName"] {
			for _, field := range []string{"serviceAccountName", "serviceAccount", "imagePullSecrets"} {
				delete(spec, field)
			}
		}
		if planned["spec.automountServiceAccountToken"] {
			delete(spec, "automountServiceAccountToken")
		}
		if metadata := pod["metadata"].(map[string]any); metadata["annotations"] != nil {
			annotations := metadata["annotations"].(map[string]any)
			delete(annotations, rewrite.RecordAnnotation)
			if len(annotations) == 0 {
				delete(metadata, "annotations")
			}
		}
		b.withoutVolumes(spec, planned, gone, i == 0)
	}
	if !reflect.DeepEqual(x, y) {
		b.t.Fatalf("%s: more was changed than planned\nbefore %s\nafter  %s\n%+v", name, before, after, result.Changes)
	}
}

// withoutVolumes takes out of a spec what changes of volumes tell of.
func (b *workbench) withoutVolumes(spec map[string]any, planned, gone map[string]bool, before bool) {
	volumes, _ := spec["volumes"].([]any)
	kept := []any{}
	for i, v := range volumes {
		v := maps.Clone(v.(map[string]any))
		if gone[v["name"].(string)] {
			if !before {
				b.t.Fatalf("volume %v is still there", v["name"])
			}
			continue
		}
		if planned[fmt.Sprintf("spec.volumes[%d]", i)] || !before {
			if planned[fmt.Sprintf("spec.volumes[%d]", i)] && before {
				delete(v, "secret")
				v["rewritten"] = true
			} else if _, isSecret := v["secret"]; !isSecret && planned["was:"+v["name"].(string)] {
				delete(v, "projected")
				v["rewritten"] = true
			}
		}
		if v["rewritten"] == true && before {
			planned["was:"+v["name"].(string)] = true
		}
		kept = append(kept, v)
	}
	spec["volumes"] = kept
	for _, list := range []string{"containers", "initContainers"} {
		items, _ := spec[list].([]any)
		for _, item := range items {
			c := item.(map[string]any)
			mounts, _ := c["volumeMounts"].([]any)
			c["volumeMounts"] = slices.DeleteFunc(slices.Clone(mounts), func(m any) bool { return gone[m.(map[string]any)["name"].(string)] })
			if len(c["volumeMounts"].([]any)) == 0 {
				delete(c, "volumeMounts")
			}
		}
	}
}

// withoutToken fails if a pod that says that it gets no token still has the
// volume of the plugin.
func (b *workbench) withoutToken(name string, pod, client *corev1.Pod) {
	if says := pod.Spec.AutomountServiceAccountToken; says == nil || *says {
		return
	}
	for _, v := range pod.Spec.Volumes {
		own := slices.ContainsFunc(client.Spec.Volumes, func(o corev1.Volume) bool { return o.Name == v.Name })
		if strings.HasPrefix(v.Name, "kube-api-access-") && !own {
			b.t.Fatalf("%s: volume %s is still there", name, v.Name)
		}
	}
}

// valid fails if the API server's validation refuses the pod.
func (b *workbench) valid(name string, pod *corev1.Pod) {
	internal := &api.Pod{}
	if err := legacyscheme.Scheme.Convert(withDefaults(pod), internal, nil); err != nil {
		b.t.Fatal(err)
	}
	options := podapi.GetValidationOptionsFromPodSpecAndMeta(&internal.Spec, nil, &internal.ObjectMeta, nil)
	errs := validation.ValidatePodCreate(internal, options)
	errs = slices.DeleteFunc(errs, func(err *field.Error) bool { return strings.HasPrefix(err.Field, "metadata.uid") })
	if len(errs) > 0 {
		b.t.Fatalf("%s: not valid: %v", name, errs.ToAggregate())
	}
}
