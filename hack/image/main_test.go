package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const testVersion = "v1.2.3-test"

// webhook builds the program for this machine as "make image" does.
func webhook(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "webhook")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -X tokenward.dev/tokenward/pkg/version.version="+testVersion, "-o", path, "./cmd/webhook")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func writeArchive(t *testing.T, binaries ...string) (path, printed string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "image.tar")
	var out bytes.Buffer
	if err := run(append([]string{"--out", path, "--version", testVersion, "--revision", "abc"}, binaries...), &out); err != nil {
		t.Fatal(err)
	}
	return path, out.String()
}

func TestTheSameBinariesGiveTheSameArchive(t *testing.T) {
	var sums [2][sha256.Size]byte
	for i := range sums {
		binary := filepath.Join(t.TempDir(), "webhook")
		if err := os.WriteFile(binary, []byte("program"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(binary, time.Time{}, time.Unix(int64(i)*1e6, 0)); err != nil {
			t.Fatal(err)
		}
		path, _ := writeArchive(t, "linux/amd64="+binary, "linux/arm64="+binary)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(content)
	}
	if sums[0] != sums[1] {
		t.Error("two archives of the same binaries differ")
	}
}

// A tool that copies an index to a registry writes it anew if it has fields that
// the tool does not know. So the index has none but those from before version 1.1
// of the specification, and the digest that is printed is that of the copy, too.
func TestACopyOfTheIndexHasTheDigestThatIsPrinted(t *testing.T) {
	type descriptor struct {
		MediaType   string            `json:"mediaType,omitempty"`
		Size        int64             `json:"size"`
		Digest      string            `json:"digest,omitempty"`
		URLs        []string          `json:"urls,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
		Platform    *struct {
			Architecture string `json:"architecture"`
			OS           string `json:"os"`
			Variant      string `json:"variant,omitempty"`
		} `json:"platform,omitempty"`
	}
	var index struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType,omitempty"`
		Manifests     []descriptor      `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}
	binary := filepath.Join(t.TempDir(), "webhook")
	if err := os.WriteFile(binary, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	path, printed := writeArchive(t, "linux/amd64="+binary, "linux/arm64/v8="+binary)
	dir := t.TempDir()
	unpack(t, path, dir)
	digest, _, _ := strings.Cut(printed, " ")
	raw, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	copied, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(copied)); sum != digest {
		t.Errorf("the copy is %s, printed was %s:\n%s\n%s", sum, digest, copied, raw)
	}
}

func TestTheImageIsValidAndItsProgramRuns(t *testing.T) {
	platform := "linux/" + runtime.GOARCH
	path, printed := writeArchive(t, platform+"="+webhook(t))
	dir := t.TempDir()
	unpack(t, path, dir)
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil {
		t.Error(err)
	}
	outer, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := outer.Manifests[0].Annotations["io.containerd.image.name"]; got != "docker.io/library/tokenward:"+testVersion {
		t.Errorf("name: %q", got)
	}
	if digest := outer.Manifests[0].Digest.String(); !strings.HasPrefix(printed, digest+" ") {
		t.Errorf("digest %s, printed: %s", digest, printed)
	}
	index, err := top.ImageIndex(outer.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := inner.Manifests[0].Platform.String(); len(inner.Manifests) != 1 || got != platform {
		t.Fatalf("platforms: %d, %s", len(inner.Manifests), got)
	}
	image, err := index.Image(inner.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	checkConfig(t, image)
	program := checkFiles(t, image)
	for flag, want := range map[string]string{"--help": "--cert-dir", "--version": testVersion} {
		out, err := exec.Command(program, flag).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s", flag, err, out)
		}
	}
}

func checkConfig(t *testing.T, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/webhook" {
		t.Errorf("user %q, entrypoint %q", config.Config.User, config.Config.Entrypoint)
	}
	if config.OS != "linux" || config.Architecture != runtime.GOARCH || !config.Created.IsZero() {
		t.Errorf("%s/%s, created %s", config.OS, config.Architecture, config.Created)
	}
	for label, want := range map[string]string{"version": testVersion, "revision": "abc", "licenses": "Apache-2.0"} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s: %q", label, got)
		}
	}
}

// checkFiles unpacks the one file that is in the image, and returns its path.
func checkFiles(t *testing.T, image v1.Image) string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers: %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	files := tar.NewReader(content)
	header, err := files.Next()
	if err != nil {
		t.Fatal(err)
	}
	if header.Name != "webhook" || header.Mode != 0o755 || header.Uid != 0 {
		t.Errorf("%s, mode %o, owner %d", header.Name, header.Mode, header.Uid)
	}
	program := filepath.Join(t.TempDir(), "webhook")
	data, err := io.ReadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("a second file: %v", err)
	}
	return program
}

func unpack(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	files := tar.NewReader(f)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, header.Name)
		data, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
