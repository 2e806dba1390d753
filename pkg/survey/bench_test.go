package survey

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/trust"
	"tokenward.dev/tokenward/pkg/workload"
)

// BenchmarkJudgement judges pods as an audit does once everything is listed: with
// a projected token, a Secret as a volume, another in the environment, and a
// ConfigMap; one core. Ten pods of a controller are siblings; with "alone" there
// are none.
func BenchmarkJudgement(b *testing.B) {
	b.Run("siblings", func(b *testing.B) { benchJudgement(b, true) })
	b.Run("alone", func(b *testing.B) { benchJudgement(b, false) })
}

func benchJudgement(b *testing.B, siblings bool) {
	const pods = 20_000
	v := &verifier{listing: listing.New(), trust: withoutKeys(b)}
	j := &judge{evaluator: evaluate.Evaluator{Snapshot: policy.NewSnapshot(policy.Checks(), nil, policy.Options{}), Now: time.Unix(1, 0)}, verifier: v}
	objects := make([]listing.Item, pods)
	for i := range objects {
		controller := i / 10
		ns := fmt.Sprintf("team-%d", controller%20)
		pod := benchPod(ns, i, controller)
		objects[i] = listing.Item{Object: workload.ObjectOfPod(pod), Meta: pod}
		for _, name := range []string{pod.Spec.Volumes[1].Secret.SecretName, pod.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef.Name} {
			addSecret(v, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Data: map[string][]byte{"user": []byte("u")}})
		}
		for _, name := range []string{"settings", "kube-root-ca.crt"} {
			m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Data: map[string]string{"ca.crt": "x"}}
			v.listing.Add(reference.ConfigMap, m, cluster.ConfigMap(m))
		}
		a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "app"}}
		v.listing.Add(reference.ServiceAccount, a, cluster.ServiceAccount(a))
	}
	for _, kind := range []reference.Kind{reference.Secret, reference.ConfigMap, reference.ServiceAccount, facts.Namespace} {
		v.listing.SetListed(kind, "", facts.NoReason)
	}
	b.ReportAllocs()
	n, began := 0, cpuTime(b)
	for b.Loop() {
		if n%pods == 0 && siblings { // each pass is a new one
			j.siblings = newSiblings()
		}
		if result, _ := j.judgeOnce(&objects[n%pods]); len(result.Findings) > 0 {
			b.Fatalf("%+v", result.Findings)
		}
		n++
	}
	b.ReportMetric(float64(n)/(cpuTime(b)-began).Seconds(), "pods/s-of-CPU")
}

// cpuTime is what the process has used, the collector included: on a machine that
// is shared the clock says little.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func benchPod(ns string, i, controller int) *corev1.Pod {
	mount := func(name string) corev1.VolumeMount { return corev1.VolumeMount{Name: name, MountPath: "/" + name} }
	expiry, yes := int64(3607), true
	volume := fmt.Sprintf("kube-api-access-%d", i)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("pod-%d", i), Labels: map[string]string{"app": "web"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", UID: types.UID(fmt.Sprint(controller)), Controller: &yes}}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "app",
			Containers: []corev1.Container{{
				Name: "main", VolumeMounts: []corev1.VolumeMount{{Name: volume, MountPath: reference.AccountDirectory}, mount("secret"), mount("settings")},
				Env: []corev1.EnvVar{{Name: "USER", ValueFrom: &corev1.EnvVarSource{
					SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: fmt.Sprintf("db-%d", controller%50)}, Key: "user"},
				}}},
			}},
			Volumes: []corev1.Volume{
				{Name: volume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &expiry}},
					{ConfigMap: &corev1.ConfigMapProjection{
						LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
					}},
				}}}},
				{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: fmt.Sprintf("app-%d", controller%50)}}},
				{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
				}}},
			},
		},
	}
}

// withoutKeys follows an API server that nobody has asked yet.
func withoutKeys(tb testing.TB) *trust.Follower {
	tb.Helper()
	f, err := trust.New(&rest.Config{Host: "http://127.0.0.1:1"}, trust.Options{}, metrics.New(), logr.Discard())
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func addSecret(v *verifier, s *corev1.Secret) {
	reducer := cluster.Reducer{Trust: v.trust}
	v.listing.Add(reference.Secret, s, reducer.Secret(s))
}
