package upstream

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/policy/rewrite"
)

// randomPod is a pod as a client writes it.
func randomPod(r *rand.Rand) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: shop}}
	p.Spec.ServiceAccountName = pick(r, "", "", "", "default", "runner", "quiet", "strict")
	p.Spec.AutomountServiceAccountToken = pick(r, nil, nil, new(bool), &yes)
	if r.Intn(4) == 0 {
		p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: pick(r, "mine", "reg-default", "reg-strict")}}
	}
	if r.Intn(4) == 0 {
		p.Labels = map[string]string{"app": pick(r, "a", "b")}
		p.Annotations = map[string]string{pick(r, "own", rewrite.RecordAnnotation): "x"}
	}
	for i := range r.Intn(4) {
		p.Spec.Volumes = append(p.Spec.Volumes, randomVolume(r, fmt.Sprintf("v%d", i)))
	}
	for i := range 1 + r.Intn(3) {
		c := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "example.test/c:1"}
		for _, v := range p.Spec.Volumes {
			if r.Intn(2) == 0 {
				m := corev1.VolumeMount{Name: v.Name, MountPath: pick(r, "/"+v.Name, "/"+v.Name, tokenDirectory)}
				if r.Intn(6) == 0 {
					m.SubPath = "token"
				}
				if !slices.ContainsFunc(c.VolumeMounts, func(o corev1.VolumeMount) bool { return o.MountPath == m.MountPath }) {
					c.VolumeMounts = append(c.VolumeMounts, m)
				}
			}
		}
		if r.Intn(8) == 0 {
			c.Env = []corev1.EnvVar{{Name: "T", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: pick(r, "db", "runner-token-bbbbb")}, Key: "token",
			}}}}
		}
		if i > 0 && r.Intn(3) == 0 {
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		} else {
			p.Spec.Containers = append(p.Spec.Containers, c)
		}
	}
	return p
}

func randomVolume(r *rand.Rand, name string) corev1.Volume {
	v := corev1.Volume{Name: name}
	if r.Intn(8) == 0 {
		v.Name = "kube-api-access-" + name + "xxx" // anybody can use any name
	}
	switch r.Intn(5) {
	case 0:
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	case 1:
		v.Projected = pluginShape()
	default:
		v.Secret = &corev1.SecretVolumeSource{SecretName: pick(r, "db", "default-token-aaaaa", "runner-token-bbbbb", "runner-more", "runner-token-x7k2p", "default-token-zz9zz")}
		switch r.Intn(7) {
		case 0:
			v.Secret.Items = []corev1.KeyToPath{{Key: "token", Path: pick(r, "token", "a/b")}}
		case 4:
			v.Secret.Items = []corev1.KeyToPath{{Key: "ca.crt", Path: "x"}, {Key: "namespace", Path: pick(r, "x", "y")}}
		case 1:
			mode := int32(0o400)
			v.Secret.Items = []corev1.KeyToPath{{Key: "token", Path: "t", Mode: &mode}}
		case 2:
			v.Secret.Optional = &yes
		case 3:
			mode := int32(0o440)
			v.Secret.DefaultMode = &mode
		}
	}
	return v
}

// randomPolicies are in the form of a policy file.
func randomPolicies(r *rand.Rand) string {
	var out strings.Builder
	for _, name := range []string{"a", "b", "c"}[:1+r.Intn(3)] {
		var changes []string
		if r.Intn(2) == 0 {
			changes = append(changes, "serviceAccount: {name: "+pick(r, "runner", "plain", "quiet", "strict", "gone")+", when: "+pick(r, "Unset", "Always")+"}")
		}
		if r.Intn(2) == 0 {
			changes = append(changes, "automountServiceAccountToken: "+pick(r, "true", "false", "false"))
		}
		if r.Intn(2) == 0 || len(changes) == 0 {
			changes = append(changes, "longLivedTokenVolumes: {project: "+pick(r, "Existing", "ExistingOrMissing")+", expirationSeconds: "+pick(r, "3607", "7200")+"}")
		}
		if r.Intn(3) == 0 {
			changes = append(changes, "recordAnnotation: true")
		}
		match := pick(r, "", "", "", "match: {podSelector: {matchLabels: {app: a}}}, ", "match: {serviceAccountNames: [runner]}, ", "match: {serviceAccountNames: [default]}, ",
			`matchConditions: [{name: q, expression: "object.spec.serviceAccountName == 'runner'"}], `,
			`matchConditions: [{name: q, expression: "!has(object.spec.automountServiceAccountToken)"}], `)
		fmt.Fprintf(&out, "---\n{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: %s}, spec: {%smutate: {%s}}}\n", name, match, strings.Join(changes, ", "))
	}
	return out.String()
}

func unknownFields(r *rand.Rand, pod map[string]any) {
	into := func(m map[string]any) {
		if r.Intn(3) == 0 {
			m["fluxCapacitor"] = map[string]any{"gigawatts": int64(r.Intn(100))}
		}
	}
	spec := pod["spec"].(map[string]any)
	into(pod)
	into(spec)
	for _, list := range []string{"volumes", "containers", "initContainers"} {
		items, _ := spec[list].([]any)
		for _, item := range items {
			into(item.(map[string]any))
		}
	}
}
