package policy

import (
	"fmt"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/workload"
)

// largePods are pods whose size somebody chose to make us work, by what there is many
// of.
func largePods() map[string]func(n int) *corev1.Pod {
	variable := func(secret, key string) corev1.EnvVar {
		return corev1.EnvVar{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key}}}
	}
	pod := func(n int, add func(p *corev1.Pod, i int)) *corev1.Pod {
		p := webPod()
		for i := range n {
			add(p, i)
		}
		return p
	}
	mount := func(p *corev1.Pod, name string, source corev1.VolumeSource) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	return map[string]func(n int) *corev1.Pod{
		"variables of as many Secrets": func(n int) *corev1.Pod {
			return pod(n, func(p *corev1.Pod, i int) {
				p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, variable(fmt.Sprintf("absent-%d", i), "k"))
			})
		},
		"keys of one Secret": func(n int) *corev1.Pod {
			return pod(n, func(p *corev1.Pod, i int) {
				p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, variable("dead", fmt.Sprintf("k%d", i)))
			})
		},
		"uses of one dead token": func(n int) *corev1.Pod {
			return pod(n, func(p *corev1.Pod, i int) {
				mount(p, fmt.Sprintf("v%d", i), corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "dead"}})
			})
		},
		"containers with the Secrets of a driver": func(n int) *corev1.Pod {
			return pod(n, func(p *corev1.Pod, i int) {
				mount(p, fmt.Sprintf("v%d", i), corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
					Driver: "secrets-store.csi.k8s.io", VolumeAttributes: map[string]string{"secretProviderClass": fmt.Sprintf("class-%d", i)},
				}})
				p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Env: []corev1.EnvVar{variable(fmt.Sprintf("absent-%d", i), "k")}})
			})
		},
		"containers with projected tokens": func(n int) *corev1.Pod {
			return pod(n, func(p *corev1.Pod, i int) {
				name := fmt.Sprintf("v%d", i)
				p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
					Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "other"}}},
				}}})
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: name, MountPath: reference.AccountDirectory}}})
			})
		},
	}
}

// judgeLarge judges a pod by policies that want all checks, one of them twice.
func judgeLarge(policies []*Policy, pod, old *corev1.Pod) Verdict {
	a := &Attributes{Operation: admissionv1.Create, Now: time.Unix(1e9, 0), Namespace: testNamespace, Pod: workload.OfPod(pod)}
	if old != nil {
		a.Operation, a.Old = admissionv1.Update, workload.OfPod(old)
	}
	dead := facts.Fact{
		State: facts.Present, Contents: true, Fresh: true, Keys: map[string]facts.State{},
		Secret: &facts.Secret{TokenSecret: true, HasToken: true, Account: "robot", Tokens: []facts.SecretToken{{
			Key: "token", InTokenSecret: true, Broken: token.Result{Verdict: token.Invalid, Reason: token.Malformed},
		}}},
	}
	plan := NewSnapshot(Checks(), policies, Options{}).Plan(a)
	return plan.Judge(facts.Collect(plan.Needs, func(queries []facts.Query, set *facts.Set) {
		for i := range queries {
			q := &queries[i]
			f := facts.Fact{State: facts.Absent}
			switch {
			case q.Kind == reference.Secret && q.Name == "dead":
				f = dead
				f.Keys = make(map[string]facts.State, len(q.Keys))
				for _, k := range q.Keys {
					f.Keys[k] = facts.Absent
				}
			case q.Kind == reference.SecretProviderClass:
				f = facts.Fact{State: facts.Present, Names: []string{"made-by-" + q.Name}}
			}
			set.Put(q.Object, f)
		}
	}))
}

// policiesOnAll returns policies that want all checks, with an exemption, and one
// check with other parameters.
func policiesOnAll(tb testing.TB) []*Policy {
	tb.Helper()
	list := ""
	for _, c := range Checks() {
		list += "{name: " + c.ID + ", action: Deny}, "
	}
	return compilePolicies(tb,
		`{checks: [`+list+`], exemptions: [{name: e, checks: [secret-exists], objects: [{kind: Secret, name: other}]}]}`,
		`{checks: [{name: token-secret-populated, action: Deny, parameters: {gracePeriod: 5s}}]}`)
}

// What takes ten times as long for ten times as much is linear; a square would take a
// hundred times as long.
func TestJudgingIsLinear(t *testing.T) {
	policies := policiesOnAll(t)
	const n, times = 1000, 10
	// took judges once; the machine may be busy with something else.
	took := func(n int, makePod func(int) *corev1.Pod, old bool) time.Duration {
		pod, before := makePod(n), (*corev1.Pod)(nil)
		if old {
			before = makePod(n)
			before.Spec.InitContainers = nil
			before.Spec.Containers[0].Env = nil
		}
		began := time.Now()
		if v := judgeLarge(policies, pod, before); v.Allowed && !old {
			t.Fatal("it was allowed")
		}
		return time.Since(began)
	}
	for name, makePod := range largePods() {
		for _, old := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, update %t", name, old), func(t *testing.T) {
				few, many := time.Duration(0), time.Hour
				for try := 0; many > 4*times*few; try++ {
					if try == 10 {
						t.Fatalf("%s for %d, %s for %d", few, n, many, n*times)
					}
					few, many = max(few, took(n, makePod, old)), min(many, took(n*times, makePod, old))
				}
			})
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	policies := policiesOnAll(b)
	for name, makePod := range largePods() {
		for _, n := range []int{1, 1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				pod := makePod(n)
				b.ReportAllocs()
				for b.Loop() {
					judgeLarge(policies, pod, nil)
				}
			})
		}
	}
}
