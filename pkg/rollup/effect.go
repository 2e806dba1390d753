package rollup

import (
	"slices"
	"strings"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
)

// Effect is when a fault of a check makes itself felt.
type Effect uint8

const (
	// NoEffect: nothing breaks, it is how the pod is made that is at fault.
	NoEffect Effect = iota
	// AtStart: the pod runs on until it is started anew.
	AtStart
	// AtCreation: the next pod can't be created.
	AtCreation
	// InUse: the API server refuses whoever uses it from now on.
	InUse
)

// EffectOf returns the effect of the faults of a check.
func EffectOf(check string) Effect {
	switch check {
	case "secret-exists", "secret-key-exists", "image-pull-secret-exists", "config-map-exists", "trust-bundle-exists", "token-secret-populated":
		return AtStart
	case "service-account-exists":
		return AtCreation
	case "token-valid", "token-secret-owner", "token-ca-current":
		return InUse
	}
	return NoEffect
}

// RestsOnKeys reports whether the verdict of a check depends on the signing keys
// and the certificates that the API server shows.
func RestsOnKeys(check string) bool { return check == "token-valid" || check == "token-ca-current" }

// Exposes reports whether a fault of a check breaks nothing, but makes a token
// easy to take.
func Exposes(check string) bool {
	return check == "token-own-account" || check == "token-in-environment"
}

// Category returns the category of a check.
func Category(check string) string {
	if strings.HasPrefix(check, "token-") {
		return "Service account tokens"
	}
	return "References"
}

// rank orders actions; that of none is below all.
func rank(a v1alpha1.Action) int {
	return slices.Index([]v1alpha1.Action{v1alpha1.Off, v1alpha1.Audit, v1alpha1.Warn, v1alpha1.Deny}, a)
}
