package hold

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/source"
)

// world is a cluster of Secrets that are there or not.
type world struct {
	mu      sync.Mutex
	present map[string]bool
	unknown bool
	reads   map[string]int
}

// Lookup is the index: it is sure of what is there.
func (w *world) Lookup(q *facts.Query, _ time.Time) (facts.Fact, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if q.Kind == reference.Secret && w.present[q.Name] && !w.unknown {
		return facts.Fact{State: facts.Present}, true
	}
	return facts.Fact{}, false
}

// Gather reads.
func (w *world) Gather(_ context.Context, now time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	return source.Answer(reader{w}, now, needs)
}

type reader struct{ *world }

func (r reader) Lookup(q *facts.Query, _ time.Time) (facts.Fact, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads[q.Name]++
	switch {
	case r.unknown:
		return facts.Fact{Why: facts.Failed}, true
	case r.present[q.Name]:
		return facts.Fact{State: facts.Present}, true
	}
	return facts.Fact{State: facts.Absent}, true
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// fixture is a releaser at work.
type fixture struct {
	*Releaser
	world    *world
	client   *fake.Clientset
	policies atomic.Pointer[policy.Snapshot]
	clock    atomic.Int64 // added to the time
}

func newFixture(t *testing.T, policies string, pods ...*corev1.Pod) *fixture {
	t.Helper()
	f := &fixture{world: &world{present: map[string]bool{}, reads: map[string]int{}}}
	objects := make([]runtime.Object, len(pods))
	for i := range pods {
		objects[i] = pods[i]
	}
	f.client = fake.NewClientset(objects...)
	f.use(t, policies)
	f.Releaser = NewReleaser(Options{
		Client: f.client, Policies: f.policies.Load, Store: f.world, Source: f.world, Ready: func() bool { return true },
		Now: func() time.Time { return time.Now().Add(time.Duration(f.clock.Load())) }, Metrics: metrics.New(), Log: logr.Discard(),
	})
	return f
}

// run runs the releaser until the test ends.
func (f *fixture) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
}

