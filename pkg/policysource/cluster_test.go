package policysource

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

var resource = v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource) //nolint:gochecknoglobals // a constant

// cluster is a source that follows a fake API server, in a bubble.
type cluster struct {
	*Cluster
	t       *testing.T
	fake    *fake.FakeDynamicClient
	log     journal
	metrics *metrics.Metrics

	mu       sync.Mutex
	statuses map[string][]*unstructured.Unstructured // that were applied, by policy
	refuse   error                                   // to write a status
}

func newCluster(t *testing.T, policies ...*unstructured.Unstructured) *cluster {
	t.Helper()
	c := &cluster{t: t, metrics: metrics.New(), statuses: map[string][]*unstructured.Unstructured{}}
	objects := make([]runtime.Object, len(policies))
	for i := range policies {
		objects[i] = policies[i]
	}
	c.fake = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{resource: "TokenPolicyList"}, objects...)
	c.fake.PrependReactor("patch", "*", c.applied)
	c.fake.PrependWatchReactor("*", refuseStreamedLists)
	var err error
	c.Cluster, err = NewCluster(&rest.Config{Host: "example.test"}, policy.NewCompiler(policy.Checks()), policy.Options{}, c.metrics, c.log.logger())
	if err != nil {
		t.Fatal(err)
	}
	c.client = c.fake.Resource(resource)
	return c
}

// refuseStreamedLists answers as API servers do that don't know them: the fake
// sends no bookmark after what it has.
func refuseStreamedLists(action clienttesting.Action) (bool, watch.Interface, error) {
	w, ok := action.(clienttesting.WatchActionImpl)
	if !ok || w.ListOptions.SendInitialEvents == nil {
		return false, nil, nil
	}
	return true, nil, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil)
}

// start follows the API server until everything has come to rest.
func start(t *testing.T, policies ...*unstructured.Unstructured) *cluster {
	t.Helper()
	c := newCluster(t, policies...)
	inBackground(t, c.Start)
	later(time.Second)
	return c
}

// applied puts a status into the object, as the API server would, and notes it.
func (c *cluster) applied(action clienttesting.Action) (bool, runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	patch, ok := action.(clienttesting.PatchAction)
	if !ok || patch.GetPatchType() != types.ApplyPatchType || patch.GetSubresource() != "status" {
		c.t.Errorf("got %v", action)
		return false, nil, nil
	}
	if c.refuse != nil {
		c.statuses[patch.GetName()] = append(c.statuses[patch.GetName()], nil)
		return true, nil, c.refuse
	}
	given := &unstructured.Unstructured{}
	if err := json.Unmarshal(patch.GetPatch(), &given.Object); err != nil {
		c.t.Error(err)
	}
	c.statuses[patch.GetName()] = append(c.statuses[patch.GetName()], given)
	stored, err := c.fake.Tracker().Get(resource, "", patch.GetName())
	if err != nil {
		return true, nil, err
	}
	changed := stored.(*unstructured.Unstructured).DeepCopy() //nolint:forcetypeassert // nothing else is stored
	changed.Object["status"] = given.Object["status"]
	return true, changed, c.fake.Tracker().Update(resource, changed, "")
}

func (c *cluster) written(name string) []*unstructured.Unstructured {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.statuses[name]
}

func (c *cluster) update(p *unstructured.Unstructured) {
	c.t.Helper()
	if err := c.fake.Tracker().Update(resource, p, ""); err != nil {
		c.t.Fatal(err)
	}
	later(time.Second)
}

func (c *cluster) ready(value string) float64 {
	return testutil.ToFloat64(c.metrics.Policies.WithLabelValues(value))
}

// tokenPolicy makes a policy of a spec in YAML.
func tokenPolicy(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	text := fmt.Sprintf("apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: %s, uid: uid-%s, generation: 1}\nspec: %s\n", name, name, spec)
	p := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &p.Object); err != nil {
		t.Fatal(err)
	}
	p.SetGeneration(1) // an int64, as the API machinery has it
	return p
}

// withSpec returns another generation of a policy.
func withSpec(t *testing.T, p *unstructured.Unstructured, spec string) *unstructured.Unstructured {
	t.Helper()
	out := tokenPolicy(t, p.GetName(), spec)
	out.SetGeneration(p.GetGeneration() + 1)
	return out
}

const (
	denyMissing = "{checks: [{name: secret-exists, action: Deny}]}"
	warnMissing = "{checks: [{name: secret-exists, action: Warn}]}"
	// halfBroken has a part that can be used, and one that can't.
	halfBroken = "{checks: [{name: secret-exists, action: Deny}, {name: of-the-future, action: Deny}]}"
)

func TestPoliciesFollowTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tokenPolicy(t, "p", denyMissing)
		c := start(t, p)
		if !c.Synced() || !denies(c) || c.ready("true") != 1 {
			t.Fatalf("the policy is not in force: %q", c.log.lines)
		}
		c.update(withSpec(t, p, warnMissing))
		if denies(c) {
			t.Error("a change is not in force")
		}
		if err := c.fake.Tracker().Create(resource, tokenPolicy(t, "q", denyMissing), ""); err != nil {
			t.Fatal(err)
		}
		later(time.Second)
		if !denies(c) || c.Snapshot().Policies() != 2 {
			t.Error("a new policy is not in force")
		}
		if err := c.fake.Tracker().Delete(resource, "", "q"); err != nil {
			t.Fatal(err)
		}
		later(time.Second)
		if denies(c) || c.Snapshot().Policies() != 1 {
			t.Error("a policy that is gone is in force")
		}
	})
}

