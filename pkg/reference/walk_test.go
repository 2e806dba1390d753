package reference

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOfPod(t *testing.T) {
	yes, name, signer := true, "bundle", "example.test/signer"
	local := corev1.LocalObjectReference{Name: "db"}
	volume := func(source corev1.VolumeSource) corev1.PodSpec {
		return corev1.PodSpec{
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: source}},
			Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "v"}}}},
		}
	}
	device := volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &local}})
	device.Containers[0] = corev1.Container{VolumeDevices: []corev1.VolumeDevice{{Name: "v"}}}
	iscsi := func(discovery, session bool) corev1.PodSpec {
		return volume(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{SecretRef: &local, DiscoveryCHAPAuth: discovery, SessionCHAPAuth: session}})
	}
	viaISCSI := []Reference{{Kind: Secret, Name: "db", Use: UseMountCredential, Path: "spec.volumes[0].iscsi.secretRef.name"}}
	bundle := func(b corev1.ClusterTrustBundleProjection) corev1.PodSpec {
		return volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &b}}}})
	}
	env := func(from corev1.EnvVarSource) corev1.PodSpec {
		return corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{Value: "plain"}, {ValueFrom: &from}}}}}
	}
	tests := []struct {
		name string
		spec corev1.PodSpec
		want []Reference
	}{
		{name: "a pod that points nowhere has no reference"},
		{
			name: "a Secret whose keys become files asks for those keys",
			spec: volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "db", Items: []corev1.KeyToPath{{Key: "a"}, {Key: ""}, {Key: "b"}}}}),
			want: []Reference{{Kind: Secret, Name: "db", Use: UseVolume, Path: "spec.volumes[0].secret.secretName", Keys: []Key{
				{Name: "a", Path: "spec.volumes[0].secret.items[0].key"}, {Name: "b", Path: "spec.volumes[0].secret.items[2].key"},
			}}},
		},
		{
			name: "an optional variable may do without its key",
			spec: env(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local, Key: "user", Optional: &yes}}),
			want: []Reference{{Kind: Secret, Name: "db", Optional: true, Use: UseEnv, Path: "spec.containers[0].env[1].valueFrom.secretKeyRef.name", Keys: []Key{
				{Name: "user", Path: "spec.containers[0].env[1].valueFrom.secretKeyRef.key"},
			}}},
		},
		{
			name: "a volume of the Secrets Store CSI driver needs its class and its credential",
			spec: volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
				Driver: secretsStoreDriver, VolumeAttributes: map[string]string{classAttribute: "vault"}, NodePublishSecretRef: &local,
			}}),
			want: []Reference{
				{Kind: SecretProviderClass, Name: "vault", Use: UseVolume, Path: "spec.volumes[0].csi.volumeAttributes.secretProviderClass"},
				{Kind: Secret, Name: "db", Use: UseMountCredential, Path: "spec.volumes[0].csi.nodePublishSecretRef.name"},
			},
		},
		{
			name: "another CSI driver's attributes name no class",
			spec: volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "example.test", VolumeAttributes: map[string]string{classAttribute: "vault"}}}),
		},
		{
			name: "a volume that is used as a device is used", spec: device,
			want: []Reference{{Kind: Secret, Name: "db", Use: UseMountCredential, Path: "spec.volumes[0].csi.nodePublishSecretRef.name"}},
		},
		{name: "iSCSI without CHAP does not read its Secret", spec: iscsi(false, false)},
		{name: "iSCSI with CHAP for discovery reads its Secret", spec: iscsi(true, false), want: viaISCSI},
		{name: "iSCSI with CHAP for the session reads its Secret", spec: iscsi(false, true), want: viaISCSI},
		{
			name: "a variable of a ConfigMap reads data alone",
			spec: env(corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local, Key: "user"}}),
			want: []Reference{{Kind: ConfigMap, Name: "db", DataOnly: true, Use: UseEnv, Path: "spec.containers[0].env[1].valueFrom.configMapKeyRef.name", Keys: []Key{
				{Name: "user", Path: "spec.containers[0].env[1].valueFrom.configMapKeyRef.key"},
			}}},
		},
		{
			name: "a file of a ConfigMap may come from binaryData",
			spec: volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local}}),
			want: []Reference{{Kind: ConfigMap, Name: "db", Use: UseVolume, Path: "spec.volumes[0].configMap.name"}},
		},
		{
			name: "a certificate is asked of its signer",
			spec: volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{SignerName: signer}}}}}),
			want: []Reference{{Kind: PodCertificate, SignerName: signer, Use: UseVolume, Path: "spec.volumes[0].projected.sources[0].podCertificate.signerName"}},
		},
		{
			name: "an empty name in the environment is a reference",
			spec: env(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "user", Optional: &yes}}),
			want: []Reference{{Kind: Secret, Optional: true, Use: UseEnv, Path: "spec.containers[0].env[1].valueFrom.secretKeyRef.name", Keys: []Key{
				{Name: "user", Path: "spec.containers[0].env[1].valueFrom.secretKeyRef.key"},
			}}},
		},
		{name: "an empty name of a volume's Secret is none", spec: volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}})},
		{name: "an empty name of a pull secret is none", spec: corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{}}}},
		{
			name: "a trust bundle by name",
			spec: bundle(corev1.ClusterTrustBundleProjection{Name: &name, Optional: &yes}),
			want: []Reference{{Kind: ClusterTrustBundle, Name: name, Optional: true, Use: UseVolume, Path: "spec.volumes[0].projected.sources[0].clusterTrustBundle.name"}},
		},
		{
			name: "trust bundles of a signer without a selector are none",
			spec: bundle(corev1.ClusterTrustBundleProjection{SignerName: &signer}),
			want: []Reference{{Kind: ClusterTrustBundle, SignerName: signer, Labels: NoLabels, Use: UseVolume, Path: "spec.volumes[0].projected.sources[0].clusterTrustBundle.signerName"}},
		},
		{
			name: "trust bundles of a signer with an empty selector are all",
			spec: bundle(corev1.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: &metav1.LabelSelector{}}),
			want: []Reference{{Kind: ClusterTrustBundle, SignerName: signer, Use: UseVolume, Path: "spec.volumes[0].projected.sources[0].clusterTrustBundle.signerName"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := OfPod("", &tt.spec); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, tt.want)
			}
		})
	}
}

func TestEveryUseHasAConsequenceOfItsOwnKind(t *testing.T) {
	for use := UseVolume; use <= UseAccount; use++ {
		if use.Consequence() == Use(0).Consequence() {
			t.Errorf("use %d has no consequence", use)
		}
	}
}

func TestRequired(t *testing.T) {
	tests := []struct {
		name      string
		reference Reference
		want      bool
	}{
		{name: "a Secret", reference: Reference{Name: "db"}, want: true},
		{name: "an optional one", reference: Reference{Name: "db", Optional: true}},
		{name: "an unused one", reference: Reference{Name: "db", Unused: true}},
		{name: "trust bundles of a signer", reference: Reference{SignerName: "s"}, want: true},
		{name: "optional trust bundles of a signer", reference: Reference{SignerName: "s", Optional: true}},
		{name: "one without a name, even if it is optional", reference: Reference{Optional: true}, want: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.reference.Required(); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
