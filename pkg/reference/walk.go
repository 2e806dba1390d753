package reference

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OfPod returns every reference of a pod in the order of its fields: volumes,
// init containers, containers, ephemeral containers, the account, image pull
// secrets. prefix is put before "spec" in every path: "" for a Pod,
// "spec.template." for the template of a Deployment. An empty name in the
// environment is a reference that is Nameless. Any other field with an empty name
// is left out, and so is an empty key.
func OfPod(prefix string, spec *corev1.PodSpec) []Reference {
	w := walker{spec: prefix + "spec."}
	mounted := mountedVolumes(spec)
	for i := range spec.Volumes {
		w.unused = !mounted[spec.Volumes[i].Name]
		w.volume(element("volumes", i)+".", &spec.Volumes[i].VolumeSource)
	}
	w.unused = false
	EachContainer(spec, func(path string, c *corev1.Container) { w.container(path+".", c) })
	if spec.ServiceAccountName != "" {
		w.add(Reference{Kind: ServiceAccount, Name: spec.ServiceAccountName, Use: UseAccount, Path: "serviceAccountName"})
	}
	for i := range spec.ImagePullSecrets {
		w.add(Reference{
			Kind: Secret, Name: spec.ImagePullSecrets[i].Name, Use: UseImagePull,
			Path: element("imagePullSecrets", i) + ".name",
		})
	}
	return w.found
}

