package makers

import "tokenward.dev/tokenward/pkg/reference"

// The annotations by which cert-manager makes certificates of its own accord.
const byIssuer = "metadata.annotations[cert-manager.io/issuer]|metadata.annotations[cert-manager.io/cluster-issuer]"

// certificateRows make certificates and bundles of them.
func certificateRows() []Row {
	const trust = "https://cert-manager.io/docs/trust/trust-manager/"
	rows := []Row{
		{Group: "cert-manager.io", Kind: "Certificate", Makes: secrets("{spec.secretName}"), Source: "https://cert-manager.io/docs/usage/certificate/"},
		{Group: "cert-manager.io", Kind: "Issuer", Makes: secrets("{spec.acme.privateKeySecretRef.name}"), Source: "https://cert-manager.io/docs/configuration/acme/"},
		{
			// In the cluster resource namespace, which is a flag of the controller.
			Group: "cert-manager.io", Kind: "ClusterIssuer", Makes: inNamespace("cert-manager", secrets("{spec.acme.privateKeySecretRef.name}")), Likely: true,
			Source: "https://cert-manager.io/docs/configuration/acme/",
		},
		{Group: "networking.k8s.io", Kind: "Ingress", Each: "spec.tls", When: []string{byIssuer}, Makes: secrets("{.secretName}"), Source: "https://cert-manager.io/docs/usage/ingress/"},
		{
			Group: "networking.k8s.io", Kind: "Ingress", Each: "spec.tls", When: []string{"metadata.annotations[kubernetes.io/tls-acme]=true"},
			Makes: secrets("{.secretName}"), Source: "https://cert-manager.io/docs/usage/ingress/",
		},
		{
			Group: "gateway.networking.k8s.io", Kind: "Gateway", Each: "spec.listeners[].tls.certificateRefs[]", When: []string{byIssuer},
			Makes: []Made{{reference.Secret, "{.name}", "{.namespace}"}}, Source: "https://cert-manager.io/docs/usage/gateway/",
		},
	}
	for kind, group := range map[string]string{"Bundle": "trust.cert-manager.io", "ClusterBundle": "trust-manager.io"} {
		rows = append(
			rows,
			Row{Group: group, Kind: kind, When: []string{"spec.target.configMap"}, Makes: inNamespace("*", configMaps(ownName)), Source: trust},
			Row{Group: group, Kind: kind, When: []string{"spec.target.secret"}, Makes: inNamespace("*", secrets(ownName)), Source: trust},
		)
	}
	return rows
}

// annotationRows make something of objects of many kinds.
func annotationRows() []Row {
	const serving = "https://docs.redhat.com/en/documentation/openshift_container_platform/4.18/html/security_and_compliance/configuring-certificates#add-service-serving"
	return []Row{
		{Group: "", Kind: "Service", Makes: secrets("{metadata.annotations[service.beta.openshift.io/serving-cert-secret-name]}"), Source: serving},
		{Group: "", Kind: "Service", Makes: secrets("{metadata.annotations[service.alpha.openshift.io/serving-cert-secret-name]}"), Source: serving},
		{
			Group: "", Kind: "ConfigMap", When: []string{"metadata.annotations[service.beta.openshift.io/inject-cabundle]=true"}, Makes: configMaps(ownName), Fills: true,
			Source: serving,
		},
		{
			Group: "", Kind: "ConfigMap", When: []string{"metadata.labels[config.openshift.io/inject-trusted-cabundle]=true"}, Makes: configMaps(ownName), Fills: true,
			Source: "https://docs.redhat.com/en/documentation/openshift_container_platform/4.18/html/networking_operators/configuring-a-custom-pki",
		},
		{
			Group: "", Kind: "Secret", When: []string{"metadata.annotations[secret-generator.v1.mittwald.de/autogenerate]|metadata.annotations[secret-generator.v1.mittwald.de/type]"},
			Makes: secrets(ownName), Fills: true, Source: "https://github.com/mittwald/kubernetes-secret-generator",
		},
		{
			Group: "*", Kind: "*", When: []string{"spec.writeConnectionSecretToRef.name"},
			Makes:  []Made{{reference.Secret, "{spec.writeConnectionSecretToRef.name}", "{spec.writeConnectionSecretToRef.namespace}"}},
			Source: "https://docs.crossplane.io/latest/managed-resources/managed-resources/#writeconnectionsecrettoref",
		},
	}
}

// copyRows copy Secrets and ConfigMaps to other namespaces.
func copyRows() []Row {
	const replicator = "https://github.com/mittwald/kubernetes-replicator"
	const reflector = "https://github.com/emberstack/kubernetes-reflector"
	var rows []Row
	for _, kind := range []reference.Kind{reference.Secret, reference.ConfigMap} {
		own := made(kind, []string{ownName})
		rows = append(
			rows,
			Row{
				Kind: string(kind), When: []string{"metadata.annotations[replicator.v1.mittwald.de/replicate-from]|metadata.annotations[reflector.v1.k8s.emberstack.com/reflects]"},
				Makes: own, Fills: true, Source: replicator,
			},
			// A name may be a regular expression: then it stands for any.
			Row{
				Kind: string(kind), Each: "metadata.annotations[replicator.v1.mittwald.de/replicate-to]",
				Makes: []Made{{kind, ownName, "{.}"}}, Source: replicator,
			},
			Row{
				Kind: string(kind), When: []string{"metadata.annotations[replicator.v1.mittwald.de/replicate-to]|metadata.annotations[replicator.v1.mittwald.de/replicate-to-matching]"},
				Makes: []Made{{kind, ownName, "*"}}, Likely: true, Source: replicator,
			},
			Row{
				Kind: string(kind), When: []string{"metadata.annotations[reflector.v1.k8s.emberstack.com/reflection-auto-enabled]=true"},
				Each:  "metadata.annotations[reflector.v1.k8s.emberstack.com/reflection-auto-namespaces]",
				Makes: []Made{{kind, ownName, "{.}"}}, Source: reflector,
			},
			Row{
				Kind: string(kind), When: []string{"metadata.annotations[reflector.v1.k8s.emberstack.com/reflection-auto-enabled]=true"},
				Makes: []Made{{kind, ownName, "*"}}, Likely: true, Source: reflector,
			},
			Row{
				Kind: string(kind), When: []string{"metadata.annotations[kubed.appscode.com/sync]"},
				Makes: []Made{{kind, ownName, "*"}}, Likely: true, Source: "https://config-syncer.com/docs/latest/guides/config-syncer/intra-cluster/",
			},
			Row{
				Group: "kyverno.io", Kind: "ClusterPolicy", Each: "spec.rules", When: []string{".generate.kind=" + string(kind)},
				Makes: []Made{{kind, "{.generate.name}", "*"}}, Likely: true, Source: "https://kyverno.io/docs/policy-types/cluster-policy/generate/",
			},
		)
	}
	return rows
}
