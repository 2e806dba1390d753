package manifest

import (
	"encoding/json"
	"fmt"
	"strings"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// product is an object that a controller makes.
type product struct {
	kind reference.Kind
	name string
	// everywhere is set where it is made in namespaces that labels select.
	everywhere bool
	// namespaces are those that it is made in; that of its maker if there is none.
	namespaces []string
}

// provider is a kind whose controller makes Secrets or ConfigMaps. Its version
// does not matter: what is looked at has been the same in all of them.
type provider struct {
	group, kind string
	products    func(in *content) ([]product, error)
}

// providers is the table of docs/check.md. A kind belongs here if the name of what
// it makes stands in the object itself.
func providers() []provider {
	return []provider{
		{"external-secrets.io", "ExternalSecret", externalSecret},
		{"external-secrets.io", "ClusterExternalSecret", clusterExternalSecret},
		// The controller takes the SealedSecret's own name, whatever its template says
		// (github.com/bitnami-labs/sealed-secrets, sealedsecret_expansion.go).
		{"bitnami.com", "SealedSecret", sameName},
		{"cert-manager.io", "Certificate", certificate},
		{"trust.cert-manager.io", "Bundle", bundle},
		{"trust-manager.io", "ClusterBundle", bundle},
		{"secrets.hashicorp.com", "VaultStaticSecret", vaultSecret},
		{"secrets.hashicorp.com", "VaultDynamicSecret", vaultSecret},
		{"secrets.hashicorp.com", "VaultPKISecret", vaultSecret},
		{"onepassword.com", "OnePasswordItem", sameName},
		{"networking.k8s.io", "Ingress", certificatesOfIngress},
	}
}

// provide notes what the object's controller will make.
func (c *Cluster) provide(in *content) error {
	group, _, _ := strings.Cut(in.APIVersion, "/")
	for _, p := range providers() {
		if p.kind != in.Kind || p.group != group {
			continue
		}
		made, err := p.products(in)
		if err != nil {
			return err
		}
		by := in.Kind + " " + in.Metadata.Name
		for _, m := range made {
			namespaces := m.namespaces
			if m.everywhere {
				namespaces = []string{""}
			} else if len(namespaces) == 0 {
				namespaces = []string{c.namespaceOf(in)}
				by = in.Kind + " " + namespaces[0] + "/" + in.Metadata.Name
			}
			for _, namespace := range namespaces {
				if c.provided == nil {
					c.provided = map[facts.Object]string{}
				}
				c.provided[facts.Object{Kind: m.kind, Namespace: namespace, Name: m.name}] = by
			}
		}
	}
	return nil
}

// provider names what will make an object, or returns "".
func (c *Cluster) provider(o facts.Object) string {
	if by := c.provided[o]; by != "" {
		return by
	}
	return c.provided[facts.Object{Kind: o.Kind, Name: o.Name}]
}

func unknownKeys(keys []string) map[string]facts.State {
	states := make(map[string]facts.State, len(keys))
	for _, k := range keys {
		states[k] = facts.Unknown
	}
	return states
}

func secretNamed(name string) []product {
	if name == "" {
		return nil
	}
	return []product{{kind: reference.Secret, name: name}}
}

// sameName makes a Secret of the object's own name.
func sameName(in *content) ([]product, error) { return secretNamed(in.Metadata.Name), nil }

func certificate(in *content) ([]product, error) {
	var spec struct {
		SecretName string `json:"secretName"`
	}
	if err := json.Unmarshal(orNull(in.Spec), &spec); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	return secretNamed(spec.SecretName), nil
}

// externalTarget is what an ExternalSecret says of its Secret.
type externalTarget struct {
	Target struct {
		Name           string `json:"name"`
		CreationPolicy string `json:"creationPolicy"`
	} `json:"target"`
}

// made returns the Secret: None makes none, and Merge wants one that is there.
func (t *externalTarget) made(otherwise string) string {
	switch {
	case t.Target.CreationPolicy == "None" || t.Target.CreationPolicy == "Merge":
		return ""
	case t.Target.Name != "":
		return t.Target.Name
	}
	return otherwise
}

func externalSecret(in *content) ([]product, error) {
	var spec externalTarget
	if err := json.Unmarshal(orNull(in.Spec), &spec); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	return secretNamed(spec.made(in.Metadata.Name)), nil
}

// clusterExternalSecret makes an ExternalSecret in each namespace that it selects.
func clusterExternalSecret(in *content) ([]product, error) {
	var spec struct {
		Name       string            `json:"externalSecretName"`
		Spec       externalTarget    `json:"externalSecretSpec"`
		Namespaces []string          `json:"namespaces"`
		Selector   json.RawMessage   `json:"namespaceSelector"`
		Selectors  []json.RawMessage `json:"namespaceSelectors"`
	}
	if err := json.Unmarshal(orNull(in.Spec), &spec); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	if spec.Name == "" {
		spec.Name = in.Metadata.Name
	}
	made := secretNamed(spec.Spec.made(spec.Name))
	for i := range made {
		made[i].namespaces = spec.Namespaces
		made[i].everywhere = len(spec.Selector) > 0 || len(spec.Selectors) > 0
	}
	return made, nil
}

// bundle makes what its target asks for, under its own name, in the namespaces
// that it selects (https://cert-manager.io/docs/trust/trust-manager/).
func bundle(in *content) ([]product, error) {
	var spec struct {
		Target struct {
			ConfigMap *struct{} `json:"configMap"`
			Secret    *struct{} `json:"secret"`
		} `json:"target"`
	}
	if err := json.Unmarshal(orNull(in.Spec), &spec); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	var made []product
	if spec.Target.ConfigMap != nil {
		made = append(made, product{kind: reference.ConfigMap, name: in.Metadata.Name, everywhere: true})
	}
	if spec.Target.Secret != nil {
		made = append(made, product{kind: reference.Secret, name: in.Metadata.Name, everywhere: true})
	}
	return made, nil
}

// vaultSecret makes its destination where it is told to; otherwise that must be
// there.
func vaultSecret(in *content) ([]product, error) {
	var spec struct {
		Destination struct {
			Name   string `json:"name"`
			Create bool   `json:"create"`
		} `json:"destination"`
	}
	if err := json.Unmarshal(orNull(in.Spec), &spec); err != nil || !spec.Destination.Create {
		return nil, err
	}
	return secretNamed(spec.Destination.Name), nil
}

// certificatesOfIngress are those that cert-manager makes for an annotated Ingress
// (https://cert-manager.io/docs/usage/ingress/).
func certificatesOfIngress(in *content) ([]product, error) {
	marks := in.Metadata.Annotations
	if marks["cert-manager.io/issuer"] == "" && marks["cert-manager.io/cluster-issuer"] == "" && marks["kubernetes.io/tls-acme"] != "true" {
		return nil, nil
	}
	var spec struct {
		TLS []struct {
			SecretName string `json:"secretName"`
		} `json:"tls"`
	}
	if err := json.Unmarshal(orNull(in.Spec), &spec); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	var made []product
	for _, t := range spec.TLS {
		made = append(made, secretNamed(t.SecretName)...)
	}
	return made, nil
}