func TestNothingIsSyncedBeforeTheFirstList(t *testing.T) {
	// Its back-off compares virtual time with real time.
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil
	defer func() { utilruntime.ErrorHandlers = handlers }()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, tokenPolicy(t, "p", denyMissing))
		gone := apierrors.NewNotFound(resource.GroupResource(), "")
		var mu sync.Mutex
		failure := error(gone)
		refuse := func(clienttesting.Action) (bool, runtime.Object, error) {
			mu.Lock()
			defer mu.Unlock()
			return failure != nil, nil, failure
		}
		c.fake.PrependReactor("list", "*", refuse)
		inBackground(t, c.Start)
		later(time.Minute)
		if c.Synced() || c.Snapshot() == nil || c.log.count("There is no CustomResourceDefinition of TokenPolicy") != 1 {
			t.Errorf("synced: %v; want the missing CRD told once: %q", c.Synced(), c.log.lines)
		}
		mu.Lock()
		failure = nil
		mu.Unlock()
		later(5 * time.Minute)
		if !c.Synced() || !denies(c) || testutil.ToFloat64(c.metrics.InventorySynced.WithLabelValues(v1alpha1.TokenPolicyKind)) != 1 {
			t.Errorf("synced: %v: %q", c.Synced(), c.log.lines)
		}
	})
}

// Each compilation of a policy that is half broken is told in the log.
func TestOnlyWhatChangedIsCompiled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := tokenPolicy(t, "p", halfBroken), tokenPolicy(t, "q", warnMissing)
		c := start(t, p, q)
		compiled := func() int { return c.log.count("A TokenPolicy is not wholly in force", "\"p\"") }
		if compiled() != 1 {
			t.Fatalf("compiled %d times at first", compiled())
		}
		c.update(withSpec(t, q, denyMissing))
		labelled := p.DeepCopy()
		labelled.SetLabels(map[string]string{"a": "b"})
		c.update(labelled)
		if err := unstructured.SetNestedField(labelled.Object, "Deny", "status", "strictestAction"); err != nil {
			t.Fatal(err)
		}
		c.update(labelled)
		if compiled() != 1 {
			t.Error("a policy whose spec is the same was compiled again")
		}
		c.update(withSpec(t, p, halfBroken))
		if compiled() != 2 {
			t.Errorf("another generation: compiled %d times, want 2", compiled())
		}
		again := withSpec(t, p, halfBroken)
		again.SetUID("another")
		c.update(again)
		if compiled() != 3 {
			t.Errorf("made again under its name: compiled %d times, want 3", compiled())
		}
	})
}

func TestABrokenPolicyKeepsTheUsablePart(t *testing.T) {
	tests := []struct{ name, spec string }{
		{name: "a check that is unknown", spec: halfBroken},
		{name: "an exemption that can't be used", spec: "{checks: [{name: secret-exists, action: Deny}], exemptions: [{name: x, reason: x, checks: [of-the-future], objects: [{kind: Secret, name: db}]}]}"},
		{name: "an exemption whose time is none", spec: "{checks: [{name: secret-exists, action: Deny}], exemptions: [{name: x, reason: x, until: tomorrow, objects: [{kind: Secret, name: db}]}]}"},
		{name: "a mutation that can't be used", spec: "{checks: [{name: secret-exists, action: Deny}], mutate: {serviceAccount: {name: Not_A_Name}}}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, tokenPolicy(t, "p", tt.spec))
				if !denies(c) || !c.Synced() {
					t.Errorf("what can be used is not in force: %q", c.log.lines)
				}
				if c.ready("false") != 1 || c.ready("true") != 0 {
					t.Errorf("ready: %v, not ready: %v", c.ready("true"), c.ready("false"))
				}
			})
		})
	}
}

// One object that can't be read must not hide the others.
func TestASpecThatIsNoneLeavesTheOtherPoliciesInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, tokenPolicy(t, "a", "{checks: none}"), tokenPolicy(t, "b", denyMissing))
		if !denies(c) || !c.Synced() || c.Snapshot().Policies() != 2 || c.ready("false") != 1 {
			t.Errorf("got %d policies, %v not ready: %q", c.Snapshot().Policies(), c.ready("false"), c.log.lines)
		}
	})
}

// A watch that was interrupted has not told of what was deleted meanwhile.
func TestAPolicyThatANewListDoesNotHaveIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := tokenPolicy(t, "q", warnMissing)
		c := start(t, tokenPolicy(t, "p", denyMissing), q)
		if err := c.Replace([]any{q}, ""); err != nil {
			t.Fatal(err)
		}
		later(time.Second)
		if denies(c) || c.Snapshot().Policies() != 1 {
			t.Error("it is still in force")
		}
	})
}

// A generation counts once more what a restore of etcd has undone.
func TestAfterARestoreOfEtcdThePoliciesAreThoseOfTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tokenPolicy(t, "p", warnMissing)
		p.SetResourceVersion("200")
		c := start(t, p)
		restored := tokenPolicy(t, "p", denyMissing)
		restored.SetUID(p.GetUID())
		restored.SetGeneration(p.GetGeneration())
		restored.SetResourceVersion("100")
		if err := c.Replace([]any{restored}, "100"); err != nil {
			t.Fatal(err)
		}
		later(time.Second)
		if !denies(c) {
			t.Error("what is no more stays in force")
		}
	})
}
