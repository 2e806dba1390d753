package evaluate_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/evaluate"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/source"
	"tokenward.dev/tokenward/pkg/workload"
)

func compiled(t *testing.T, texts ...string) *policy.Snapshot {
	t.Helper()
	compiler := policy.NewCompiler(policy.Checks())
	var policies []*policy.Policy
	for _, text := range texts {
		more, err := compiler.Parse("policy", []byte("apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, more...)
	}
	return policy.NewSnapshot(policy.Checks(), policies, policy.Options{})
}

func needing(secret string, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop"},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}},
		},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func TestEvaluateObjectsThatExist(t *testing.T) {
	const named = "metadata: {name: p}\nspec:\n  "
	tests := []struct {
		name     string
		policies []string
		pod      *corev1.Pod
		passed   string
		// action and would of the one finding; both empty for none.
		action, would v1alpha1.Action
	}{
		{name: "a pod without a fault has no finding", pod: needing("there", nil)},
		{name: "a fault has the action of the default", pod: needing("gone", nil), action: v1alpha1.Warn},
		{
			name: "a fault has the action of a policy", pod: needing("gone", nil), action: v1alpha1.Deny,
			policies: []string{named + "checks: [{name: secret-exists, action: Deny}]"},
		},
		{
			name: "a policy in dry run is marked beside what is in force", pod: needing("gone", nil), action: v1alpha1.Warn, would: v1alpha1.Deny,
			policies: []string{named + "mode: DryRun\n  checks: [{name: secret-exists, action: Deny}]"},
		},
		{
			name: "what only a policy in dry run finds is told", pod: needing("gone", nil), would: v1alpha1.Warn,
			policies: []string{
				"metadata: {name: default}\nspec: {checks: [{name: secret-exists, action: None}]}",
				"metadata: {name: b}\nspec: {mode: DryRun, checks: [{name: secret-exists, action: Warn}]}",
			},
		},
		{
			name: "a condition sees the object as it would be created", pod: needing("gone", nil), action: v1alpha1.Deny,
			policies: []string{named + "matchConditions: [{name: c, expression: \"object.metadata.name == 'p' && request.operation == 'CREATE' && request.kind.kind == 'Pod'\"}]\n  checks: [{name: secret-exists, action: Deny}]"},
		},
		{
			name: "an exemption for a user does not hold", pod: needing("gone", nil), action: v1alpha1.Deny,
			policies: []string{named + "checks: [{name: secret-exists, action: Deny}]\n  exemptions: [{name: e, users: [admin], reason: r}]"},
		},
		{
			name: "a mirror pod is passed over", passed: "a mirror pod is the kubelet's",
			pod: needing("gone", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }),
		},
		{
			name: "a pod that is being deleted is passed over", passed: "the object is being deleted",
			pod: needing("gone", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }),
		},
		{
			name: "a pod that has ended is passed over", passed: "the pod has ended",
			pod: needing("gone", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		},
	}
	cluster := &manifest.Cluster{}
	if err := cluster.Add([]byte(`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "there", "namespace": "shop"}}`)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			evaluator := &evaluate.Evaluator{Snapshot: compiled(t, tt.policies...), Gather: func(needs func(*facts.Set) []facts.Query) *facts.Set {
				return source.Answer(cluster, time.Time{}, needs)
			}, Now: time.Unix(1, 0)}
			object := workload.ObjectOfPod(tt.pod)
			got := evaluator.Evaluate(&object)
			if got.Passed != tt.passed {
				t.Errorf("passed: got %q, want %q", got.Passed, tt.passed)
			}
			if tt.action == "" && tt.would == "" {
				if len(got.Findings) > 0 {
					t.Errorf("want no finding, got %+v", got.Findings)
				}
				return
			}
			if len(got.Findings) != 1 || got.Findings[0].Action != tt.action || got.Findings[0].Would != tt.would || got.Findings[0].Check != "secret-exists" {
				t.Errorf("want one finding of secret-exists with action %q and would %q, got %+v", tt.action, tt.would, got.Findings)
			}
		})
	}
}
