package makers

import "tokenward.dev/tokenward/pkg/reference"

// platformRows are operators of everything else.
func platformRows() []Row {
	rows := []Row{
		{
			Group: "cluster.x-k8s.io", Kind: "Cluster", Makes: secrets(ownName+"-kubeconfig", ownName+"-ca", ownName+"-etcd", ownName+"-proxy", ownName+"-sa"),
			Source: "https://cluster-api.sigs.k8s.io/tasks/certs/using-custom-certificates",
		},
		{Group: "k8s.keycloak.org", Kind: "Keycloak", Makes: secrets(ownName + "-initial-admin"), Source: "https://www.keycloak.org/operator/basic-deployment"},
		{Group: "grafana.integreatly.org", Kind: "Grafana", Makes: secrets(ownName + "-admin-credentials"), Source: "https://grafana.github.io/grafana-operator/docs/grafana/"},
		{
			Group: "awx.ansible.com", Kind: "AWX", Makes: secrets(ownName+"-admin-password", ownName+"-postgres-configuration", ownName+"-secret-key", ownName+"-broadcast-websocket"),
			Source: "https://docs.ansible.com/projects/awx-operator/en/latest/user-guide/admin-user-account-configuration.html",
		},
		{
			Group: "argoproj.io", Kind: "ArgoCD", Makes: secrets(ownName+"-cluster", ownName+"-redis-initial-password", ownName+"-ca", ownName+"-tls", "argocd-secret"),
			Source: "https://argocd-operator.readthedocs.io/en/latest/reference/argocd/",
		},
		{Group: "servicecatalog.k8s.io", Kind: "ServiceBinding", Makes: secrets("{spec.secretName|metadata.name}"), Source: "https://github.com/kubernetes-retired/service-catalog"},
		{Group: "services.cloud.sap.com", Kind: "ServiceBinding", Makes: secrets("{spec.secretName|metadata.name}"), Source: "https://github.com/SAP/sap-btp-service-operator"},
		{
			Group: "*.azure.com", Kind: "*", Each: "spec.operatorSpec.secrets", Makes: secrets("{.value.name}"),
			Source: "https://azure.github.io/azure-service-operator/guide/secrets/",
		},
		{
			Group: "*.azure.com", Kind: "*", Each: "spec.operatorSpec.configMaps", Makes: configMaps("{.value.name}"),
			Source: "https://azure.github.io/azure-service-operator/guide/configmaps/",
		},
		{
			Group: "cloudcredential.openshift.io", Kind: "CredentialsRequest", Makes: []Made{{reference.Secret, "{spec.secretRef.name}", "{spec.secretRef.namespace}"}},
			Source: "https://github.com/openshift/cloud-credential-operator",
		},
		{Group: "hydra.ory.sh", Kind: "OAuth2Client", Makes: secrets("{spec.secretName}"), Source: "https://github.com/ory/hydra-maester"},
		{Group: "vault.banzaicloud.com", Kind: "Vault", Makes: secrets(ownName+"-unseal-keys", ownName+"-raw-config", ownName+"-tls"), Source: "https://bank-vaults.dev/docs/operator/"},
	}
	for kind, want := range map[reference.Kind]string{reference.Secret: "secret", reference.ConfigMap: "configmap"} {
		rows = append(rows, Row{
			Group: "services.k8s.aws", Kind: "FieldExport", When: []string{"spec.to.kind=" + want}, Makes: []Made{{kind, "{spec.to.name}", "{spec.to.namespace}"}},
			Source: "https://aws-controllers-k8s.github.io/community/docs/user-docs/field-export/",
		})
	}
	return rows
}

