package policy

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/workload"
)

const denyLongLived = `{checks: [{name: token-long-lived, action: Deny}], exemptions: [{name: e, objects: [{kind: Secret, name: exempted}]}]}`

// padded is a pod that asks about so many objects, and then about those named.
func padded(n int, then ...string) *corev1.Pod {
	p := webPod()
	p.Spec.Volumes, p.Spec.Containers[0].VolumeMounts = nil, nil
	optional := true
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("padding-%d", i)
	}
	for i, name := range append(names, then...) {
		v := fmt.Sprintf("v%d", i)
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: v, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Optional: &optional}}})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v, MountPath: "/" + v})
	}
	return p
}

// withDriver adds a volume of a class that makes whatever anybody asks for.
func withDriver(p *corev1.Pod) *corev1.Pod {
	p.Spec.Volumes = append([]corev1.Volume{{Name: "driver", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: "secrets-store.csi.k8s.io", VolumeAttributes: map[string]string{"secretProviderClass": "makes"},
	}}}}, p.Spec.Volumes...)
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "driver", MountPath: "/driver"})
	return p
}

// judgeBound judges a pod where the caller has spent the look-ups of all Secrets that are
// named so.
func judgeBound(t *testing.T, pod *corev1.Pod, spent string, specs ...string) Verdict {
	t.Helper()
	a := &Attributes{Operation: admissionv1.Create, Now: time.Unix(1e9, 0), Namespace: testNamespace, Pod: workload.OfPod(pod)}
	plan := NewSnapshot(Checks(), compilePolicies(t, specs...), Options{}).Plan(a)
	return plan.Judge(facts.Collect(plan.Needs, func(queries []facts.Query, set *facts.Set) {
		for i := range queries {
			q, f := &queries[i], facts.Fact{State: facts.Absent}
			switch {
			case q.Kind == reference.Secret && spent != "" && strings.HasPrefix(q.Name, spent):
				f = facts.Fact{Why: facts.TooManyLookups}
			case q.Kind == reference.SecretProviderClass:
				f = facts.Fact{State: facts.Present, Names: []string{"made", "forbidden"}}
			case q.Kind == reference.Secret && q.Name == "forbidden":
				f = facts.Fact{State: facts.Present, Contents: true, Fresh: true, Keys: map[string]facts.State{"k": facts.Absent}, Secret: &facts.Secret{
					TokenSecret: true, HasToken: true, Account: "robot",
					Tokens: []facts.SecretToken{{Key: "token", InTokenSecret: true, Checked: token.Checked{Claims: token.Claims{Kind: token.Legacy}}}},
				}}
			}
			set.Put(q.Object, f)
		}
	}))
}

func TestSpentLookUpsAreNoWayRoundDeny(t *testing.T) {
	pod := webPod()
	pod.Spec.Volumes[0].Secret.SecretName = "forbidden"
	for name, c := range map[string]struct {
		pod    *corev1.Pod
		policy string
	}{
		"the Secret can't be looked into":    {pod, denyLongLived},
		"a driver is said to make it":        {withDriver(pod.DeepCopy()), denyLongLived},
		"what is unknown is allowed":         {pod, `{checks: [{name: token-long-lived, action: Deny, onUnknown: Allow}]}`},
		"whether it exists can't be found":   {pod, `{checks: [{name: secret-exists, action: Deny}]}`},
		"whether it has a key, can't either": {withKey(pod.DeepCopy()), `{checks: [{name: secret-key-exists, action: Deny}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			v := judgeBound(t, c.pod, "forbidden", c.policy)
			if v.Allowed || v.Code != TooManyRequests || !strings.Contains(v.Message, "try again") {
				t.Errorf("allowed %t, %d %q", v.Allowed, v.Code, v.Message)
			}
		})
	}
}

// withKey has the last volume ask for a key of its Secret, which must exist.
func withKey(p *corev1.Pod) *corev1.Pod {
	last := p.Spec.Volumes[len(p.Spec.Volumes)-1].Secret
	last.Optional, last.Items = nil, []corev1.KeyToPath{{Key: "k", Path: "p"}}
	return p
}

func TestTheBoundOfAReviewIsNoWayRoundDeny(t *testing.T) {
	for name, makePod := range map[string]func(padding int) *corev1.Pod{
		"a forbidden token comes last":            func(n int) *corev1.Pod { return padded(n, "forbidden") },
		"an exempted Secret comes before it":      func(n int) *corev1.Pod { return padded(n, "exempted", "forbidden") },
		"one that a driver makes comes before it": func(n int) *corev1.Pod { return withDriver(padded(n, "made", "forbidden")) },
	} {
		t.Run(name, func(t *testing.T) {
			bounded := 0
			for n := range 20 { // which of them is the first beyond the bound
				v := judgeBound(t, makePod(990+n), "", denyLongLived)
				if v.Allowed || v.Code != Forbidden {
					t.Fatalf("%d before: allowed %t, %d %q", 990+n, v.Allowed, v.Code, v.Message)
				}
				if strings.Contains(v.Message, "too many references") {
					bounded++
				}
			}
			if bounded < 5 {
				t.Errorf("%d of them came to the bound", bounded)
			}
		})
	}
}

func TestWhatIsBeyondTheBoundIsReportedOnce(t *testing.T) {
	v := judgeBound(t, padded(2000, "forbidden"), "", denyLongLived, `{checks: [{name: secret-exists, action: Deny}, {name: token-valid, action: Deny}]}`)
	denied := 0
	for i := range v.Findings {
		if v.Findings[i].Action == v1alpha1.Deny {
			denied++
		}
	}
	if denied != 2 { // those checks that look at optional Secrets
		t.Errorf("%d findings are denied: %s", denied, v.Message)
	}
}

// cpuTime is what this process has used.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestJudgingManyReferencesTakesLittle(t *testing.T) {
	policies := policiesOnAll(t)
	for n, most := range map[int]time.Duration{10_000: 100 * time.Millisecond, 100_000: time.Second} {
		pod := largePods()["variables of as many Secrets"](n)
		took := time.Hour // the least of some, which the garbage of others does not count to
		for try := 0; try < 5 && took > most; try++ {
			began := cpuTime(t)
			if judgeLarge(policies, pod, nil).Allowed {
				t.Fatal("it was allowed")
			}
			took = min(took, cpuTime(t)-began)
		}
		t.Logf("%d references took %s of CPU", n, took)
		if took > most {
			t.Errorf("%d references took %s of CPU, want %s", n, took, most)
		}
	}
}
