package sim

import (
	"encoding/json"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// use is how a pod refers to an object.
type use string

const (
	useVolume    use = "volume"
	useProjected use = "projected"
	useEnv       use = "env"
	useEnvFrom   use = "envFrom"
)

// ref is a reference of a pod. The oracle judges by it, the code under test by
// the pod that is made of it.
type ref struct {
	resource, name string
	use            use
	keys           []string // none: all
	optional       bool
}

// podCase is a pod that is asked for again and again.
type podCase struct {
	name      string
	namespace string
	account   string
	refs      []ref
	padding   int  // that many optional references to nothing
	debug     bool // an ephemeral container is added that mounts the volumes, which nobody mounted before
	// class names what the case is about, for invariants; empty where the oracle tells.
	class  string
	review []byte
}

func (p *podCase) String() string { return p.namespace + "/" + p.name }

// optional reports whether the pod may go without some object, of which a replica
// must read each time whether it is there.
func (p *podCase) optional() bool {
	return p.padding > 0 || slices.ContainsFunc(p.refs, func(r ref) bool { return r.optional })
}

// hasToken reports whether the pod gets a token.
func (p *podCase) hasToken() bool {
	return slices.ContainsFunc(p.refs, func(r ref) bool {
		return r.name == "robot-token" || r.name == "ghost-token" || slices.Contains(tokenCopies(), r.name)
	})
}

func (p *podCase) pod(withDebug bool) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name},
		Spec: corev1.PodSpec{
			ServiceAccountName: p.account,
			Containers:         []corev1.Container{{Name: "main", Image: "example.com/main"}},
		},
	}
	main := &pod.Spec.Containers[0]
	var mounts []corev1.VolumeMount
	for i := range p.refs {
		r := &p.refs[i]
		switch r.use {
		case useEnv:
			main.Env = append(main.Env, corev1.EnvVar{Name: fmt.Sprint("V", i), ValueFrom: r.env()})
		case useEnvFrom:
			main.EnvFrom = append(main.EnvFrom, r.envFrom())
		default:
			name := fmt.Sprint("v", i)
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: r.volume()})
			mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
		}
	}
	for i := range p.padding {
		r := ref{resource: "secrets", name: fmt.Sprint("nothing-", i), optional: true}
		main.EnvFrom = append(main.EnvFrom, r.envFrom())
	}
	switch {
	case !p.debug:
		main.VolumeMounts = mounts
	case withDebug:
		pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debug", Image: "example.com/debug", VolumeMounts: mounts,
		}}}
	}
	return pod
}

func (r *ref) optionally() *bool {
	if !r.optional {
		return nil
	}
	return &r.optional
}

func (r *ref) env() *corev1.EnvVarSource {
	object := corev1.LocalObjectReference{Name: r.name}
	if r.resource == "secrets" {
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: object, Key: r.keys[0], Optional: r.optionally()}}
	}
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: object, Key: r.keys[0], Optional: r.optionally()}}
}

func (r *ref) envFrom() corev1.EnvFromSource {
	object := corev1.LocalObjectReference{Name: r.name}
	if r.resource == "secrets" {
		return corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: object, Optional: r.optionally()}}
	}
	return corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: object, Optional: r.optionally()}}
}

func (r *ref) volume() corev1.VolumeSource {
	var items []corev1.KeyToPath
	for _, k := range r.keys {
		items = append(items, corev1.KeyToPath{Key: k, Path: k})
	}
	object := corev1.LocalObjectReference{Name: r.name}
	switch {
	case r.use == useProjected && r.resource == "secrets":
		return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
			Secret: &corev1.SecretProjection{LocalObjectReference: object, Items: items, Optional: r.optionally()},
		}}}}
	case r.use == useProjected:
		return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
			ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: object, Items: items, Optional: r.optionally()},
		}}}}
	case r.resource == "secrets":
		return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: r.name, Items: items, Optional: r.optionally()}}
	}
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: object, Items: items, Optional: r.optionally()}}
}

