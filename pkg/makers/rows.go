package makers

import (
	"slices"

	"tokenward.dev/tokenward/pkg/reference"
)

// Rows returns the built-in table.
func Rows() []Row {
	return slices.Concat(
		syncRows(), operatorRows(), generatorRows(), certificateRows(), databaseRows(), storeRows(), platformRows(),
		annotationRows(), copyRows(), programRows(), alwaysRows(),
	)
}

// secrets are Secrets beside the object that is read.
func secrets(names ...string) []Made { return made(reference.Secret, names) }

func configMaps(names ...string) []Made { return made(reference.ConfigMap, names) }

func made(kind reference.Kind, names []string) []Made {
	all := make([]Made, len(names))
	for i, name := range names {
		all[i] = Made{Kind: kind, Name: name}
	}
	return all
}

// inNamespace has the same in another namespace; "*" is all.
func inNamespace(namespace string, all []Made) []Made {
	for i := range all {
		all[i].Namespace = namespace
	}
	return all
}

const ownName = "{metadata.name}"

// syncRows bring Secrets from elsewhere: vaults, generators, encrypted files.
func syncRows() []Row {
	const eso = "https://external-secrets.io/latest/api/externalsecret/"
	return []Row{
		{
			Group: "external-secrets.io", Kind: "ExternalSecret", When: []string{"spec.target.creationPolicy!=None", "spec.target.creationPolicy!=Merge"},
			Makes: secrets("{spec.target.name|metadata.name}"), Source: eso,
		},
		{
			Group: "external-secrets.io", Kind: "ExternalSecret", When: []string{"spec.target.creationPolicy=Merge"},
			Makes: secrets("{spec.target.name|metadata.name}"), Fills: true, Source: eso,
		},
		{
			Group: "external-secrets.io", Kind: "ClusterExternalSecret", Each: "spec.namespaces",
			When:   []string{"spec.externalSecretSpec.target.creationPolicy!=None", "spec.externalSecretSpec.target.creationPolicy!=Merge"},
			Makes:  inNamespace("{.}", secrets("{spec.externalSecretSpec.target.name|spec.externalSecretName|metadata.name}")),
			Source: "https://external-secrets.io/latest/api/clusterexternalsecret/",
		},
		{
			Group: "external-secrets.io", Kind: "ClusterExternalSecret",
			When: []string{
				"spec.namespaceSelector|spec.namespaceSelectors",
				"spec.externalSecretSpec.target.creationPolicy!=None", "spec.externalSecretSpec.target.creationPolicy!=Merge",
			},
			Makes:  inNamespace("*", secrets("{spec.externalSecretSpec.target.name|spec.externalSecretName|metadata.name}")),
			Source: "https://external-secrets.io/latest/api/clusterexternalsecret/",
		},
	}
}

