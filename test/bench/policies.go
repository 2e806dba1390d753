package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

const manyNamespaces = 5_000

// policies compares one policy with many. That one matches the review in every
// row, and no other does: by their selectors, or, where all selectors match, by
// the last of their conditions.
func (b *bench) policies(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tokenward-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rows := []struct {
		policies int
		told     string
		policy   func(i int) *v1alpha1.TokenPolicy
		api      *fakeAPI
		server   *process
		sample   sample
	}{
		{policies: 1, told: "selectors", policy: ofSquad},
		{policies: squads, told: "selectors", policy: ofSquad},
		{policies: squads, told: "CEL alone", policy: ofAnySquad},
	}
	for i := range rows {
		r := &rows[i]
		what := holds{secrets: 1_000, namespaces: manyNamespaces}
		if what.policies, err = inJSON(r.policies, r.policy); err != nil {
			return err
		}
		if r.api, err = newFakeAPI(dir, what); err != nil {
			return err
		}
		defer r.api.Close()
		if r.server, err = b.start(ctx, "tokenward", r.api.kubeconfig, ""); err != nil {
			return err
		}
		defer func() { _ = r.server.stop() }()
		if err := r.server.judgesByFirst(ctx, r.policies); err != nil {
			return err
		}
	}
	for range b.rounds {
		for i := range rows {
			s, err := measure(ctx, rows[i].server, false, allowBody(), `"allowed":true`, b.round)
			if err != nil {
				return err
			}
			rows[i].sample.add(s)
		}
	}
	fmt.Printf("The same by the number of policies, %d namespaces (HTTP/1.1, allow)\n\n", manyNamespaces)
	fmt.Print("| policies | told apart by | p50 | p99 | CPU/review | p99, times that with one | CPU, times that with one |\n|---|---|---|---|---|---|---|\n")
	one := &rows[0].sample
	for i := range rows {
		r := &rows[i]
		if r.sample.unexpected > 0 {
			return fmt.Errorf("%d policies: %d of %d answers are wrong", r.policies, r.sample.unexpected, r.sample.reviews)
		}
		if n := r.api.statuses.Load(); n > 0 {
			return fmt.Errorf("%d policies: the webhook wrote %d statuses while it was measured: settled has not what it writes", r.policies, n)
		}
		p99 := r.sample.quantile(.99)
		fmt.Printf("| %d | %s | %s | %s | %.0f µs | %.2f | %.2f |\n", r.policies, r.told, r.sample.quantile(.5).Round(time.Microsecond),
			p99.Round(time.Microsecond), r.sample.cpuPerReview(), float64(p99)/float64(one.quantile(.99)), r.sample.cpuPerReview()/one.cpuPerReview())
	}
	return nil
}

// judgesByFirst makes sure that all policies are in force, and that of those
// that deny the first alone matches the review.
func (p *process) judgesByFirst(ctx context.Context, policies int) error {
	ready, err := p.metric(`tokenward_policies{ready="true"}`)
	if err != nil {
		return err
	}
	if int(ready) != policies {
		return fmt.Errorf("%.0f of %d policies are in force", ready, policies)
	}
	client := p.client(false)
	defer client.CloseIdleConnections()
	code, answer, err := post(ctx, client, p.url(), denyBody())
	if err != nil {
		return err
	}
	if want := "(TokenPolicy " + policyName(0) + ")"; code != http.StatusOK || !strings.Contains(string(answer), want) {
		return fmt.Errorf("%d policies: %q is not in the answer %s", policies, want, answer)
	}
	return nil
}

func inJSON(n int, policy func(i int) *v1alpha1.TokenPolicy) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		text, err := json.Marshal(policy(i))
		if err != nil {
			return nil, err
		}
		out[i] = string(text)
	}
	return out, nil
}

func policyName(i int) string { return fmt.Sprintf("squad-%d", i) }

// ofSquad is the policy of one team. Its selectors are of several forms; that
// of pods, where there is one, selects the pod under review.
func ofSquad(i int) *v1alpha1.TokenPolicy {
	squad := policyName(i)
	p := &v1alpha1.TokenPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.TokenPolicyKind},
		ObjectMeta: metav1.ObjectMeta{
			Name: squad, UID: "ea243a06-28b7-4f3e-8ee4-e4834d82d9f7", ResourceVersion: "1", Generation: 1,
			Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"},
		},
		Spec: v1alpha1.TokenPolicySpec{
			Mode: v1alpha1.Enforce, FailurePolicy: v1alpha1.Fail, TemplateAction: v1alpha1.TemplateWarn,
			Match: v1alpha1.Match{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": squad}}},
			MatchConditions: []v1alpha1.MatchCondition{
				{Name: "our-images", Expression: `!object.?metadata.?name.orValue('').startsWith('debug-') && ` +
					`object.spec.containers.all(c, c.image.startsWith('registry.example.com/'))`},
				{Name: "our-namespace", Expression: `namespaceObject.metadata.?labels[?'team'].orValue('') == '` + squad + `'`},
			},
			Checks: []v1alpha1.CheckRule{
				{Name: "secret-exists", Action: v1alpha1.Deny}, {Name: "secret-key-exists", Action: v1alpha1.Warn},
				{Name: "config-map-exists", Action: v1alpha1.Warn}, {Name: "image-pull-secret-exists", Action: v1alpha1.Audit},
			},
			Exemptions: []v1alpha1.Exemption{{Name: "legacy", Objects: []v1alpha1.ExemptObject{{Kind: "Secret", Name: squad + "-legacy"}}, Reason: "moves in Q1"}},
		},
		Status: settled(),
	}
	if i%2 == 0 {
		p.Spec.Match.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/managed-by": "Helm"}}
	}
	if i%3 == 0 {
		p.Spec.Match.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "team", Operator: metav1.LabelSelectorOpIn, Values: []string{squad, squad + "-legacy"}},
			{Key: "environment", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"sandbox"}},
		}}
	}
	return p
}

// ofAnySquad is the same but for selectors that match every namespace.
func ofAnySquad(i int) *v1alpha1.TokenPolicy {
	p := ofSquad(i)
	p.Spec.Match.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "team", Operator: metav1.LabelSelectorOpExists},
	}}
	return p
}

// settled is the status that the webhook gave the policy before, so that it
// writes none while it is measured.
func settled() v1alpha1.TokenPolicyStatus {
	when := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	return v1alpha1.TokenPolicyStatus{
		ObservedGeneration: 1, StrictestAction: v1alpha1.Deny,
		Conditions: []metav1.Condition{
			{
				Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCompiled,
				Message: "The policy is in force.", ObservedGeneration: 1, LastTransitionTime: when,
			},
			{
				Type: v1alpha1.ConditionOverlapping, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNoOverlap,
				Message: "No policy with the same selectors that comes first sets the same field otherwise.", ObservedGeneration: 1, LastTransitionTime: when,
			},
		},
	}
}
