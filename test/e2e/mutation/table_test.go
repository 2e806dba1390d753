package mutation

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/test/e2e/harness"
)

// mutation is one way in which policies change a pod.
type mutation struct {
	name string
	// spec of the policy, without its match.
	spec string
	// before makes what the namespace holds, beside its own accounts.
	before func(t *testing.T, namespace string)
	pod    *corev1.Pod
	// label of the namespace that another mutating webhook acts on.
	other string
}

func mutations() []mutation {
	return slices.Concat(accountMutations(), volumeMutations(), severalMutations())
}

// makeRunner makes the account runner with a token Secret.
func makeRunner(t *testing.T, ns string) {
	makeAccount(t, ns, corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner"}})
	makeTokenSecret(t, ns, "runner-token", "runner")
}

// accountMutations are about the account of a pod, and its token.
func accountMutations() []mutation {
	return []mutation{
		{
			name: "account", spec: "mutate: {serviceAccount: {name: runner}}", pod: harness.Pod("app"),
			before: func(t *testing.T, ns string) {
				makeAccount(t, ns, corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner"}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "reg-new"}}})
				pullBy(t, ns, "default", "reg-old")
			},
		},
		{
			name: "account-with-the-users-pull-secrets", spec: "mutate: {serviceAccount: {name: runner}}",
			pod: harness.Pod("app", func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "mine"}} }),
			before: func(t *testing.T, ns string) {
				makeAccount(t, ns, corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner"}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "reg-new"}}})
			},
		},
		{
			name: "account-without-token", spec: "mutate: {serviceAccount: {name: runner}}", pod: harness.Pod("app"),
			before: func(t *testing.T, ns string) {
				no := false
				makeAccount(t, ns, corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner"}, AutomountServiceAccountToken: &no})
			},
		},
		{
			name: "account-that-the-plugin-would-refuse", spec: "mutate: {serviceAccount: {name: runner}}", pod: harness.Pod("app", harness.SecretVolume("db", false)),
			before: func(t *testing.T, ns string) {
				env.CreateSecret(t, ns, "db", "x")
				makeAccount(t, ns, corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "runner", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}}})
			},
		},
		{name: "account-absent", spec: "mutate: {serviceAccount: {name: gone}}", pod: harness.Pod("app")},
		{name: "automount-false", spec: "mutate: {automountServiceAccountToken: false}", pod: harness.Pod("app", twoContainers)},
		{
			name: "automount-true", spec: "mutate: {automountServiceAccountToken: true}", pod: harness.Pod("app", func(s *corev1.PodSpec) { s.ServiceAccountName = "quiet" }),
			before: func(t *testing.T, ns string) {
				no := false
				makeAccount(t, ns, corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "quiet"}, AutomountServiceAccountToken: &no})
			},
		},
	}
}

// volumeMutations put projected tokens in the place of token Secrets.
func volumeMutations() []mutation {
	const project = "mutate: {longLivedTokenVolumes: {project: Existing}}"
	legacy := func(change ...func(*corev1.PodSpec)) *corev1.Pod {
		p := harness.Pod("app", append([]func(*corev1.PodSpec){harness.SecretVolume("runner-token", false)}, change...)...)
		p.Spec.ServiceAccountName = "runner"
		return p
	}
	return []mutation{
		{name: "volume", spec: project + "\nchecks: [{name: token-long-lived, action: Deny}]", pod: legacy(), before: makeRunner},
		{
			name: "volume-items", spec: project, before: makeRunner,
			pod: legacy(func(s *corev1.PodSpec) {
				mode := int32(0o400)
				s.Volumes[0].Secret.DefaultMode = &mode
				s.Volumes[0].Secret.Items = []corev1.KeyToPath{{Key: "token", Path: "auth/bearer"}, {Key: "ca.crt", Path: "ca.pem"}}
			}),
		},
		{
			name: "volume-by-sub-path", spec: project, before: makeRunner,
			pod: legacy(func(s *corev1.PodSpec) { s.Containers[0].VolumeMounts[0].SubPath = "token" }),
		},
		{
			name: "missing", spec: "mutate: {longLivedTokenVolumes: {project: ExistingOrMissing, expirationSeconds: 7200}}\nchecks: [{name: secret-exists, action: Deny}]",
			pod: harness.Pod("app", harness.SecretVolume("default-token-x7k2p", false), func(s *corev1.PodSpec) {
				s.Containers[0].VolumeMounts[0].MountPath = accountDirectory
			}),
		},
	}
}

// severalMutations are several changes at once, also beside somebody else's.
func severalMutations() []mutation {
	return []mutation{
		{
			name: "together", before: makeRunner,
			spec: "mutate: {serviceAccount: {name: runner}, automountServiceAccountToken: false, longLivedTokenVolumes: {project: Existing}, recordAnnotation: true}",
			pod:  harness.Pod("app", harness.SecretVolume("runner-token", false), twoContainers),
		},
		{name: "dry-run", spec: "mode: DryRun\nmutate: {serviceAccount: {name: runner}, automountServiceAccountToken: false}", pod: harness.Pod("app"), before: makeRunner},
		{
			name: "sidecar-added-after-us", other: "sidecar", pod: harness.Pod("app"),
			spec: "mutate: {serviceAccount: {name: runner}, automountServiceAccountToken: false, longLivedTokenVolumes: {project: Existing}, recordAnnotation: true}", before: makeRunner,
		},
		{name: "marshalled-again-before-us", other: "remarshal", spec: "mutate: {serviceAccount: {name: runner}, automountServiceAccountToken: false}", pod: harness.Pod("app"), before: makeRunner},
	}
}

func twoContainers(s *corev1.PodSpec) {
	s.InitContainers = []corev1.Container{{Name: "init", Image: "example.test/init:1"}}
	s.Containers = append(s.Containers, corev1.Container{Name: "second", Image: "example.test/second:1"})
}
