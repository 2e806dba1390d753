// Command image writes the container image of the webhook as an OCI archive, from
// binaries that are built already: without a daemon, a registry or a base image.
// The same binaries give the same archive, bit by bit. It is a Go module of its
// own, so that its libraries are not the webhook's.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is the one of distroless images. It is a number: a kubelet can't know
// whether a name stands for root.
const user = "65532:65532"

// entrypoint is the only file in the image. CA certificates are not needed: the
// webhook calls nobody but the API server, and takes its CA from the account or the
// kubeconfig. Nor are time zones, since all times are in UTC, nor /etc/passwd, since
// no user is looked up.
const entrypoint = "webhook"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// settings are what the image is built from.
type settings struct {
	version, revision string
	binaries          []binary
}

// binary is the webhook for one platform.
type binary struct{ platform, path string }

func run(args []string, stdout io.Writer) error {
	var s settings
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	out := flags.String("out", "", "archive to write")
	flags.StringVar(&s.version, "version", "", "version of the webhook; also the tag")
	flags.StringVar(&s.revision, "revision", "", "commit that it was built from")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || s.version == "" || flags.NArg() == 0 {
		return errors.New("usage: image --out FILE --version V [--revision COMMIT] OS/ARCH=BINARY...")
	}
	var platforms []string
	for _, arg := range flags.Args() {
		platform, path, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not OS/ARCH=BINARY", arg)
		}
		s.binaries = append(s.binaries, binary{platform, path})
		platforms = append(platforms, platform)
	}
	index, err := build(s)
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if err := write(*out, index, s.version); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s  tokenward:%s (%s)\n", digest, s.version, strings.Join(platforms, ", "))
	return err
}

// build makes one image a platform, and the index over them.
func build(s settings) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range s.binaries {
		platform, err := v1.ParsePlatform(b.platform)
		if err != nil {
			return nil, err
		}
		image, err := buildImage(s, *platform, b.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: plainImage{image}, Descriptor: v1.Descriptor{Platform: platform}})
	}
	return index, nil
}

// plainImage is an image whose descriptor in an index has no artifactType. The
// specification has that field for artifacts that are no images; tools that copy
// an index leave it out, and the copy would have another digest than was printed.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
type plainImage struct{ v1.Image }

// ArtifactType is what the index asks for.
func (plainImage) ArtifactType() (string, error) { return "", nil }

// buildImage makes the image for one platform.
func buildImage(s settings, platform v1.Platform, path string) (v1.Image, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	files, err := archive([]file{{entrypoint, program, 0o755}})
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "make image"}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Config.User = user
	config.Config.Entrypoint = []string{"/" + entrypoint}
	config.Config.Labels = map[string]string{
		"org.opencontainers.image.title":       "tokenward",
		"org.opencontainers.image.description": "Admission webhook that verifies the tokens and Secrets that pods depend on",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     s.version,
	}
	if s.revision != "" {
		config.Config.Labels["org.opencontainers.image.revision"] = s.revision
	}
	return mutate.ConfigFile(image, config)
}

// write puts an OCI layout with the index into a tar file.
func write(out string, index v1.ImageIndex, tag string) error {
	dir, err := os.MkdirTemp("", "tokenward-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// containerd and Docker take the name from the first annotation, other tools
	// the tag from the second.
	top := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: index,
		Descriptor: v1.Descriptor{Annotations: map[string]string{
			"io.containerd.image.name":          "docker.io/library/tokenward:" + tag,
			"org.opencontainers.image.ref.name": tag,
		}},
	})
	if _, err := layout.Write(dir, top); err != nil {
		return err
	}
	var files []file
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, file{filepath.ToSlash(name), content, 0o644})
		return err
	})
	if err != nil {
		return err
	}
	content, err := archive(files)
	if err != nil {
		return err
	}
	return os.WriteFile(out, content, 0o644)
}

// file is one in a tar archive.
type file struct {
	name    string
	content []byte
	mode    int64
}

// archive makes a tar archive that depends on names, contents and modes alone.
func archive(files []file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.content)), Mode: f.mode, ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
