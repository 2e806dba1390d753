package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// Audit is what was found in a cluster that runs. It holds no value of any
// Secret or ConfigMap.
type Audit struct {
	// Time of the audit, and the namespace that it was of; all if empty.
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace,omitempty"`
	Judged    Judged    `json:"judged"`
	// Workloads that have findings, the worst first.
	Workloads []Workload `json:"workloads"`
	// Dead are token Secrets whose token the API server refuses, mounted or not.
	Dead []DeadSecret `json:"deadSecrets,omitempty"`
	// Stuck are pods that wait for something that they need.
	Stuck []StuckPod `json:"stuck,omitempty"`
	// Tokens tell which workload uses which token of which account.
	Tokens []TokenUse `json:"tokens,omitempty"`
	// Embedded are tokens and kubeconfigs in ConfigMaps and Secrets.
	Embedded []Embedded `json:"embedded,omitempty"`
	// Tokenless are pods that should have a token volume and do not.
	Tokenless *Tokenless `json:"tokenless,omitempty"`
	// Accounts whose tokens pods hold, with what they may do.
	Accounts []Account `json:"accounts,omitempty"`
	// Incomplete names what could not be looked at, and why.
	Incomplete []string `json:"incomplete,omitempty"`
}

// Judged counts what was looked at.
type Judged struct {
	Pods       int `json:"pods"`
	Templates  int `json:"templates"`
	Secrets    int `json:"secrets"`
	ConfigMaps int `json:"configMaps"`
	Accounts   int `json:"accounts"`
	Policies   int `json:"policies"`
}

// Ref names an object.
type Ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
}

// String returns the object as it is named to people: "Deployment shop/web".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

func (r *Ref) compare(o *Ref) int {
	return cmp.Or(strings.Compare(r.Namespace, o.Namespace), strings.Compare(r.Kind, o.Kind), strings.Compare(r.Name, o.Name))
}

// Workload is a top-level owner of pods, or a pod that has none.
type Workload struct {
	Ref
	// Bare is set for a pod that nobody makes again once it is deleted.
	Bare bool `json:"bare,omitempty"`
	// Pods that were judged, and how many of them are stuck.
	Pods     int     `json:"pods"`
	Stuck    int     `json:"stuck,omitempty"`
	Findings []Fault `json:"findings"`
}

// Fault is a finding on a workload: that of its template and those of its pods
// are one.
type Fault struct {
	Check string `json:"check"`
	// Action in force; empty if only policies in dry run found it.
	Action v1alpha1.Action `json:"action,omitempty"`
	// Would is the action of policies in dry run.
	Would v1alpha1.Action `json:"would,omitempty"`
	// State is absent, present (it is there, and wrong) or unknown.
	State   string `json:"state"`
	Object  string `json:"object"`
	Path    string `json:"path"`
	Message string `json:"message"`
	// When it breaks; empty for what breaks nothing.
	When     string   `json:"when,omitempty"`
	Policies []string `json:"policies,omitempty"`
	Exempted string   `json:"exempted,omitempty"`
	// At are the objects at fault: templates, or the first of the pods.
	At []Ref `json:"at,omitempty"`
	// Pods that have the fault.
	Pods int `json:"pods"`
}

// AtLeast reports whether a fault is in force with the action or a stronger one.
func (a *Audit) AtLeast(action v1alpha1.Action) bool {
	for i := range a.Workloads {
		for j := range a.Workloads[i].Findings {
			if f := &a.Workloads[i].Findings[j]; f.Action != "" && !action.StrongerThan(f.Action) {
				return true
			}
		}
	}
	return false
}

// DeadSecret is a token Secret whose token is refused.
type DeadSecret struct {
	Secret  string `json:"secret"`
	Account string `json:"account,omitempty"`
	Why     string `json:"why"`
	// Workloads whose pods use it.
	Workloads []Ref `json:"workloads,omitempty"`
}

// StuckPod is a pod that waits for something.
type StuckPod struct {
	Pod      Ref `json:"pod"`
	Workload Ref `json:"workload"`
	// Reason is what kubectl shows, such as ContainerCreating.
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Causes tell what it waits for, the most certain first.
	Causes []string `json:"causes"`
}

// TokenUse is a token that pods of a workload use.
type TokenUse struct {
	Workload Ref `json:"workload"`
	Pods     int `json:"pods"`
	// Secret that the token is in; empty for a projected token.
	Secret string `json:"secret,omitempty"`
	Key    string `json:"key,omitempty"`
	// Account that the token is of: NAMESPACE/NAME.
	Account string `json:"account"`
	// Kind is projected, legacy or bound.
	Kind string `json:"kind"`
	// Verdict is valid, invalid or unknown; Why says why it is not valid.
	Verdict string `json:"verdict"`
	Why     string `json:"why,omitempty"`
}

// Embedded is a token or a kubeconfig within a ConfigMap or a Secret.
type Embedded struct {
	Object Ref    `json:"object"`
	Key    string `json:"key"`
	// What is "token" or "kubeconfig".
	What    string `json:"what"`
	Account string `json:"account,omitempty"`
	Verdict string `json:"verdict"`
	Why     string `json:"why,omitempty"`
	// Note tells where to mend it, where that is not where it is seen.
	Note string `json:"note,omitempty"`
}

// Tokenless are pods that should have a token volume and do not.
type Tokenless struct {
	// PluginOff is set where it looks as if the ServiceAccount admission plugin
	// were off.
	PluginOff bool `json:"pluginOff"`
	// Pods without, and all that should have the volume.
	Pods      int    `json:"pods"`
	Of        int    `json:"of"`
	Workloads []Ref  `json:"workloads"`
	Message   string `json:"message"`
}

// Account is a service account whose token pods hold.
type Account struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Pods      int    `json:"pods"`
	// May is what it may do, shortly, the most powerful first.
	May []string `json:"may"`
	// Needless is set where the account may do nothing beyond discovery, so that
	// its pods need no token.
	Needless bool `json:"needless,omitempty"`
}

// Sort puts everything into the order in which formats write it.
func (a *Audit) Sort() {
	for i := range a.Workloads {
		slices.SortStableFunc(a.Workloads[i].Findings, func(x, y Fault) int { return y.Action.Strength() - x.Action.Strength() })
	}
	worst := func(w *Workload) int {
		if len(w.Findings) == 0 {
			return -1
		}
		return w.Findings[0].Action.Strength()
	}
	slices.SortFunc(a.Workloads, func(x, y Workload) int {
		return cmp.Or(worst(&y)-worst(&x), min(y.Stuck, 1)-min(x.Stuck, 1), x.compare(&y.Ref))
	})
	slices.SortFunc(a.Dead, func(x, y DeadSecret) int { return strings.Compare(x.Secret, y.Secret) })
	slices.SortFunc(a.Stuck, func(x, y StuckPod) int { return x.Pod.compare(&y.Pod) })
	slices.SortFunc(a.Tokens, func(x, y TokenUse) int {
		return cmp.Or(x.Workload.compare(&y.Workload), strings.Compare(x.Secret, y.Secret), strings.Compare(x.Key, y.Key), strings.Compare(x.Account, y.Account))
	})
	slices.SortFunc(a.Embedded, func(x, y Embedded) int {
		return cmp.Or(x.Object.compare(&y.Object), strings.Compare(x.Key, y.Key), strings.Compare(x.What, y.What), strings.Compare(x.Account, y.Account))
	})
	slices.SortFunc(a.Accounts, func(x, y Account) int {
		return cmp.Or(strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Name, y.Name))
	})
	slices.Sort(a.Incomplete)
}
