package program

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/workload"
)

// Keys are the flags about how tokens are verified. They have the names that
// kube-apiserver uses.
type Keys struct {
	// Files with keys: PEM or JWKS.
	Files   []string
	Issuers []string
	// Partial is set if the API server accepts more keys than it publishes.
	Partial bool
}

// AddFlags adds the flags to a set.
func (k *Keys) AddFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&k.Files, "service-account-key-file", k.Files, "keys that tokens are verified by, beside those that the API server publishes: PEM or JWKS (repeatable)")
	f.StringArrayVar(&k.Issuers, "service-account-issuer", k.Issuers, "an issuer that the API server accepts beside the one that it publishes (repeatable)")
	f.BoolVar(&k.Partial, "signing-keys-partial", k.Partial, "the API server accepts more keys than it publishes: a token of an unknown key is unknown, not dead")
}

// Read reads the keys in the files.
func (k *Keys) Read() ([]token.Key, error) { return ReadKeys("service-account-key-file", k.Files...) }

// ReadKeys reads keys from the files of a flag: PEM or JWKS.
func ReadKeys(flag string, files ...string) ([]token.Key, error) {
	var keys []token.Key
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		more, err := token.ParseKeys(data)
		if err != nil {
			return nil, fmt.Errorf("--%s: %s: %w", flag, file, err)
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// WorkloadResources is the flag for more resources with a pod template.
type WorkloadResources []string

// AddFlag adds the flag to a set.
func (w *WorkloadResources) AddFlag(f *pflag.FlagSet) {
	f.StringArrayVar((*[]string)(w), "workload-resource", *w,
		"another `resource` with a pod template that is judged, too, such as argoproj.io/v1alpha1/rollouts=spec.template (repeatable)")
}

// Templates returns where pod templates are: those of Kubernetes, and those of
// the flag.
func (w WorkloadResources) Templates() (workload.Templates, error) {
	templates := workload.BuiltinTemplates()
	for _, text := range w {
		resource, path, err := workload.ParseResource(text)
		if err == nil {
			templates, err = templates.With(resource, path)
		}
		if err != nil {
			return templates, fmt.Errorf("--workload-resource: %q: %w", text, err)
		}
	}
	return templates, nil
}
