package rewrite

import (
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/reference"
)

// owned tells what the client itself has written: what managedFields list. What
// admission has added, the API server's own plugins included, is not there yet
// (k8s.io/apiserver, pkg/endpoints/handlers/create.go). It is read when needed.
type owned struct {
	fields []metav1.ManagedFieldsEntry
	read   bool
	known  bool
	all    []ownedFields
}

// ownedFields has the fields of a FieldsV1 that decide anything here.
type ownedFields struct {
	Metadata struct {
		Annotations map[string]json.RawMessage `json:"f:annotations"`
	} `json:"f:metadata"`
	Spec struct {
		ServiceAccountName json.RawMessage            `json:"f:serviceAccountName"`
		ServiceAccount     json.RawMessage            `json:"f:serviceAccount"` // the alias: server-side apply lists only what was written
		Automount          json.RawMessage            `json:"f:automountServiceAccountToken"`
		ImagePullSecrets   map[string]json.RawMessage `json:"f:imagePullSecrets"`
		Volumes            map[string]json.RawMessage `json:"f:volumes"`
	} `json:"f:spec"`
}

// entries returns what managedFields say; known is false if they say nothing.
func (o *owned) entries() (all []ownedFields, known bool) {
	if o.read {
		return o.all, o.known
	}
	o.read = true
	for i := range o.fields {
		e := &o.fields[i]
		if e.Subresource != "" || e.FieldsV1 == nil {
			continue
		}
		var f ownedFields
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &f) != nil {
			continue
		}
		f.Spec.Volumes, f.Spec.ImagePullSecrets = byName(f.Spec.Volumes), byName(f.Spec.ImagePullSecrets)
		o.all, o.known = append(o.all, f), true
	}
	return o.all, o.known
}

func (o *owned) any(has func(*ownedFields) bool) bool {
	all, _ := o.entries()
	for i := range all {
		if has(&all[i]) {
			return true
		}
	}
	return false
}

func (o *owned) told() bool {
	_, known := o.entries()
	return known
}

func (o *owned) account() bool {
	return o.any(func(f *ownedFields) bool { return f.Spec.ServiceAccountName != nil || f.Spec.ServiceAccount != nil })
}

func (o *owned) automount() bool {
	return o.any(func(f *ownedFields) bool { return f.Spec.Automount != nil })
}

func (o *owned) annotation(key string) bool {
	return o.any(func(f *ownedFields) bool { return f.Metadata.Annotations["f:"+key] != nil })
}

func (o *owned) pullSecret(name string) bool {
	return o.any(func(f *ownedFields) bool { return f.Spec.ImagePullSecrets[name] != nil })
}

func (o *owned) volume(name string) bool {
	return o.any(func(f *ownedFields) bool { return f.Spec.Volumes[name] != nil })
}

// secretVolume reports whether the client wrote a volume with a Secret.
func (o *owned) secretVolume(name string) bool {
	return o.any(func(f *ownedFields) bool {
		var fields map[string]json.RawMessage
		return json.Unmarshal(f.Spec.Volumes[name], &fields) == nil && fields["f:secret"] != nil
	})
}

// byName turns the keys of a list, k:{"name":"..."}, into names.
func byName(list map[string]json.RawMessage) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(list))
	for key, value := range list {
		text, ok := strings.CutPrefix(key, "k:")
		var k struct {
			Name string `json:"name"`
		}
		if ok && json.Unmarshal([]byte(text), &k) == nil {
			out[k.Name] = value
		}
	}
	return out
}

// pluginVolumePrefix and the shape are those of the ServiceAccount plugin
// (k8s.io/kubernetes, plugin/pkg/admission/serviceaccount).
const pluginVolumePrefix = "kube-api-access-"

// pluginVolume reports whether the API server added a volume. Its name alone
// tells nothing: anybody can use any name.
func (o *owned) pluginVolume(v *corev1.Volume) bool {
	return strings.HasPrefix(v.Name, pluginVolumePrefix) && hasPluginShape(v.Projected) && !o.volume(v.Name)
}

func hasPluginShape(v *corev1.ProjectedVolumeSource) bool {
	if v == nil || len(v.Sources) != 3 || (v.DefaultMode != nil && *v.DefaultMode != corev1.ProjectedVolumeSourceDefaultMode) {
		return false
	}
	token, ca, namespace := v.Sources[0].ServiceAccountToken, v.Sources[1].ConfigMap, v.Sources[2].DownwardAPI
	return token != nil && token.Path == tokenFile && token.Audience == "" && token.ExpirationSeconds != nil && *token.ExpirationSeconds == pluginExpiration &&
		ca != nil && ca.Name == reference.RootCA && ca.Optional == nil && len(ca.Items) == 1 && ca.Items[0] == corev1.KeyToPath{Key: caFile, Path: caFile} &&
		namespace != nil && len(namespace.Items) == 1 && namespace.Items[0].Path == namespaceFile &&
		namespace.Items[0].FieldRef != nil && namespace.Items[0].FieldRef.FieldPath == namespaceField
}

const (
	pluginExpiration = 3607
	tokenFile        = corev1.ServiceAccountTokenKey
	caFile           = corev1.ServiceAccountRootCAKey
	namespaceFile    = corev1.ServiceAccountNamespaceKey
	namespaceField   = "metadata.namespace"
)
