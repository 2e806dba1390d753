package survey

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/rollup"
	"tokenward.dev/tokenward/pkg/workload"
)

func TestWorkloadsThatUseATokenSecret(t *testing.T) {
	withKey := func(key string) corev1.EnvVar {
		return corev1.EnvVar{Name: "E", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "app-token"}, Key: key,
		}}}
	}
	tests := []struct {
		name string
		spec corev1.PodSpec
		pods int // that use the token, of two pods of one workload
	}{
		{"by the key that the token is in", corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{withKey("token")}}}}, 2},
		{"by two fields counts once", corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{withKey("token"), withKey("token")}}}}, 2},
		{"not by another key", corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{withKey("ca.crt")}}}}, 0},
		{"not to pull images", corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "app-token"}}}, 0},
		{"not by a volume that nobody mounts", corev1.PodSpec{Volumes: []corev1.Volume{{
			Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "app-token"}},
		}}}, 0},
	}
	l := listing.New()
	v := &verifier{listing: l, trust: withoutKeys(t)}
	addSecret(v, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "app"}},
		Type:       corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{"token": []byte("no token"), "ca.crt": []byte("x")},
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			uses, owners, yes := newTokenUses(l), rollup.NewOwners(nil), true
			owners.Add(&listing.Item{
				Meta: &metav1.ObjectMeta{UID: "set"}, Object: workload.Object{Kind: appsv1.SchemeGroupVersion.WithKind("StatefulSet"), Namespace: "shop", Name: "app"},
			})
			for i := range 2 {
				pod := &corev1.Pod{Spec: tt.spec, ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: fmt.Sprintf("app-%d", i), UID: types.UID(fmt.Sprint(i)),
					OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "app", UID: "set", Controller: &yes}},
				}}
				item := &listing.Item{Object: workload.ObjectOfPod(pod), Meta: pod}
				uses.visit(item, owners.Top(t.Context(), rollup.Ref(item), item.Controller()), reference.OfPod("", &pod.Spec))
			}
			reported, err := uses.report(t.Context(), &verifier{listing: l, now: time.Unix(1000, 0)})
			if err != nil {
				t.Fatal(err)
			}
			got := workloads(t.Context(), uses.users.Of(facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "app-token"}), owners)
			if tt.pods == 0 {
				if len(reported) > 0 || len(got) > 0 || len(uses.accounts) > 0 {
					t.Errorf("got uses %+v by %v", reported, got)
				}
				return
			}
			want := report.Ref{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: "shop", Name: "app", UID: "set"}
			if len(got) != 1 || got[0] != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if len(reported) != 1 || reported[0].Pods != tt.pods || reported[0].Workload != want || reported[0].Account != "shop/app" || reported[0].Verdict != "invalid" {
				t.Errorf("got %+v", reported)
			}
			if n := uses.accounts[accountName{"shop", "app"}]; n != tt.pods {
				t.Errorf("%d pods hold a token of the account, want %d", n, tt.pods)
			}
		})
	}
}
