package check

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"tokenward.dev/tokenward/pkg/strictyaml"
)

// kustomization is a directory with a kustomization, and the files that it is made of.
type kustomization struct {
	dir   string
	files []string // whole paths
}

func kustomizationNames() []string {
	return []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}
}

func isKustomizationFile(path string) bool {
	return slices.Contains(kustomizationNames(), filepath.Base(path))
}

// readKustomization returns the kustomization of a directory, if it has one.
func readKustomization(dir string) (kustomization, bool) {
	for _, name := range kustomizationNames() {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		k := kustomization{dir: dir}
		docs, _ := strictyaml.Split(name, data)
		for i := range docs {
			var fields map[string]any
			if docs[i].Peek(&fields) == nil {
				k.list(fields)
			}
		}
		return k, true
	}
	return kustomization{}, false
}

// list takes every text in a kustomization that is the path of a file, whatever its
// field is called: resources, patches, generators, values.
func (k *kustomization) list(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, inner := range v {
			k.list(inner)
		}
	case []any:
		for _, inner := range v {
			k.list(inner)
		}
	case string:
		if _, file, ok := strings.Cut(v, "="); ok {
			v = file // KEY=FILE of a generator
		}
		if v == "" || strings.ContainsAny(v, "\n:") {
			return
		}
		whole, err := filepath.Abs(filepath.Join(k.dir, v))
		if err != nil {
			return
		}
		if info, err := os.Stat(whole); err == nil && !info.IsDir() {
			k.files = append(k.files, whole)
		}
	}
}

// build adds what a kustomization makes, by kustomize's own library and without its
// plugins, as kubectl does.
func (m *manifests) build(dir string) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		m.problem(fmt.Errorf("%s: %s", dir, strings.Join(strings.Fields(err.Error()), " ")))
		return
	}
	source := filepath.Join(dir, kustomizationNames()[0])
	for _, name := range kustomizationNames() {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			source = filepath.Join(dir, name)
			break
		}
	}
	text, err := built.AsYaml()
	if err != nil {
		m.problem(fmt.Errorf("%s: %w", dir, err))
		return
	}
	docs, err := strictyaml.Split(source, bytes.TrimSpace(text))
	m.problem(err)
	for i := range docs {
		found, err := expand(&docs[i], metav1.TypeMeta{})
		m.problem(err)
		for j := range found {
			found[j].built = true
		}
		m.objects = append(m.objects, found...)
	}
}
