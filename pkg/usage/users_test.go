package usage

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

func TestUsersOfAnObject(t *testing.T) {
	secret := func(name string, optional bool) corev1.PodSpec {
		return corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional,
			}}}}},
		}
	}
	var users Users
	add := func(o workload.Object, meta metav1.Object) {
		users.Add(NewUser(&o, meta), reference.OfPod(o.Pod.Prefix, &o.Pod.Spec))
	}
	pod := func(namespace, name string, phase corev1.PodPhase, spec corev1.PodSpec) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "1"}, Spec: spec, Status: corev1.PodStatus{Phase: phase}}
		add(workload.ObjectOfPod(p), p)
	}
	pod("shop", "runs", corev1.PodRunning, secret("db", false))
	pod("shop", "ended", corev1.PodSucceeded, secret("db", false))
	pod("shop", "optional", corev1.PodRunning, secret("db", true))
	pod("shop", "another", corev1.PodRunning, secret("other", false))
	pod("elsewhere", "runs", corev1.PodRunning, secret("db", false))
	kind := appsv1.SchemeGroupVersion.WithKind("Deployment")
	web := &metav1.ObjectMeta{Namespace: "shop", Name: "web"}
	template := &corev1.PodTemplateSpec{Spec: secret("db", false)}
	add(workload.Object{Kind: kind, Namespace: "shop", Name: "web", Pod: workload.BuiltinTemplates().OfTemplate(kind.GroupKind(), web, template)}, web)

	tests := []struct {
		name                         string
		want                         string // Kind namespace/name
		path                         string
		template, finished, optional bool
	}{
		{name: "a pod that runs", want: "Pod shop/runs", path: "spec.containers[0].envFrom[0].secretRef.name"},
		{name: "a pod that has ended", want: "Pod shop/ended", path: "spec.containers[0].envFrom[0].secretRef.name", finished: true},
		{name: "a pod that can do without", want: "Pod shop/optional", path: "spec.containers[0].envFrom[0].secretRef.name", optional: true},
		{name: "a template", want: "Deployment shop/web", path: "spec.template.spec.containers[0].envFrom[0].secretRef.name", template: true},
	}
	got := users.Of(facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "db"})
	if len(got) != len(tests) {
		t.Fatalf("got %d uses, want %d: others' Secrets do not count", len(got), len(tests))
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := got[i]
			if name := u.Kind.Kind + " " + u.Namespace + "/" + u.Name; name != tt.want || u.Pod.Template != tt.template || u.Finished != tt.finished ||
				u.Reference.Optional != tt.optional || u.Reference.Path != tt.path || u.Reference.Use != reference.UseEnvFrom {
				t.Errorf("got %+v, %+v", *u.User, u.Reference)
			}
		})
	}
	if account := users.Of(facts.Object{Kind: reference.ServiceAccount, Namespace: "elsewhere", Name: "default"}); len(account) != 1 {
		t.Errorf("got %d users of an account, want 1", len(account))
	}
	if none := users.Of(facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "unused"}); len(none) != 0 {
		t.Errorf("got %+v of a Secret that nobody uses", none)
	}
}