// body is the AdmissionReview of the pod, which is made once.
func (p *podCase) body() []byte {
	if p.review == nil {
		p.review = p.encode()
	}
	return p.review
}

func (p *podCase) encode() []byte {
	request := &admissionv1.AdmissionRequest{
		UID: "0c11aaaa-aaaa-4000-8000-000000000000", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Name: p.name, Namespace: p.namespace, Operation: admissionv1.Create,
		Object: runtime.RawExtension{Raw: encode(p.pod(true))},
	}
	request.UserInfo.Username = "alice"
	if p.debug {
		request.Operation, request.SubResource, request.OldObject.Raw = admissionv1.Update, "ephemeralcontainers", encode(p.pod(false))
	}
	return encode(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"}, Request: request,
	})
}

// readAnswer takes the response to a review apart.
func readAnswer(text []byte) (allowed bool, message string, err error) {
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(text, &answer); err != nil {
		return false, "", err
	}
	if answer.Response == nil {
		return false, "", fmt.Errorf("no response in %q", text)
	}
	if answer.Response.Result != nil {
		message = answer.Response.Result.Message
	}
	return answer.Response.Allowed, message, nil
}

// cases are the pods of a namespace.
func cases(namespace string) []*podCase {
	secret := func(name string, how use, keys ...string) ref {
		return ref{resource: "secrets", name: name, use: how, keys: keys}
	}
	config := func(name string, how use, keys ...string) ref {
		return ref{resource: "configmaps", name: name, use: how, keys: keys}
	}
	maybe := func(r ref) ref { r.optional = true; return r }
	all := []*podCase{
		{name: "plain", refs: []ref{secret("db", useVolume), secret("api", useEnv, "password"), config("conf", useEnvFrom)}},
		{name: "items", refs: []ref{secret("db", useVolume, "user", "password"), config("conf", useVolume, "main.conf")}},
		{name: "environment", refs: []ref{secret("db", useEnvFrom), config("conf", useEnv, "main.conf"), secret("api", useEnv, "user")}},
		{name: "projected", refs: []ref{secret("cert", useProjected, "tls.key"), config("kube-root-ca.crt", useProjected, "ca.crt")}},
		{name: "optional", refs: []ref{maybe(secret("db", useVolume, "user")), maybe(secret("robot-token", useVolume)), maybe(config("conf", useEnv, "main.conf"))}},
		{name: "binary", class: "binary", refs: []ref{config("conf", useEnv, "blob")}},
		{name: "token", refs: []ref{secret("robot-token", useVolume)}},
		{name: "token-file", refs: []ref{secret("robot-token", useVolume, "token"), secret("ghost-token", useEnv, "token")}},
		{name: "token-many", refs: []ref{secret("db", useVolume), secret("ghost-token", useProjected), config("kube-root-ca.crt", useVolume)}},
		{name: "copied", refs: []ref{secret("copied", useVolume)}},
		{name: "copied-key", refs: []ref{secret("copied", useEnv, "token"), secret("api", useEnv, "user")}},
		{name: "bound", refs: []ref{secret("bound", useVolume)}},
		{name: "foreign", class: "foreign", refs: []ref{secret("foreign", useVolume)}},
		{name: "forged", refs: []ref{secret("forged", useVolume)}},
		{name: "no-key-id", refs: []ref{secret("no-key-id", useVolume)}},
		{name: "debug", class: "debug", debug: true, refs: []ref{maybe(secret("ghost-token", useVolume))}},
		{name: "padded-token", class: "padded", padding: 120, refs: []ref{secret("ghost-token", useVolume)}},
	}
	if namespace != namespaces()[0] { // fewer will do; padding costs many reads
		all = slices.DeleteFunc(all, func(p *podCase) bool {
			return p.padding > 0 || slices.Contains([]string{"items", "environment", "binary", "token-file", "copied-key", "debug"}, p.name)
		})
	}
	for _, p := range all {
		p.namespace, p.account = namespace, "default"
	}
	return all
}
