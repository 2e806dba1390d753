// Package facts holds what is known of a cluster as plain values: a Query asks
// about one object, a Fact answers, and a Set keeps the answers of one review.
//
// It is pure: it imports packages reference and token, and nothing else of ours.
// Where the answers come from is the business of packages cluster (an API server)
// and facts/manifest (manifests); a test can write them down by hand.
package facts

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"tokenward.dev/tokenward/pkg/reference"
)

// State is what is known of an object, or of one of its keys.
type State uint8

// The three states. The zero value is Unknown, so that what nobody wrote down
// is never taken for absent.
const (
	Unknown State = iota
	Absent
	Present
)

// String returns the state in lower case, as it stands in findings and metrics.
func (s State) String() string {
	switch s {
	case Absent:
		return "absent"
	case Present:
		return "present"
	case Unknown:
	}
	return "unknown"
}

// Why says why something is unknown. It is a closed set: it labels metrics.
type Why string

// The reasons for not knowing.
const (
	NoReason  Why = ""          // nothing is unknown, or nobody asked: see Fact.Asked
	Timeout   Why = "time-out"  // no answer before the review's deadline
	Forbidden Why = "forbidden" // 403
	// Unauthorized is 401: the API server does not accept our own token.
	Unauthorized Why = "unauthorized"
	Throttled    Why = "throttled"  // 429, or the budget for look-ups is spent
	Failed       Why = "failed"     // any other error
	NotServed    Why = "not served" // the API server does not know the kind
	Declared     Why = "declared"   // a case or a cluster state says so
	Unsettled    Why = "unsettled"  // looks at the API servers have not agreed for long enough

	// What the caller itself brought about: it never weakens a check.
	TooManyReferences Why = "too many references" // the review asks about more objects than one may
	TooManyLookups    Why = "too many look-ups"   // its namespace has spent its rate

	// NotGiven says of what is absent that it is not among the manifests at hand,
	// which are not all that there is.
	NotGiven Why = "not given"
	// NotIndexed says of what is absent that an index lacks it, and that nobody has
	// confirmed that: see Query.IfIndexed.
	NotIndexed Why = "not indexed"
)

// IsCallersDoing reports whether the caller brought it about that something is
// unknown. The action of the check then applies, as if fault had been found; for any
// other reason a policy says what applies.
func (w Why) IsCallersDoing() bool { return w == TooManyReferences || w == TooManyLookups }

// Kinds beyond those that a PodSpec can point at.
const (
	// Namespace answers with Labels and Whole.
	Namespace reference.Kind = "Namespace"
	// Pod and Node answer with UID and Deleting: tokens are bound to them.
	Pod  reference.Kind = "Pod"
	Node reference.Kind = "Node"
	// SigningKey is a key by its id, as the API servers publish it: Absent if it is
	// gone for certain. A fresh answer rests on a look that began after the request.
	SigningKey reference.Kind = "SigningKey"
	// ServingCertificate is what the API servers present. A fresh answer rests on a
	// look, too; what a ca.crt is worth is in Secret.CA, read after that.
	ServingCertificate reference.Kind = "ServingCertificate"
	// TokenSecretsOf is no object: it asks for the Names of the token Secrets
	// of the account Name. It is a hint for messages, never a ground to deny.
	TokenSecretsOf reference.Kind = "TokenSecretsOf"
)

// Object identifies what a query is about.
type Object struct {
	Kind reference.Kind
	// Namespace is empty for cluster-scoped kinds.
	Namespace string
	Name      string
	// SignerName and Labels choose ClusterTrustBundles where Name is empty.
	SignerName, Labels string
}

// String returns the object as findings name it: "Secret shop/db".
func (o Object) String() string {
	switch {
	case o.SignerName != "":
		return string(o.Kind) + " of signer " + o.SignerName
	case o.Namespace != "":
		return string(o.Kind) + " " + o.Namespace + "/" + o.Name
	}
	return string(o.Kind) + " " + o.Name
}

// Selector returns the label selector in Labels. It fails if Labels is no selector.
func (o Object) Selector() (labels.Selector, error) {
	if o.Labels == reference.NoLabels {
		return labels.Nothing(), nil
	}
	return labels.Parse(o.Labels)
}

