package rewrite_test

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policy/rewrite"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

const shop = "shop"

// inShop is what there is in the namespace of the tests.
func inShop(o facts.Object) facts.Fact {
	present := facts.Fact{State: facts.Present, Contents: true, Fresh: true}
	mounts := false
	switch o {
	case facts.Object{Kind: reference.ServiceAccount, Namespace: shop, Name: "default"}:
		present.Account = &facts.Account{PullSecrets: []string{"registry"}}
	case facts.Object{Kind: reference.ServiceAccount, Namespace: shop, Name: "runner"}:
		present.Account = &facts.Account{PullSecrets: []string{"mirror", "vault"}}
	case facts.Object{Kind: reference.ServiceAccount, Namespace: shop, Name: "robot"}:
		present.Account = &facts.Account{Automount: &mounts}
	case facts.Object{Kind: reference.Secret, Namespace: shop, Name: "default-token-abcde"}:
		present.Secret = &facts.Secret{TokenSecret: true, Account: "default", HasToken: true}
	case facts.Object{Kind: reference.Secret, Namespace: shop, Name: "runner-token-abcde"}:
		present.Secret = &facts.Secret{TokenSecret: true, Account: "runner", HasToken: true}
	case facts.Object{Kind: reference.Secret, Namespace: shop, Name: "db"}:
		present.Secret = &facts.Secret{}
	case facts.Object{Kind: reference.ConfigMap, Namespace: shop, Name: reference.RootCA}:
	default:
		return facts.Fact{State: facts.Absent, Contents: true, Fresh: true}
	}
	return present
}

// snapshots are kept: parsing policies takes longer than what is tested.
type snapshots map[string]*policy.Snapshot

func (all snapshots) with(t *testing.T, mutations []string) *policy.Snapshot {
	t.Helper()
	key := strings.Join(mutations, ";")
	if all[key] == nil {
		all[key] = snapshot(t, mutations)
	}
	return all[key]
}

func snapshot(t *testing.T, mutations []string) *policy.Snapshot {
	t.Helper()
	var text strings.Builder
	for i, m := range mutations {
		fmt.Fprintf(&text, "---\napiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: p%d}\nspec: {mutate: {%s}}\n", i, m)
	}
	policies, err := policy.NewCompiler(policy.Checks()).Parse("policies.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return policy.NewSnapshot(policy.Checks(), policies, policy.Options{})
}

// change runs the policies over a pod, and applies the patch.
func change(t *testing.T, s *policy.Snapshot, object []byte) (rewrite.Result, []byte) {
	t.Helper()
	result := changesOf(t, s, object)
	after, err := rewrite.Apply(object, result.Operations)
	if err != nil {
		t.Fatalf("%v\n%s\n%+v", err, object, result.Operations)
	}
	return result, after
}

// changesOf runs the policies over a pod.
func changesOf(t *testing.T, s *policy.Snapshot, object []byte) rewrite.Result {
	t.Helper()
	var pod corev1.Pod
	if err := json.Unmarshal(object, &pod); err != nil {
		t.Fatal(err)
	}
	plan := rewrite.New(s, &policy.Attributes{Operation: admissionv1.Create, Namespace: shop, Now: time.Unix(0, 0), Pod: workload.OfPod(&pod)})
	set := facts.Collect(plan.Needs, func(open []facts.Query, set *facts.Set) {
		for _, q := range open {
			set.Put(q.Object, inShop(q.Object))
		}
	})
	return plan.Result(set)
}

func mutations(r *rand.Rand) []string {
	all := []string{
		"serviceAccount: {name: runner}", "serviceAccount: {name: runner, when: Always}", "serviceAccount: {name: robot}", "serviceAccount: {name: nobody}",
		"automountServiceAccountToken: false", "automountServiceAccountToken: true", "automountServiceAccountToken: false, recordAnnotation: true",
		"longLivedTokenVolumes: {project: Existing}", "longLivedTokenVolumes: {project: ExistingOrMissing, expirationSeconds: 600}",
		"longLivedTokenVolumes: {project: Existing}, serviceAccount: {name: runner}, recordAnnotation: true",
	}
	if one := all[r.Intn(len(all))]; r.Intn(2) == 0 {
		return []string{one}
	}
	i := r.Intn(len(all))
	return []string{all[i], all[(i+3)%len(all)], all[(i+7)%len(all)]}
}

type object = map[string]any

// randomPod is a pod with fields of the future everywhere, as the API server
// hands it over: the account's pull secrets and token volume are there.
func randomPod(r *rand.Rand) object {
	future := func(o object) object { o["fieldOfTheFuture"] = object{"a": []any{1.0, "x"}}; return o }
	volumes := []any{
		future(object{"name": "t", "secret": object{"secretName": "default-token-abcde"}}),
		future(object{"name": "u", "secret": object{"secretName": "runner-token-abcde", "items": []any{object{"key": "token", "path": "sub/token"}}}}),
		future(object{"name": "m", "secret": object{"secretName": "default-token-zzzzz"}}),
		future(object{"name": "d", "secret": object{"secretName": "db"}}),
		future(object{"name": "e", "emptyDir": object{}}),
		future(object{"name": "kube-api-access-7vq2n", "projected": object{"defaultMode": 420.0, "sources": []any{
			object{"serviceAccountToken": object{"expirationSeconds": 3607.0, "path": "token"}},
			object{"configMap": object{"name": "kube-root-ca.crt", "items": []any{object{"key": "ca.crt", "path": "ca.crt"}}}},
			object{"downwardAPI": object{"items": []any{object{"path": "namespace", "fieldRef": object{"apiVersion": "v1", "fieldPath": "metadata.namespace"}}}}},
		}}}),
	}
	r.Shuffle(len(volumes), func(i, j int) { volumes[i], volumes[j] = volumes[j], volumes[i] })
	volumes = volumes[:r.Intn(len(volumes)+1)]
	container := func() object {
		mounts := []any{}
		for _, v := range volumes {
			if r.Intn(2) == 0 {
				mounts = append(mounts, future(object{"name": v.(object)["name"], "mountPath": []string{"/mnt", reference.AccountDirectory}[r.Intn(2)]})) //nolint:forcetypeassert // made so
			}
		}
		return future(object{"name": "c", "volumeMounts": mounts})
	}
	spec := future(object{"serviceAccountName": []string{"default", "runner"}[r.Intn(2)], "containers": []any{container()}, "initContainers": []any{container()}, "volumes": volumes})
	if r.Intn(2) == 0 {
		spec["serviceAccount"] = spec["serviceAccountName"]
	}
	if r.Intn(3) == 0 {
		spec["automountServiceAccountToken"] = r.Intn(2) == 0
	}
	if r.Intn(2) == 0 {
		spec["imagePullSecrets"] = []any{object{"name": []string{"registry", "own"}[r.Intn(2)]}}
	}
	metadata := future(object{"name": "app", "namespace": shop})
	if r.Intn(2) == 0 {
		metadata["annotations"] = object{"a": "b"}
	}
	if r.Intn(4) > 0 {
		written := object{}
		if r.Intn(2) == 0 {
			written["f:serviceAccountName"] = object{}
		}
		metadata["managedFields"] = []any{object{"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": object{"f:spec": written}}}
	}
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "fieldOfTheFuture": 1.0}
}