func (f *fixture) use(t *testing.T, text string) {
	t.Helper()
	var compiled []*policy.Policy
	if text != "" {
		p, err := policy.NewCompiler(policy.Checks()).Parse("test", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		compiled = p
	}
	f.policies.Store(policy.NewSnapshot(policy.Checks(), compiled, policy.Options{Hold: true}))
}

const holdPolicy = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: p}, spec: {%s checks: [{name: secret-exists, action: Hold}]}}`

func plain() string { return fmt.Sprintf(holdPolicy, "") }

// heldPodNamed returns a pod that is held for a Secret.
func heldPodNamed(name, secret string, gates ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.Now(),
			Labels: map[string]string{policy.HeldLabel: policy.HeldLabelValue, "app": "web"},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}},
		},
	}
	for _, g := range append(gates, policy.HoldGate) {
		pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: g})
	}
	return pod
}

// eventually waits for a condition.
func eventually(t *testing.T, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (f *fixture) get(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	pod, err := f.client.CoreV1().Pods("shop").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func (f *fixture) released(t *testing.T, name string) {
	t.Helper()
	eventually(t, func() error {
		if pod := f.get(t, name); policy.HasGate(pod) || pod.Labels[policy.HeldLabel] != "" {
			return fmt.Errorf("%s is held", name)
		}
		return nil
	})
}

// held waits until an Event tells that a pod is held, and that it is.
func (f *fixture) held(t *testing.T, name string) {
	t.Helper()
	f.event(t, name, reasonHeld)
	if !policy.HasGate(f.get(t, name)) {
		t.Fatalf("%s is not held", name)
	}
}

func (f *fixture) event(t *testing.T, name, reason string) (message string) {
	t.Helper()
	eventually(t, func() error {
		list, err := f.client.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if e := &list.Items[i]; e.InvolvedObject.Name == name && e.Reason == reason {
				message = e.Message
				return nil
			}
		}
		return fmt.Errorf("no Event %s on %s", reason, name)
	})
	return message
}

func TestAPodIsReleasedWhenItsSecretIsThere(t *testing.T) {
	f := newFixture(t, plain(), heldPodNamed("web", "db", "example.com/other"), heldPodNamed("other", "gone"))
	f.run(t)
	f.held(t, "web")
	f.world.set(func() { f.world.present["db"] = true })
	f.Changed(facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "db"})
	f.released(t, "web")
	pod := f.get(t, "web")
	if len(pod.Spec.SchedulingGates) != 1 || pod.Spec.SchedulingGates[0].Name != "example.com/other" || !maps.Equal(pod.Labels, map[string]string{"app": "web"}) {
		t.Errorf("gates and labels: %v %v", pod.Spec.SchedulingGates, pod.Labels)
	}
	if text := f.event(t, "web", reasonReleased); !strings.Contains(text, "Secret shop/db") {
		t.Errorf("the Event: %s", text)
	}
	f.held(t, "other")
}

func TestAPodIsReleasedWhenPoliciesNoLongerHoldIt(t *testing.T) {
	for name, tt := range map[string]struct{ policy, told string }{
		"the policy is gone":       {"", "no policy holds it"},
		"it is weaker":             {strings.ReplaceAll(plain(), "Hold", "Warn"), "no policy holds it"},
		"it is in dry run":         {fmt.Sprintf(holdPolicy, "mode: DryRun,"), "no policy holds it"},
		"an exemption came":        {fmt.Sprintf(holdPolicy, "exemptions: [{name: e, namespaces: [shop]}],"), "an exemption covers"},
		"it was held long enough":  {fmt.Sprintf(holdPolicy, "hold: {maxDuration: 1s},"), "was held for"},
		"it selects no longer":     {fmt.Sprintf(holdPolicy, "match: {podSelector: {matchLabels: {no: such}}},"), "no policy holds it"},
		"a condition asks the pod": {fmt.Sprintf(holdPolicy, `matchConditions: [{name: c, expression: "object.metadata.name == 'x'"}],`), "no policy holds it"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, plain(), heldPodNamed("web", "db"))
			f.run(t)
			f.held(t, "web")
			f.use(t, tt.policy)
			f.released(t, "web")
			if text := f.event(t, "web", reasonReleased); !strings.Contains(text, tt.told) {
				t.Errorf("the Event: %s", text)
			}
		})
	}
}

func TestAPodStaysHeld(t *testing.T) {
	for name, tt := range map[string]struct {
		policy string
		change func(*fixture)
	}{
		"while nothing can be looked up":              {plain(), func(f *fixture) { f.world.set(func() { f.world.unknown = true }) }},
		"under a stronger policy beside its own":      {plain() + "\n---\n" + strings.ReplaceAll(strings.ReplaceAll(plain(), "Hold", "Deny"), "name: p}", "name: q}"), func(*fixture) {}},
		"with Keep":                                   {fmt.Sprintf(holdPolicy, "hold: {maxDuration: 1s, onExpiry: Keep},"), func(f *fixture) { f.clock.Store(int64(time.Hour)) }},
		"where a condition asks who created it":       {fmt.Sprintf(holdPolicy, `matchConditions: [{name: c, expression: "request.userInfo.username == 'x'"}],`), func(*fixture) {}},
		"while one of two policies still has time":    {fmt.Sprintf(holdPolicy, "hold: {maxDuration: 1s},") + "\n---\n" + strings.ReplaceAll(plain(), "name: p}", "name: q}"), func(f *fixture) { f.clock.Store(int64(time.Minute)) }},
		"where another namespace has such an object":  {plain(), func(f *fixture) { f.Changed(facts.Object{Kind: reference.Secret, Namespace: "else", Name: "db"}) }},
		"where the change was another object's alone": {plain(), func(f *fixture) { f.Changed(facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "x"}) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tt.policy, heldPodNamed("web", "db"), heldPodNamed("after", "there"))
			f.run(t)
			f.event(t, "web", reasonHeld)
			tt.change(f)
			f.use(t, tt.policy) // all are judged again
			f.Changed(facts.Object{Kind: reference.Secret, Namespace: "shop"})
			f.world.set(func() { f.world.present["there"], f.world.unknown = true, false })
			f.Changed(facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "there"})
			f.released(t, "after")
			if !policy.HasGate(f.get(t, "web")) {
				t.Error("it was released")
			}
		})
	}
}

func TestAnAbsentObjectIsReadOnceForAllPods(t *testing.T) {
	pods := make([]*corev1.Pod, 50)
	for i := range pods {
		pods[i] = heldPodNamed(fmt.Sprintf("p%d", i), fmt.Sprintf("s%d", i%5))
	}
	f := newFixture(t, plain(), pods...)
	f.run(t)
	for i := range pods {
		f.event(t, pods[i].Name, reasonHeld)
	}
	f.world.set(func() {
		for name, n := range f.world.reads {
			if n > workers { // those that began at the same time
				t.Errorf("%s was read %d times", name, n)
			}
		}
		clear(f.world.reads)
	})
	f.use(t, plain())
	time.Sleep(3 * tick)
	f.world.set(func() {
		if len(f.world.reads) > 0 {
			t.Errorf("read once more: %v", f.world.reads)
		}
	})
}

func TestARefusedReleaseIsToldAndTriedAgain(t *testing.T) {
	f := newFixture(t, plain(), heldPodNamed("web", "db"))
	var refuse atomic.Bool
	refuse.Store(true)
	f.client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if refuse.Load() {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web", errors.New("another webhook says no"))
		}
		return false, nil, nil
	})
	f.world.present["db"] = true
	f.run(t)
	if text := f.event(t, "web", reasonRefused); !strings.Contains(text, "another webhook says no") {
		t.Errorf("the Event: %s", text)
	}
	refuse.Store(false)
	f.clock.Store(int64(time.Minute)) // the time of the next try has come
	f.use(t, plain())
	f.released(t, "web")
}

func TestTwoThatReleaseDoNoHarm(t *testing.T) {
	pods := make([]*corev1.Pod, 40)
	for i := range pods {
		pods[i] = heldPodNamed(fmt.Sprintf("p%d", i), fmt.Sprintf("s%d", i), "example.com/other")
	}
	f := newFixture(t, plain(), pods...)
	for i := range pods {
		f.world.present[fmt.Sprintf("s%d", i)] = true
	}
	second := &fixture{Releaser: NewReleaser(f.Options), world: f.world, client: f.client}
	f.run(t)
	second.run(t)
	for i := range pods {
		f.released(t, pods[i].Name)
		if gates := f.get(t, pods[i].Name).Spec.SchedulingGates; len(gates) != 1 {
			t.Errorf("%s: %v", pods[i].Name, gates)
		}
	}
}

func TestReleaseAllLeavesNothingHeld(t *testing.T) {
	pods := []*corev1.Pod{heldPodNamed("a", "x"), heldPodNamed("b", "y", "example.com/other")}
	f := newFixture(t, plain(), pods...)
	n, err := ReleaseAll(t.Context(), f.client, nil, logr.Discard())
	if err != nil || n != 2 {
		t.Fatalf("%d %v", n, err)
	}
	f.released(t, "a")
	f.released(t, "b")
}
