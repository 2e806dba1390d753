// Package reference walks a PodSpec and lists every object that the pod
// points at: Secrets, ConfigMaps, ClusterTrustBundles, its ServiceAccount and the
// signers of its certificates, each with the keys it needs, whether it may be missing, and the exact path
// of the field that names it.
//
// It is pure, and it may import nothing of ours: only the Kubernetes API types.
// The routes are those of upstream's VisitPodSecretNames and
// VisitPodConfigmapNames (k8s.io/kubernetes/pkg/api/v1/pod/util.go), against
// which the walk is tested, plus the kinds that those do not visit.
package reference

import (
	"strconv"
)

// Kind is the kind of a referenced object, spelled as in its apiVersion/kind.
type Kind string

// The kinds that a PodSpec can point at.
const (
	Secret             Kind = "Secret"
	ConfigMap          Kind = "ConfigMap"
	ServiceAccount     Kind = "ServiceAccount"
	ClusterTrustBundle Kind = "ClusterTrustBundle"
	// SecretProviderClass (secrets-store.csi.x-k8s.io) is what a volume of the
	// Secrets Store CSI driver is made from. The driver may make Secrets of it.
	SecretProviderClass Kind = "SecretProviderClass"
	// PodCertificate (KEP-4317) is a certificate that the kubelet requests from the
	// signer SignerName when the pod starts. No object has to exist before.
	PodCertificate Kind = "PodCertificate"
)

// Use is the route by which the pod uses the object. It decides what happens to
// the pod while the object is missing.
type Use uint8

// The routes from a pod to an object.
const (
	// UseVolume is a secret or configMap volume, or a source of a projected one.
	UseVolume Use = iota + 1
	// UseMountCredential is a Secret that a storage driver needs to mount a
	// volume (CSI nodePublishSecretRef and the in-tree volume types).
	UseMountCredential
	// UseEnv is env[].valueFrom.
	UseEnv
	// UseEnvFrom is envFrom[].
	UseEnvFrom
	// UseImagePull is imagePullSecrets[].
	UseImagePull
	// UseAccount is serviceAccountName.
	UseAccount
)

// Consequence is what happens to the pod while the object, or a key of it, is
// missing and not optional; in the words that kubectl shows.
// Source: the kubelet's volume manager (FailedMount), its container runtime
// manager (CreateContainerConfigError), its image manager
// (FailedToRetrieveImagePullSecret) and the ServiceAccount admission plugin.
func (u Use) Consequence() string {
	switch u {
	case UseVolume, UseMountCredential:
		return "the pod will hang in ContainerCreating"
	case UseEnv, UseEnvFrom:
		return "the container will wait in CreateContainerConfigError"
	case UseImagePull:
		return "the image is pulled without it, which may fail unless a credential provider helps"
	case UseAccount:
		return "its pods will be rejected"
	}
	return "the pod may not start"
}

// NoLabels stands in Reference.Labels where a projection gives no selector at
// all, which selects no bundle (KEP-3257).
const NoLabels = "<none>"

// Key is one key of a referenced Secret or ConfigMap that the pod asks for.
type Key struct {
	// Name of the key in data (or binaryData, stringData).
	Name string
	// Path of the field that names the key.
	Path string
}

// Reference is one field of a pod that points at an object.
type Reference struct {
	Kind Kind
	// Name of the object. If the kind has namespaces, the object is in that of the
	// pod. Empty if SignerName chooses, or if the reference is Nameless.
	Name string
	// SignerName and Labels (a label selector in its text form; "" selects
	// everything) choose ClusterTrustBundles if Name is empty.
	SignerName, Labels string
	// Keys that the pod asks for by name; nil if it uses whatever keys there are.
	Keys []Key
	// DataOnly is true if only the keys in data count, and not those in binaryData
	// of a ConfigMap: the environment reads data alone.
	DataOnly bool
	// Optional references may be missing; so may their keys.
	Optional bool
	// Unused is true for a volume that no container mounts. The kubelet skips it.
	Unused bool
	// Unchanged is true if an UPDATE left the reference as it was: see
	// MarkUnchanged.
	Unchanged bool
	Use       Use
	// Path of the leaf field that names the object,
	// such as "spec.volumes[2].secret.secretName".
	Path string
}

// Required reports whether the pod needs the object in order to run.
func (r *Reference) Required() bool { return r.Nameless() || (!r.Optional && !r.Unused) }

// Nameless reports whether the name is empty in a field that must have one. The
// API server refuses such a pod, but not every template of one, and the kubelet
// fails it, optional or not.
func (r *Reference) Nameless() bool { return r.Name == "" && r.SignerName == "" }

// element returns a step of a path with an index: "volumes", 2 -> "volumes[2]".
func element(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