// Query asks whether an object exists and which of the named keys it has.
type Query struct {
	Object
	// Keys of a Secret or ConfigMap whose state the answer must tell.
	Keys []string
	// Contents asks for UID and Deleting, and what a Secret or a ServiceAccount holds.
	Contents bool
	// Fresh asks for an answer that no index had: whoever is about to find fault
	// with what an earlier answer held asks so once more.
	Fresh bool
	// Generation is that of the keys and certificates, at least, by which a Secret
	// must be judged: see Fact.
	Generation uint64
	// IfIndexed takes the word of an index that there is no such object: whoever asks
	// so looks only into what is there, and refuses nothing for it.
	IfIndexed bool
	// Asker is the namespace on whose behalf it is asked. Its share pays for a read.
	Asker string
}

// WantsContents reports whether metadata alone can't answer the query.
func (q *Query) WantsContents() bool { return len(q.Keys) > 0 || q.Contents }

// Fact answers a query. It never holds the value of a key.
type Fact struct {
	State State
	Why   Why // where State, that of a key, or what the object holds is unknown; or NotGiven
	// Provided names what makes the object, such as "ExternalSecret shop/db", where
	// that is all that is known of it: its keys are Unknown, and that is no fault.
	Provided string
	// Keys has the state of every key that was asked for.
	Keys map[string]State
	// Binary are the keys of a ConfigMap that are in binaryData, sorted. The
	// environment of a container does not have them.
	Binary []string
	// Labels of a Namespace, and all of it as decoded JSON without managedFields.
	// Neither is to be written to.
	Labels map[string]string
	Whole  map[string]any
	// Names of the Secrets that the Secrets Store CSI driver makes for a pod
	// that mounts this SecretProviderClass; or see TokenSecretsOf. Sorted.
	Names []string

	// Contents and Fresh tell that the answer is as such a query wants it.
	Contents, Fresh bool
	// UID is empty where manifests do not give it. Deleting is the deletion
	// timestamp; zero if the object is not being deleted.
	UID      string
	Deleting time.Time
	// Generation of the keys and certificates that a Secret was judged by, or that a
	// look at the API server has shown.
	Generation uint64
	// Secret is what a Secret holds.
	Secret *Secret
	// Account is what a ServiceAccount holds.
	Account *Account
}

// Account is what a ServiceAccount says of the pods that run as it.
type Account struct {
	// Automount is automountServiceAccountToken.
	Automount *bool
	// PullSecrets are the names of its imagePullSecrets, which pods get that have none.
	PullSecrets []string
	// EnforceMountable is the annotation kubernetes.io/enforce-mountable-secrets:
	// pods that use a Secret which is not among Mountable are refused.
	EnforceMountable bool
	Mountable        []string
}

// ReadAccount reduces a ServiceAccount to what can be kept.
func ReadAccount(a *corev1.ServiceAccount) *Account {
	out := &Account{Automount: a.AutomountServiceAccountToken}
	for i := range a.ImagePullSecrets {
		out.PullSecrets = append(out.PullSecrets, a.ImagePullSecrets[i].Name)
	}
	// As the ServiceAccount plugin reads it: what is no bool is false.
	out.EnforceMountable, _ = strconv.ParseBool(a.Annotations[enforceMountableSecrets])
	for i := range a.Secrets {
		out.Mountable = append(out.Mountable, a.Secrets[i].Name)
	}
	return out
}

// enforceMountableSecrets is the annotation's name in k8s.io/kubernetes,
// plugin/pkg/admission/serviceaccount.
const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// Key returns what is known of a key. An absent object has no keys.
func (f *Fact) Key(name string) State {
	if f.State == Absent {
		return Absent
	}
	return f.Keys[name]
}

// Known reports whether the answer tells all that was asked: not only that the
// object exists, while what it holds could not be read.
func (f *Fact) Known() bool {
	return f.State == Absent || (f.State == Present && f.Why == NoReason)
}

// Asked reports whether anybody has looked the object up.
func (f *Fact) Asked() bool { return f.State != Unknown || f.Why != NoReason }

// Settles reports whether the fact settles the query, be it with "unknown".
func (f *Fact) Settles(q *Query) bool {
	if f.State == Absent {
		return f.Why != NotIndexed || q.IfIndexed
	}
	if f.State == Unknown && f.Asked() {
		return true
	}
	if f.State != Present || (q.Contents && !f.Contents) || (q.Fresh && !f.Fresh) || f.Generation < q.Generation {
		return false
	}
	for _, k := range q.Keys {
		if _, ok := f.Keys[k]; !ok {
			return false
		}
	}
	return true
}
