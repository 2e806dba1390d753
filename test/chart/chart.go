// Package chart renders the Helm chart for tests, with the Helm that the project
// pins, so that they use the manifests that users install.
package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"tokenward.dev/tokenward/test/cluster"
)

// Dir is the directory of the chart.
func Dir() string { return filepath.Join(cluster.Root(), "charts", "tokenward") }

// Helm returns the path of the Helm that the project pins.
func Helm() (string, error) { return tool("helm") }

// tool returns the path of a program that the project pins.
func tool(name string) (string, error) {
	path := filepath.Join(cluster.Root(), "bin", "tools", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not there: run \"make bin/tools/%s\"", path, name)
	}
	return path, nil
}

// Release is an installation of the chart.
type Release struct {
	Name, Namespace string
	// Values beside the defaults; nested as in values.yaml.
	Values map[string]any
}

// Default is the release that the docs install.
func Default() Release { return Release{Name: "tokenward", Namespace: "tokenward-system"} }

// With returns the release with other values.
func (r Release) With(values map[string]any) Release {
	r.Values = values
	return r
}

// Fullname is what the objects of the release are called.
func (r Release) Fullname() string {
	if r.Name == "tokenward" {
		return r.Name
	}
	return r.Name + "-tokenward"
}

// User is the name under which the webhook of the release calls the API server.
func (r Release) User() string { return "system:serviceaccount:" + r.Namespace + ":" + r.Fullname() }

// Groups are those of User.
func (r Release) Groups() []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + r.Namespace, "system:authenticated"}
}

// Render returns the objects of the release.
func (r Release) Render(ctx context.Context) (Objects, error) {
	helm, err := Helm()
	if err != nil {
		return nil, err
	}
	values, err := json.Marshal(r.Values)
	if err != nil {
		return nil, err
	}
	if err := noteFiles(); err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, helm, "template", r.Name, Dir(), "--namespace="+r.Namespace, "--values=-")
	command.Stdin = bytes.NewReader(values)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("helm template: %w: %s", err, stderr.Bytes())
	}
	return Read(out)
}

// noteFiles lets "go test" know of the files of the chart, so that it does not
// answer from its cache when one has changed: Helm reads them in a process of its own.
func noteFiles() error {
	return filepath.WalkDir(Dir(), func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(path)
		}
		return err
	})
}

// Objects are Kubernetes objects of any kind.
type Objects []*unstructured.Unstructured

// Read reads YAML documents.
func Read(text []byte) (Objects, error) {
	var all Objects
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(o); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		case len(o.Object) > 0:
			all = append(all, o)
		}
	}
}

// Of returns the objects of some kinds, but for hooks: those are there only while
// Helm does something.
func (o Objects) Of(kinds ...string) Objects {
	return slices.DeleteFunc(slices.Clone(o), func(u *unstructured.Unstructured) bool { return !slices.Contains(kinds, u.GetKind()) || isHook(u) })
}

// Hooks returns the hooks of Helm.
func (o Objects) Hooks() Objects {
	return slices.DeleteFunc(slices.Clone(o), func(u *unstructured.Unstructured) bool { return !isHook(u) })
}

func isHook(u *unstructured.Unstructured) bool { return u.GetAnnotations()["helm.sh/hook"] != "" }

// Into returns the one object of a kind.
func Into[T any](o Objects, kind string) (*T, error) {
	of := o.Of(kind)
	if len(of) != 1 {
		return nil, fmt.Errorf("%d objects of kind %s, want one", len(of), kind)
	}
	into := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(of[0].Object, into, true); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return into, nil
}
