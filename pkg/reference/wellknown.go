package reference

// What the API server gives every pod and namespace without being asked
// (k8s.io/kubernetes, plugin/pkg/admission/serviceaccount and
// pkg/controller/certificates/rootcacertpublisher).
const (
	// DefaultAccount is the account of a pod that names none.
	DefaultAccount = "default"
	// AccountDirectory is where client libraries look for token, ca.crt and
	// namespace.
	AccountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"
	// RootCA is the ConfigMap in which every namespace has the API server's CA.
	RootCA = "kube-root-ca.crt"
)
