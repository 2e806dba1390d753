package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/workload"
)

// imageOf is a review of webPod with an image of so many characters. It counts how
// often conditions looked at it.
func imageOf(characters int, looks *int) *Attributes {
	image := strings.Repeat("a", characters)
	return &Attributes{
		Operation: admissionv1.Create, Namespace: testNamespace, Pod: workload.OfPod(webPod()), Now: time.Unix(1e9, 0),
		Values: func() *Values {
			*looks++
			return &Values{Object: map[string]any{
				"metadata": map[string]any{"name": "web"},
				"spec":     map[string]any{"containers": []any{map[string]any{"image": image}}},
			}, Request: map[string]any{}}
		},
	}
}

// onImages is a policy on pods with an image that matches a pattern.
func onImages(pattern, rest string) string {
	return fmt.Sprintf(`{matchConditions: [{name: images, expression: "object.spec.containers.exists(c, c.image.matches('%s'))"}], checks: [{name: secret-exists, action: Deny}], %s}`, pattern, rest)
}

const slowPattern = "(a|b|c|d)+(a|b|c|d)+(a|b|c|d)+(a|b|c|d)+(a|b|c|d)+(a|b|c|d)+(a|b|c|d)+(a|b|c|d)+x"

// A tenant chooses the image of a pod, and so what a condition costs.
func TestAnExpensivePodSwitchesNoPolicyOff(t *testing.T) {
	gone := world{secret: facts.Fact{State: facts.Absent}}
	for _, failurePolicy := range []string{"Fail", "Ignore"} {
		for characters, want := range map[int]bool{10: true, 1_000_000: false} {
			t.Run(fmt.Sprintf("%s, %d characters", failurePolicy, characters), func(t *testing.T) {
				looks := 0
				policies := compilePolicies(t, onImages(slowPattern, "failurePolicy: "+failurePolicy))
				plan := NewSnapshot(Checks(), policies, Options{}).Plan(imageOf(characters, &looks))
				verdict := plan.Judge(gone.gather(plan.Needs))
				if verdict.Allowed != want {
					t.Errorf("allowed: %t, want %t: %+v", verdict.Allowed, want, verdict)
				}
				if doubt := `condition "images": it costs more than is allowed`; !want && (!strings.Contains(verdict.Message, doubt) || len(verdict.Undecided) != 1) {
					t.Errorf("it is not told: %q, %v", verdict.Message, verdict.Undecided)
				}
			})
		}
	}
}

func TestAnExpensivePodThatAPolicyMayChangeIsRefused(t *testing.T) {
	for _, failurePolicy := range []string{"Fail", "Ignore"} {
		looks := 0
		policies := compilePolicies(t, onImages(slowPattern, "mutate: {automountServiceAccountToken: false}, failurePolicy: "+failurePolicy))
		plan := NewSnapshot(Checks(), policies, Options{}).PlanMutations(imageOf(1_000_000, &looks))
		changes := plan.Changes(&facts.Set{})
		if r := changes.Refusal; r == nil || r.Code != Forbidden || !strings.Contains(r.Message, `condition "images"`) || len(changes.Mutations) != 0 {
			t.Errorf("%s: %+v", failurePolicy, changes)
		}
	}
}

// Many policies cost no more than one review may: those that are left count as
// matching.
func TestTheConditionsOfAReviewShareOneBudget(t *testing.T) {
	var specs []string
	for i := range 9 {
		// On 10,000 characters each costs a part of what one expression may cost.
		specs = append(specs, onImages(slowPattern+fmt.Sprint(i), "mutate: {automountServiceAccountToken: false}"))
	}
	snapshot := NewSnapshot(Checks(), compilePolicies(t, specs...), Options{})
	looks := 0
	attributes := imageOf(10_000, &looks)
	attributes.ShareConditions()
	changed := *attributes // as the changes see it, once they have changed it
	changed.State = "changed"
	spent := func() uint64 { return celconfig.RuntimeCELCostBudget - attributes.evaluations().budget }

	if refusal := snapshot.PlanMutations(attributes).Changes(&facts.Set{}).Refusal; refusal != nil {
		t.Fatalf("the first pass is within the budget: %s, %d spent", refusal.Message, spent())
	}
	first := spent()
	if snapshot.PlanMutations(attributes).Changes(&facts.Set{}); spent() != first || looks != 1 {
		t.Errorf("the same state was looked at again: %d spent, then %d; %d looks", first, spent(), looks)
	}
	for i := range celconfig.RuntimeCELCostBudget/int(first) + 1 {
		changed.State = fmt.Sprint("changed ", i)
		snapshot.PlanMutations(&changed).Changes(&facts.Set{})
	}
	if spent() != celconfig.RuntimeCELCostBudget {
		t.Errorf("other states share the budget: %d spent, %d by the first", spent(), first)
	}
	changed.State = "and again"
	changes := snapshot.PlanMutations(&changed).Changes(&facts.Set{})
	if changes.Refusal == nil || !strings.Contains(changes.Refusal.Message, "the conditions of all policies cost more than is allowed for one request") {
		t.Errorf("what is beyond the budget counts as matching: %+v", changes.Refusal)
	}
	if len(changes.Undecided) != len(specs) {
		t.Errorf("%d undecided, want %d", len(changes.Undecided), len(specs))
	}
}

// Nobody waits for the answer of a request that has ended.
func TestAConditionEndsWithItsRequest(t *testing.T) {
	const long = `{matchConditions: [{name: long, expression: "object.list.all(a, object.list.all(b, a + b >= 0))"}], checks: [{name: secret-exists, action: Deny}], failurePolicy: Ignore}`
	list := make([]any, 300)
	for i := range list {
		list[i] = int64(i)
	}
	ended := make(chan struct{})
	close(ended)
	gone := world{secret: facts.Fact{State: facts.Absent}}
	for name, done := range map[string]chan struct{}{"nobody waits": ended, "somebody waits": nil} {
		looks := 0
		a := imageOf(1, &looks)
		a.Done, a.Values = done, func() *Values { return &Values{Object: map[string]any{"list": list}} }
		plan := NewSnapshot(Checks(), compilePolicies(t, long), Options{}).Plan(a)
		verdict := plan.Judge(gone.gather(plan.Needs))
		if verdict.Allowed || verdict.Findings[0].Action != v1alpha1.Deny {
			t.Errorf("%s: it does not count as matching: %+v", name, verdict)
		}
		if told := strings.Contains(verdict.Message, "it takes longer than the request lasts"); told != (done != nil) {
			t.Errorf("%s: %s", name, verdict.Message)
		}
	}
}