// programRows are programs that make Secrets when they run.
func programRows() []Row {
	const consul = "https://developer.hashicorp.com/consul/docs/reference/k8s/consul-k8s"
	return []Row{
		{
			Program: &Program{Image: "kube-webhook-certgen", Words: []string{"create"}}, Makes: []Made{{reference.Secret, "{--secret-name}", "{--namespace}"}},
			Source: "https://github.com/kubernetes/ingress-nginx/tree/main/images/kube-webhook-certgen",
		},
		{
			Program: &Program{Words: []string{"argocd", "admin", "redis-initial-password"}}, Makes: secrets("argocd-redis"),
			Source: "https://argo-cd.readthedocs.io/en/stable/user-guide/commands/argocd_admin_redis-initial-password/",
		},
		{
			Program: &Program{Words: []string{"contour", "certgen", "--kube"}}, When: []string{"!--name-prefix"}, Makes: inNamespace("{--namespace}", secrets("contourcert", "envoycert")),
			Source: "https://projectcontour.io/docs/main/grpc-tls-howto/",
		},
		{
			Program: &Program{Words: []string{"contour", "certgen", "--kube"}}, Makes: inNamespace("{--namespace}", secrets("{--name-prefix}-contourcert", "{--name-prefix}-envoycert")),
			Source: "https://projectcontour.io/docs/main/grpc-tls-howto/",
		},
		{
			Program: &Program{Image: "envoyproxy/gateway", Words: []string{"certgen"}}, Makes: secrets("envoy-gateway", "envoy", "envoy-rate-limit", "envoy-oidc-hmac"),
			Source: "https://gateway.envoyproxy.io/docs/install/custom-cert/",
		},
		{
			Program: &Program{Words: []string{"gen-admission-secret.sh"}}, Makes: []Made{{reference.Secret, "{--secret}", "{--namespace}"}},
			Source: "https://github.com/volcano-sh/volcano/blob/master/installer/dockerfile/webhook-manager/gen-admission-secret.sh",
		},
		{
			Program: &Program{Words: []string{"consul-k8s-control-plane", "tls-init"}}, Makes: secrets("{--name-prefix}-ca-cert", "{--name-prefix}-ca-key", "{--name-prefix}-server-cert"),
			Source: consul,
		},
		{Program: &Program{Words: []string{"consul-k8s-control-plane", "gossip-encryption-autogenerate"}}, Makes: secrets("{--secret-name}"), Source: consul},
		{
			Program: &Program{Words: []string{"consul-k8s-control-plane", "server-acl-init"}}, Makes: secrets("{--resource-prefix}-bootstrap-acl-token"),
			Source: consul,
		},
		{
			Program: &Program{}, When: []string{"$METALLB_ML_SECRET_NAME"}, Makes: secrets("{$METALLB_ML_SECRET_NAME}"),
			Source: "https://metallb.io/release-notes/",
		},
		{
			Program: &Program{Image: "cockroach-self-signer-cert", Words: []string{"generate"}}, When: []string{"$STATEFULSET_NAME"},
			Makes:  secrets("{$STATEFULSET_NAME}-ca-secret", "{$STATEFULSET_NAME}-node-secret", "{$STATEFULSET_NAME}-client-secret"),
			Source: "https://github.com/cockroachdb/helm-charts",
		},
		{
			Program: &Program{Image: "pilot", Words: []string{"discovery"}}, Makes: inNamespace("*", configMaps("istio-ca-root-cert")),
			Source: "https://istio.io/latest/docs/ops/configuration/security/",
		},
	}
}

// alwaysRows are there wherever a cluster is what it looks like.
func alwaysRows() []Row {
	return []Row{
		{
			By: "the API server", Makes: inNamespace("kube-system", configMaps("extension-apiserver-authentication")),
			Source: "https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/",
		},
		{
			By: "kubeadm", Likely: true, Makes: append(inNamespace("kube-public", configMaps("cluster-info")), inNamespace("kube-system", configMaps("kubeadm-config", "kubelet-config", "kube-proxy", "coredns"))...),
			Source: "https://kubernetes.io/docs/reference/setup-tools/kubeadm/implementation-details/",
		},
		{By: "Amazon EKS", Likely: true, Makes: inNamespace("kube-system", configMaps("aws-auth", "amazon-vpc-cni")), Source: "https://docs.aws.amazon.com/eks/latest/userguide/auth-configmap.html"},
		{By: "Istio, in each namespace", Likely: true, Makes: inNamespace("*", configMaps("istio-ca-root-cert")), Source: "https://istio.io/latest/docs/ops/configuration/security/"},
		{
			By: "OpenShift, in each namespace", Likely: true, Makes: inNamespace("*", configMaps("openshift-service-ca.crt")),
			Source: "https://docs.redhat.com/en/documentation/openshift_container_platform/4.18/html/security_and_compliance/configuring-certificates",
		},
	}
}
