package program

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// file writes a file and returns its path.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func publicKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestKeysComeFromAllFiles(t *testing.T) {
	var k Keys
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	k.AddFlags(set)
	both := publicKey(t) + publicKey(t)
	if err := set.Parse([]string{"--service-account-key-file", file(t, publicKey(t)), "--service-account-key-file", file(t, both), "--signing-keys-partial"}); err != nil {
		t.Fatal(err)
	}
	keys, err := k.Read()
	if err != nil || len(keys) != 3 || !k.Partial {
		t.Errorf("%d keys, partial %v, %v", len(keys), k.Partial, err)
	}
}

func TestAnErrorNamesFlagAndFile(t *testing.T) {
	none, missing := file(t, "x"), filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		name string
		read func() error
		want []string
	}{
		{"a file that is not there", func() error { _, err := ReadKeys("key-file", missing); return err }, []string{"--key-file: ", missing}},
		{"a file without a key", func() error { _, err := ReadKeys("jwks", none); return err }, []string{"--jwks: " + none + ": keys: neither"}},
		{"a resource that can't be read", func() error { _, err := WorkloadResources{"x"}.Templates(); return err }, []string{`--workload-resource: "x": `}},
	} {
		err := tt.read()
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", tt.name, err, want)
			}
		}
	}
}

func TestTemplatesAreThoseOfKubernetesAndOfTheFlag(t *testing.T) {
	builtin, err := WorkloadResources(nil).Templates()
	if err != nil {
		t.Fatal(err)
	}
	more, err := WorkloadResources{"argoproj.io/v1alpha1/rollouts=spec.template"}.Templates()
	if err != nil || len(more.Kinds())+len(more.Resources()) <= len(builtin.Kinds())+len(builtin.Resources()) {
		t.Errorf("%v, %v", more, err)
	}
}