// EachContainer calls visit for every container of every kind, in the order of
// the fields, with its path below the spec, such as "initContainers[0]".
func EachContainer(spec *corev1.PodSpec, visit func(path string, c *corev1.Container)) {
	for i := range spec.InitContainers {
		visit(element("initContainers", i), &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		visit(element("containers", i), &spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		// The two types are identical but for the target, which refers to no object.
		visit(element("ephemeralContainers", i), (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

// mountedVolumes returns the names of the volumes that a container mounts or uses
// as a device. Source: GetPodVolumeNames in pkg/volume/util/util.go.
func mountedVolumes(spec *corev1.PodSpec) map[string]bool {
	if len(spec.Volumes) == 0 {
		return nil
	}
	mounted := make(map[string]bool, len(spec.Volumes))
	EachContainer(spec, func(_ string, c *corev1.Container) {
		for i := range c.VolumeMounts {
			mounted[c.VolumeMounts[i].Name] = true
		}
		for i := range c.VolumeDevices {
			mounted[c.VolumeDevices[i].Name] = true
		}
	})
	return mounted
}

// The Secrets Store CSI driver, and the attribute that names its class.
// Source: sigs.k8s.io/secrets-store-csi-driver, pkg/secrets-store/nodeserver.go.
const (
	secretsStoreDriver = "secrets-store.csi.k8s.io"
	classAttribute     = "secretProviderClass"
)

type walker struct {
	spec   string // path of the spec, with its dot
	unused bool   // the volume being walked is mounted nowhere
	found  []Reference
}

// add completes a reference whose paths are relative to the spec.
func (w *walker) add(r Reference) {
	if r.Nameless() && r.Use != UseEnv && r.Use != UseEnvFrom {
		return
	}
	r.Path = w.spec + r.Path
	r.Keys = slices.DeleteFunc(r.Keys, func(k Key) bool { return k.Name == "" })
	for i := range r.Keys {
		r.Keys[i].Path = w.spec + r.Keys[i].Path
	}
	r.Unused = w.unused
	w.found = append(w.found, r)
}

func (w *walker) volume(parent string, v *corev1.VolumeSource) {
	switch {
	case v.Secret != nil:
		w.files(Secret, parent+"secret.", "secretName", v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.ConfigMap != nil:
		w.files(ConfigMap, parent+"configMap.", "name", v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			w.projected(parent+element("projected.sources", i)+".", &v.Projected.Sources[i])
		}
	default:
		if c := v.CSI; c != nil && c.Driver == secretsStoreDriver {
			w.add(Reference{
				Kind: SecretProviderClass, Name: c.VolumeAttributes[classAttribute], Use: UseVolume,
				Path: parent + "csi.volumeAttributes." + classAttribute,
			})
		}
		if name, path := mountCredential(v); name != "" {
			w.add(Reference{Kind: Secret, Name: name, Use: UseMountCredential, Path: parent + path})
		}
	}
}

func (w *walker) projected(parent string, s *corev1.VolumeProjection) {
	switch {
	case s.Secret != nil:
		w.files(Secret, parent+"secret.", "name", s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.ConfigMap != nil:
		w.files(ConfigMap, parent+"configMap.", "name", s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.ClusterTrustBundle != nil:
		w.add(trustBundle(parent+"clusterTrustBundle.", s.ClusterTrustBundle))
	case s.PodCertificate != nil:
		w.add(Reference{Kind: PodCertificate, SignerName: s.PodCertificate.SignerName, Use: UseVolume, Path: parent + "podCertificate.signerName"})
	}
}

// files adds a Secret or ConfigMap whose keys become files.
func (w *walker) files(kind Kind, parent, field, name string, items []corev1.KeyToPath, optional *bool) {
	w.add(Reference{Kind: kind, Name: name, Optional: isTrue(optional), Use: UseVolume, Keys: itemKeys(parent, items), Path: parent + field})
}

// trustBundle follows the field's own rules: a bundle by name, or those of a
// signer, where no selector means none and an empty one means all.
func trustBundle(parent string, b *corev1.ClusterTrustBundleProjection) Reference {
	r := Reference{Kind: ClusterTrustBundle, Optional: isTrue(b.Optional), Use: UseVolume}
	if b.Name != nil {
		r.Name, r.Path = *b.Name, parent+"name"
	} else if b.SignerName != nil {
		r.SignerName, r.Path = *b.SignerName, parent+"signerName"
		if r.Labels = metav1.FormatLabelSelector(b.LabelSelector); b.LabelSelector != nil && r.Labels == NoLabels {
			r.Labels = ""
		}
	}
	return r
}

// mountCredential returns the Secret that a storage driver needs, and the path
// of the field below the volume. iSCSI reads its Secret only for CHAP
// (k8s.io/kubernetes, pkg/volume/iscsi/iscsi.go).
func mountCredential(v *corev1.VolumeSource) (name, path string) {
	local := func(ref *corev1.LocalObjectReference, path string) (string, string) {
		if ref == nil {
			return "", ""
		}
		return ref.Name, path
	}
	switch {
	case v.CSI != nil:
		return local(v.CSI.NodePublishSecretRef, "csi.nodePublishSecretRef.name")
	case v.AzureFile != nil:
		return v.AzureFile.SecretName, "azureFile.secretName"
	case v.CephFS != nil:
		return local(v.CephFS.SecretRef, "cephfs.secretRef.name")
	case v.Cinder != nil:
		return local(v.Cinder.SecretRef, "cinder.secretRef.name")
	case v.FlexVolume != nil:
		return local(v.FlexVolume.SecretRef, "flexVolume.secretRef.name")
	case v.ISCSI != nil && !v.ISCSI.DiscoveryCHAPAuth && !v.ISCSI.SessionCHAPAuth:
		return "", ""
	case v.ISCSI != nil:
		return local(v.ISCSI.SecretRef, "iscsi.secretRef.name")
	case v.RBD != nil:
		return local(v.RBD.SecretRef, "rbd.secretRef.name")
	case v.ScaleIO != nil:
		return local(v.ScaleIO.SecretRef, "scaleIO.secretRef.name")
	case v.StorageOS != nil:
		return local(v.StorageOS.SecretRef, "storageos.secretRef.name")
	}
	return "", ""
}

func (w *walker) container(parent string, c *corev1.Container) {
	for i := range c.EnvFrom {
		from, path := &c.EnvFrom[i], parent+element("envFrom", i)+"."
		if ref := from.SecretRef; ref != nil {
			w.add(Reference{Kind: Secret, Name: ref.Name, Optional: isTrue(ref.Optional), Use: UseEnvFrom, Path: path + "secretRef.name"})
		}
		if ref := from.ConfigMapRef; ref != nil {
			w.add(Reference{Kind: ConfigMap, Name: ref.Name, Optional: isTrue(ref.Optional), Use: UseEnvFrom, DataOnly: true, Path: path + "configMapRef.name"})
		}
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		path := parent + element("env", i) + ".valueFrom."
		if ref := from.SecretKeyRef; ref != nil {
			w.add(Reference{
				Kind: Secret, Name: ref.Name, Optional: isTrue(ref.Optional), Use: UseEnv,
				Keys: []Key{{Name: ref.Key, Path: path + "secretKeyRef.key"}}, Path: path + "secretKeyRef.name",
			})
		}
		if ref := from.ConfigMapKeyRef; ref != nil {
			w.add(Reference{
				Kind: ConfigMap, Name: ref.Name, Optional: isTrue(ref.Optional), Use: UseEnv, DataOnly: true,
				Keys: []Key{{Name: ref.Key, Path: path + "configMapKeyRef.key"}}, Path: path + "configMapKeyRef.name",
			})
		}
	}
}

func itemKeys(parent string, items []corev1.KeyToPath) []Key {
	if len(items) == 0 {
		return nil
	}
	keys := make([]Key, len(items))
	for i := range items {
		keys[i] = Key{Name: items[i].Key, Path: parent + element("items", i) + ".key"}
	}
	return keys
}

func isTrue(b *bool) bool { return b != nil && *b }