// operatorRows copy from vaults, each by a kind of its own.
func operatorRows() []Row {
	const infisical = "https://infisical.com/docs/integrations/platforms/kubernetes/infisical-secret-crd"
	return []Row{
		{Group: "kubernetes-client.io", Kind: "ExternalSecret", Makes: secrets(ownName), Source: "https://github.com/external-secrets/kubernetes-external-secrets"},
		// The Secret has the SealedSecret's own name, whatever its template says
		// (github.com/bitnami-labs/sealed-secrets, sealedsecret_expansion.go).
		{Group: "bitnami.com", Kind: "SealedSecret", Makes: secrets(ownName), Source: "https://github.com/bitnami-labs/sealed-secrets"},
		{Group: "onepassword.com", Kind: "OnePasswordItem", Makes: secrets(ownName), Source: "https://developer.1password.com/docs/k8s/operator/"},
		{
			Group: "secrets.infisical.com", Kind: "InfisicalSecret", When: []string{"spec.managedSecretReference"},
			Makes:  []Made{{reference.Secret, "{spec.managedSecretReference.secretName}", "{spec.managedSecretReference.secretNamespace}"}},
			Source: infisical,
		},
		{
			Group: "secrets.infisical.com", Kind: "InfisicalSecret", Each: "spec.managedKubeSecretReferences",
			Makes:  []Made{{reference.Secret, "{.secretName}", "{.secretNamespace}"}},
			Source: infisical,
		},
		{
			Group: "secrets.infisical.com", Kind: "InfisicalSecret", Each: "spec.managedKubeConfigMapReferences",
			Makes:  []Made{{reference.ConfigMap, "{.configMapName}", "{.configMapNamespace}"}},
			Source: infisical,
		},
		{
			Group: "secrets.doppler.com", Kind: "DopplerSecret",
			Makes:  []Made{{reference.Secret, "{spec.managedSecret.name}", "{spec.managedSecret.namespace}"}},
			Source: "https://docs.doppler.com/docs/kubernetes-operator",
		},
		{Group: "isindir.github.com", Kind: "SopsSecret", Each: "spec.secretTemplates", Makes: secrets("{.name}"), Source: "https://github.com/isindir/sops-secrets-operator"},
		{Group: "isindir.github.com", Kind: "SopsSecret", Each: "spec.secret_templates", Makes: secrets("{.name}"), Source: "https://github.com/isindir/sops-secrets-operator"},
		{Group: "craftypath.github.io", Kind: "SopsSecret", Makes: secrets(ownName), Source: "https://github.com/craftypath/sops-operator"},
		{Group: "ricoberger.de", Kind: "VaultSecret", Makes: secrets(ownName), Source: "https://github.com/ricoberger/vault-secrets-operator"},
		{Group: "redhatcop.redhat.io", Kind: "VaultSecret", Makes: secrets("{spec.output.name}"), Source: "https://github.com/redhat-cop/vault-config-operator"},
		{Group: "k8s.bitwarden.com", Kind: "BitwardenSecret", Makes: secrets("{spec.secretName}"), Source: "https://bitwarden.com/help/secrets-manager-kubernetes-operator/"},
		{
			Group: "lerentis.uploadfilter24.eu", Kind: "BitwardenSecret", Makes: []Made{{reference.Secret, "{spec.name}", "{spec.namespace}"}},
			Source: "https://github.com/Lerentis/bitwarden-crd-operator",
		},
		{Group: "spv.no", Kind: "AzureKeyVaultSecret", Makes: append(secrets("{spec.output.secret.name}"), configMaps("{spec.output.configMap.name}")...), Source: "https://akv2k8s.io/reference/azure-key-vault-secret/"},
		{Group: "secret-sync.x-k8s.io", Kind: "SecretSync", Makes: secrets(ownName), Source: "https://github.com/kubernetes-sigs/secrets-store-sync-controller"},
	}
}

// generatorRows are families of kinds of which all make a Secret alike.
func generatorRows() []Row {
	const vault = "https://developer.hashicorp.com/vault/docs/deploy/kubernetes/vso/api-reference"
	var rows []Row
	for _, kind := range []string{"VaultStaticSecret", "VaultDynamicSecret", "VaultPKISecret", "HCPVaultSecretsApp"} {
		rows = append(rows, Row{
			Group: "secrets.hashicorp.com", Kind: kind, When: []string{"spec.destination.create=true"}, Makes: secrets("{spec.destination.name}"), Source: vault,
		}, Row{
			Group: "secrets.hashicorp.com", Kind: kind, When: []string{"spec.destination.create!=true"}, Makes: secrets("{spec.destination.name}"), Fills: true, Source: vault,
		})
	}
	for group, kinds := range map[string][]string{
		"secretgenerator.mittwald.de": {"StringSecret", "BasicAuth", "SSHKeyPair"},
		"secretgen.k14s.io":           {"Password", "Certificate", "RSAKey", "SSHKey"},
		"secretgen.carvel.dev":        {"SecretImport", "SecretTemplate"},
	} {
		for _, kind := range kinds {
			source := "https://github.com/mittwald/kubernetes-secret-generator"
			if group != "secretgenerator.mittwald.de" {
				source = "https://carvel.dev/secretgen-controller/docs"
			}
			rows = append(rows, Row{Group: group, Kind: kind, Makes: secrets("{spec.secretTemplate.metadata.name|metadata.name}"), Source: source})
		}
	}
	return rows
}
