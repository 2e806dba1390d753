package hold

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// holdAll is a policy that holds pods for all that pods may be held for, in
// namespaces with a label.
const holdAll = `{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: %s}, spec: {
match: {namespaceSelector: {matchLabels: {hold: %s}}}, hold: {maxDuration: %s, onExpiry: %s}, checks: [
{name: secret-exists, action: Hold}, {name: secret-key-exists, action: Hold}, {name: config-map-exists, action: Hold},
{name: trust-bundle-exists, action: Hold}, {name: token-secret-populated, action: Hold, parameters: {gracePeriod: 0s}}, {name: token-valid, action: Hold}]}}`

// holds makes a policy that holds pods, and returns a namespace for it.
func holds(t *testing.T, name, maxDuration, onExpiry string) string {
	t.Helper()
	ns := env.NewNamespace(t)
	found, err := env.Client.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found.Labels["hold"] = name
	if _, err := env.Client.CoreV1().Namespaces().Update(t.Context(), found, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	env.MustCreatePolicy(t, fmt.Sprintf(holdAll, name, name, maxDuration, onExpiry))
	waitHolding(t, ns)
	return ns
}

// serve starts a webhook that holds pods, and has the API server ask it.
func serve(t *testing.T, flags ...string) *harness.Server {
	t.Helper()
	s := env.StartWebhook(t, append([]string{"--hold"}, flags...)...)
	register(t, s)
	return s
}

func register(t *testing.T, s *harness.Server) {
	t.Helper()
	labelled := metav1.LabelSelectorRequirement{Key: "hold", Operator: metav1.LabelSelectorOpExists}
	url := "https://127.0.0.1:" + strconv.Itoa(s.Port)
	env.RegisterMutating(t, url, s.CA, admissionregistrationv1.Fail, labelled)
	env.RegisterAt(t, url, s.CA, labelled)
}

// waitHolding waits until pods are held in a namespace.
func waitHolding(t *testing.T, ns string) {
	t.Helper()
	harness.WaitUntil(t, func() error {
		probe, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), harness.Pod("probe", harness.SecretVolume("no-such", false)), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		zero := int64(0)
		if err := env.Client.CoreV1().Pods(ns).Delete(t.Context(), "probe", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
			return err
		}
		if !policy.HasGate(probe) {
			return errors.New("nothing is held yet")
		}
		return nil
	})
}

func createPod(t *testing.T, ns string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	made, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// mustHold creates a pod that must be held.
func mustHold(t *testing.T, ns string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	made := createPod(t, ns, pod)
	if !policy.HasGate(made) || made.Labels[policy.HeldLabel] != policy.HeldLabelValue {
		t.Fatalf("not held: %v %v", made.Spec.SchedulingGates, made.Labels)
	}
	return made
}

// heldPods returns the pods of a namespace, by name, and whether each is held.
func heldPods(ctx context.Context, ns string) (map[string]bool, error) {
	list, err := env.Client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for i := range list.Items {
		out[list.Items[i].Name] = policy.HasGate(&list.Items[i])
	}
	return out, nil
}

// released waits until no pod of a namespace is held, and there are so many.
func released(t *testing.T, ns string, pods int) {
	t.Helper()
	harness.WaitUntil(t, func() error {
		all, err := heldPods(t.Context(), ns)
		if err != nil {
			return err
		}
		for name, held := range all {
			if held {
				return fmt.Errorf("%s is held", name)
			}
		}
		if len(all) != pods {
			return fmt.Errorf("%d pods, want %d", len(all), pods)
		}
		return nil
	})
}

// releases tells when pods lose the gate.
type releases struct {
	at   map[string]time.Time
	done chan struct{}
}

// watchReleases watches pods until so many of them have lost the gate.
func watchReleases(t *testing.T, ns string, want int) *releases {
	t.Helper()
	w, err := env.Client.CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	r := &releases{at: map[string]time.Time{}, done: make(chan struct{})}
	go func() {
		held := map[string]bool{}
		for event := range w.ResultChan() {
			pod, ok := event.Object.(*corev1.Pod)
			if !ok || event.Type == watch.Deleted {
				continue
			}
			key := pod.Namespace + "/" + pod.Name
			switch {
			case policy.HasGate(pod):
				held[key] = true
			case held[key]:
				delete(held, key)
				if r.at[key] = time.Now(); len(r.at) == want {
					close(r.done)
					return
				}
			}
		}
	}()
	return r
}

func (r *releases) wait(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(within):
		t.Fatalf("not all pods were released within %s", within)
	}
}

// event waits for an Event on a pod.
func event(t *testing.T, ns, pod, reason string) *corev1.Event {
	t.Helper()
	var found *corev1.Event
	err := cluster.Eventually(t.Context(), harness.Patience, func(ctx context.Context) error {
		list, err := env.Client.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason})
		if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			return fmt.Errorf("no Event %s on %s", reason, pod)
		}
		found = &list.Items[0]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
