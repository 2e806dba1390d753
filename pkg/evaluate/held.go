package evaluate

import (
	admissionv1 "k8s.io/api/admission/v1"

	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// Held tells whether a pod that has the gate is still to be held. Who created it is
// no longer known: of a policy whose conditions ask for that it is unknown whether it
// matches, and its failurePolicy decides.
func (e *Evaluator) Held(o *workload.Object) policy.Held {
	attributes := &policy.Attributes{
		Operation: admissionv1.Create, Now: e.Now, Namespace: o.Namespace, Pod: o.Pod,
		Values: func() *policy.Values {
			all := Values(o)
			if all != nil {
				delete(all.Request, "userInfo")
			}
			return all
		},
	}
	plan := e.Snapshot.PlanHold(attributes)
	verdict := plan.Judge(e.Gather(plan.Needs))
	return verdict.Held
}