// eachChange visits random pods before and after what random policies did.
func eachChange(t *testing.T, visit func(t *testing.T, s *policy.Snapshot, before object, result rewrite.Result, after []byte)) {
	t.Helper()
	changed, kept := 0, snapshots{}
	for seed := range int64(600) {
		r := rand.New(rand.NewSource(seed)) //nolint:gosec // random pods, not keys
		before, wants := randomPod(r), mutations(r)
		text, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		s := kept.with(t, wants)
		result, after := change(t, s, text)
		if len(result.Operations) > 0 {
			changed++
		}
		visit(t, s, before, result, after)
		if t.Failed() {
			t.Fatalf("seed %d, %q\n%s\n%+v\n%s", seed, wants, text, result.Operations, after)
		}
	}
	if changed < 300 {
		t.Errorf("only %d pods were changed: that shows nothing", changed)
	}
}

func decode(t *testing.T, text []byte) object {
	t.Helper()
	var out object
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAChangedPodIsNotChangedAgain(t *testing.T) {
	eachChange(t, func(t *testing.T, s *policy.Snapshot, _ object, _ rewrite.Result, after []byte) {
		if again, _ := change(t, s, after); len(again.Operations) > 0 {
			t.Errorf("the second time: %+v", again.Operations)
		}
	})
}

// list returns the objects of a list.
func list(o object, name string) []object {
	all, _ := o[name].([]any)
	out := make([]object, len(all))
	for i := range all {
		out[i], _ = all[i].(object)
	}
	return out
}

// rest returns a pod without what policies may change of it: the volumes that
// were removed or projected are told from the one that came.
func rest(pod object, gone map[any]bool) object {
	spec, _ := pod["spec"].(object)
	for _, field := range []string{"serviceAccountName", "serviceAccount", "automountServiceAccountToken", "imagePullSecrets"} {
		delete(spec, field)
	}
	keep := func(all []object) (out []object) {
		for _, o := range all {
			if !gone[o["name"]] {
				out = append(out, o)
			}
		}
		return out
	}
	volumes := keep(list(spec, "volumes"))
	for _, v := range volumes {
		if s, ok := v["secret"].(object); ok && strings.Contains(fmt.Sprint(s["secretName"]), "-token-") {
			delete(v, "secret")
		}
		if name := fmt.Sprint(v["name"]); v["projected"] != nil && !strings.HasPrefix(name, "kube-api-access-") {
			delete(v, "projected")
		}
	}
	spec["volumes"] = volumes
	for _, kind := range []string{"containers", "initContainers"} {
		for _, c := range list(spec, kind) {
			c["volumeMounts"] = keep(list(c, "volumeMounts"))
		}
	}
	metadata, _ := pod["metadata"].(object)
	annotations, _ := metadata["annotations"].(object)
	delete(annotations, rewrite.RecordAnnotation)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return pod
}

func names(all []object) map[any]bool {
	out := map[any]bool{}
	for _, o := range all {
		out[o["name"]] = true
	}
	return out
}

func TestWhatNoPolicyIsAboutStays(t *testing.T) {
	removed := 0
	eachChange(t, func(t *testing.T, _ *policy.Snapshot, before object, _ rewrite.Result, after []byte) {
		changed, gone := decode(t, after), map[any]bool{}
		there := names(list(changed["spec"].(object), "volumes"))           //nolint:forcetypeassert // made so
		for name := range names(list(before["spec"].(object), "volumes")) { //nolint:forcetypeassert // made so
			if gone[name] = !there[name]; gone[name] {
				removed++
				if !strings.HasPrefix(fmt.Sprint(name), "kube-api-access-") {
					t.Errorf("volume %v is gone", name)
				}
			}
		}
		was, _ := json.Marshal(rest(before, gone))
		is, _ := json.Marshal(rest(changed, gone))
		if string(was) != string(is) {
			t.Errorf("was\n%s\nis\n%s", was, is)
		}
	})
	if removed < 50 {
		t.Errorf("only %d volumes were removed", removed)
	}
}

func TestNoContainerMountsAVolumeThatIsGone(t *testing.T) {
	eachChange(t, func(t *testing.T, _ *policy.Snapshot, _ object, _ rewrite.Result, after []byte) {
		spec, _ := decode(t, after)["spec"].(object)
		volumes := names(list(spec, "volumes"))
		for _, kind := range []string{"containers", "initContainers"} {
			for _, c := range list(spec, kind) {
				for name := range names(list(c, "volumeMounts")) {
					if !volumes[name] {
						t.Errorf("%v is mounted, and is no volume", name)
					}
				}
			}
		}
	})
}

// Another webhook may have moved a volume between our decision and the patch.
func TestAPatchForAnotherOrderOfVolumesIsRefused(t *testing.T) {
	refused := 0
	eachChange(t, func(t *testing.T, _ *policy.Snapshot, before object, result rewrite.Result, _ []byte) {
		byPlace := slices.ContainsFunc(result.Operations, func(o rewrite.Operation) bool { return strings.HasPrefix(o.Path, "/spec/volumes/") })
		spec, _ := before["spec"].(object)
		volumes, _ := spec["volumes"].([]any)
		if !byPlace || len(volumes) < 2 {
			return
		}
		spec["volumes"] = append(slices.Clone(volumes[1:]), volumes[0])
		moved, _ := json.Marshal(before)
		if after, err := rewrite.Apply(moved, result.Operations); err == nil {
			t.Errorf("it is taken, with %s", after)
		}
		refused++
	})
	if refused < 100 {
		t.Errorf("only %d patches go by the place of a volume", refused)
	}
}

func TestEveryChangeIsTold(t *testing.T) {
	eachChange(t, func(t *testing.T, _ *policy.Snapshot, before object, result rewrite.Result, after []byte) {
		was, _ := json.Marshal(before)
		if same := reflect.DeepEqual(decode(t, was), decode(t, after)); same != (len(result.Changes) == 0) || same != (len(result.Operations) == 0) {
			t.Errorf("the pod is the same: %v, but the changes are %+v", same, result.Changes)
		}
		for _, c := range result.Changes {
			if c.Policy == "" || c.Path == "" || c.Left != "" {
				t.Errorf("got %+v", c)
			}
		}
	})
}

func TestAPodThatIsToHaveNoTokenHasNone(t *testing.T) {
	s := snapshot(t, []string{"automountServiceAccountToken: false"})
	for seed := range int64(100) {
		pod := randomPod(rand.New(rand.NewSource(seed))) //nolint:gosec // random pods, not keys
		text, _ := json.Marshal(pod)
		_, after := change(t, s, text)
		if strings.Contains(string(after), "kube-api-access-") || !strings.Contains(string(after), `"automountServiceAccountToken":false`) {
			t.Fatalf("seed %d: %s", seed, after)
		}
	}
}
