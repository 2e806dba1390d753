package rollup

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/workload"
)

func TestFindingsOfATemplateAndItsPodsAreOne(t *testing.T) {
	top := report.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web", UID: "web"}
	result := func(path string, action v1alpha1.Action) *evaluate.Result {
		return &evaluate.Result{Findings: []evaluate.Finding{{Finding: policy.Finding{Check: "secret-exists", Impact: policy.Impact{Effect: policy.BreaksAtStart, Severity: policy.High}, State: facts.Absent, Path: path, Action: action}}}}
	}
	type add func(Rollup)
	template := func(r Rollup) {
		m := &metav1.ObjectMeta{UID: "web"}
		item := &listing.Item{Meta: m, Object: workload.Object{
			Kind: appsv1.SchemeGroupVersion.WithKind("Deployment"), Namespace: "shop", Name: "web",
			Pod: &workload.Pod{Pod: &corev1.Pod{}, Prefix: "spec.template.", Template: true},
		}}
		r.Add(top, item, result("spec.template.spec.x", v1alpha1.Warn), false)
	}
	pod := func(name string, result *evaluate.Result, stuck bool) add {
		return func(r Rollup) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
			r.Add(top, &listing.Item{Object: workload.ObjectOfPod(p), Meta: p}, result, stuck)
		}
	}
	refused := func(message string) add {
		return func(r Rollup) {
			d := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: message},
			}}}
			d.UID = "web"
			item := &listing.Item{Meta: d, Object: workload.Object{
				Kind: appsv1.SchemeGroupVersion.WithKind("Deployment"), Namespace: "shop", Name: "web",
				Pod: &workload.Pod{Pod: &corev1.Pod{}, Prefix: "spec.template.", Template: true},
			}}
			r.Add(top, item, result("spec.template.spec.x", v1alpha1.Warn), false)
		}
	}
	const denied = `pods "web-" is forbidden: admission webhook "validate.pods.tokenward.dev" denied the request: `
	creating := func(r Rollup) { // for some seconds, so that it is not stuck
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", UID: "a"}, Spec: corev1.PodSpec{NodeName: "n"}}
		p.Status.Phase = corev1.PodPending
		r.Add(top, &listing.Item{Object: workload.ObjectOfPod(p), Meta: p}, result("spec.x", v1alpha1.Warn), false)
	}
	tests := []struct {
		name       string
		adds       []add
		path, at   string
		action     v1alpha1.Action
		when       string
		pods, ofIt int // pods of the workload, and those that have the fault
	}{
		{"a template alone", []add{template}, "spec.template.spec.x", "Deployment shop/web", v1alpha1.Warn, "when it starts a pod", 0, 0},
		{"a template, then its pod, whose action is stronger", []add{template, pod("a", result("spec.x", v1alpha1.Deny), false)},
			"spec.template.spec.x", "Deployment shop/web", v1alpha1.Deny, "at the next restart", 1, 1},
		{"a pod, then its template", []add{pod("a", result("spec.x", v1alpha1.Deny), false), template},
			"spec.template.spec.x", "Deployment shop/web", v1alpha1.Deny, "at the next restart", 1, 1},
		{"a pod that is stuck", []add{pod("a", result("spec.x", v1alpha1.Warn), true), pod("b", &evaluate.Result{}, false)},
			"spec.x", "Pod shop/a", v1alpha1.Warn, "now: pods wait for it", 2, 1},
		{"a pod that has not started for some seconds", []add{creating}, "spec.x", "Pod shop/a", v1alpha1.Warn, "now: pods wait for it", 1, 1},
		{"a template whose pods are refused for it", []add{refused(denied + `secret-exists: Secret "db"`)},
			"spec.template.spec.x", "Deployment shop/web", v1alpha1.Deny, "now: its pods are refused", 0, 0},
		{"a template whose pods are refused for another check", []add{refused(denied + `config-map-exists: ConfigMap "c"`)},
			"spec.template.spec.x", "Deployment shop/web", v1alpha1.Warn, "when it starts a pod", 0, 0},
		{"a template whose pods are refused by a quota", []add{refused(`pods "web-" is forbidden: exceeded quota`)},
			"spec.template.spec.x", "Deployment shop/web", v1alpha1.Warn, "when it starts a pod", 0, 0},
		{"a template whose pods are without the fault", []add{template, pod("b", &evaluate.Result{}, false)},
			"spec.template.spec.x", "Deployment shop/web", v1alpha1.Warn, "with the next pod", 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Rollup{}
			for _, add := range tt.adds {
				add(r)
			}
			got := r.Report()
			if len(got) != 1 || len(got[0].Findings) != 1 || got[0].Pods != tt.pods || got[0].Bare {
				t.Fatalf("got %+v", got)
			}
			f := got[0].Findings[0]
			if f.Path != tt.path || f.Action != tt.action || f.When != tt.when || f.Pods != tt.ofIt || len(f.At) != 1 || f.At[0].String() != tt.at {
				t.Errorf("got %+v", f)
			}
		})
	}
}
