package token

import (
	"crypto/sha256"
	"time"
)

// State is what is known of an object.
type State uint8

// The states. The zero value is NotKnown: what nobody looked up is never taken
// for absent.
const (
	NotKnown State = iota
	Absent
	Present
)

// Object is what the cluster holds under a name that a token mentions.
type Object struct {
	State State
	// UID is empty if it is not known.
	UID string
	// Deleting is the deletion timestamp: for a pod that is when its grace
	// period ends. Zero if the object is not being deleted.
	Deleting time.Time
}

// gone reports whether the object counts as deleted; for bound tokens that
// is so some time after its deletion.
func (o *Object) gone(now time.Time, leeway time.Duration) bool {
	return o.State == Absent || !o.Deleting.IsZero() && (leeway == 0 || o.Deleting.Before(now.Add(-leeway)))
}

// Secret is what the cluster holds of a Secret that a token names. For legacy
// tokens its UID does not matter, and for bound ones nothing but the Object does.
type Secret struct {
	Object
	// TokenHash is the SHA-256 of data.token, exactly as it is there; zero if it
	// was not read. An empty data.token has a hash like any other.
	TokenHash [sha256.Size]byte
	// InvalidSince is set if the Secret has a value under the label
	// kubernetes.io/legacy-token-invalid-since.
	InvalidSince bool
}

// Facts are what the cluster holds of the objects that a token names: the
// account Claims.ServiceAccount, Claims.Secret and Claims.Pod in
// Claims.Namespace, and Claims.Node. Only those that it names are looked at.
type Facts struct {
	ServiceAccount Object
	Secret         Secret
	Pod, Node      Object
	// SigningKey is Absent if the key that the token names, Checked.SigningKey, is
	// known to be gone. It is looked at only where no key of the set fits.
	SigningKey State
	// TokenSecret is set for the token of a Secret of the token type, which the
	// token controller of this very cluster keeps.
	TokenSecret bool
}
