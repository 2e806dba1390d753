package cases

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	aSecret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n"
	aPolicy = "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: p}\nspec: {checks: [{name: secret-exists, action: Deny}]}\n"
	aPod    = "request: {namespace: shop, object: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, envFrom: [{secretRef: {name: db}}]}]}}}\n"
)

func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCasesNamePoliciesAndManifestsByPath(t *testing.T) {
	for _, tt := range []struct{ name, fields, expect string }{
		{"a policy beside the case", "policyFiles: [policy.yaml]\n", "{allowed: false}"},
		{"a policy above the case", "policyFiles: [../above.yaml]\n", "{allowed: false}"},
		{"manifests below the case", "policyFiles: [policy.yaml]\nclusterFiles: [world/all.yaml]\n", "{allowed: true, findings: []}"},
		{"manifests in the case and in files", "cluster: [{apiVersion: v1, kind: Namespace, metadata: {name: shop}}]\npolicyFiles: [policy.yaml]\nclusterFiles: [world/all.yaml]\n", "{allowed: true, findings: []}"},
		{"a List", "policyFiles: [policy.yaml]\nclusterFiles: [world/list.yaml]\n", "{allowed: true, findings: []}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := writeTree(t, map[string]string{
				"tests/case.yaml": tt.fields + aPod + "expect: " + tt.expect, "tests/policy.yaml": aPolicy, "above.yaml": aPolicy,
				"tests/world/all.yaml":  "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: shop}\n---\n" + aSecret,
				"tests/world/list.yaml": "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(aSecret), "\n", "\n  "),
			})
			all, err := Load(filepath.Join(root, "tests"))
			if err != nil {
				t.Fatal(err)
			}
			if len(all) != 1 {
				t.Fatalf("%d cases, want 1: files of manifests are no cases", len(all))
			}
			for _, d := range all[0].Run() {
				t.Error(d)
			}
		})
	}
}

func TestAFileThatCannotBeUsedIsAnErrorOfItsField(t *testing.T) {
	root := writeTree(t, map[string]string{
		"policy.yaml": aPolicy, "secret.yaml": aSecret, "broken.yaml": "a: [", "empty.yaml": "# nothing\n", "nameless.yaml": "apiVersion: v1\nkind: Secret\n",
		"misspelled.yaml": strings.Replace(aPolicy, "action", "acton", 1),
	})
	for _, tt := range []struct{ name, fields, want string }{
		{"a file that is not there", "policyFiles: [policy.yaml, none.yaml]", "case.yaml:1: document 1: policyFiles[1]: open "},
		{"a directory", "clusterFiles: ['.']", "clusterFiles[0]: read "},
		{"no path", "clusterFiles: ['']", "clusterFiles[0]: is empty"},
		{"a file that is no YAML", "clusterFiles: [broken.yaml]", "clusterFiles[0]: " + filepath.Join(root, "broken.yaml") + ":1: document 1: "},
		{"a file without a manifest", "policyFiles: [empty.yaml]", "policyFiles[0]: " + filepath.Join(root, "empty.yaml") + " has no manifest"},
		{"a manifest without a name", "clusterFiles: [nameless.yaml]", "nameless.yaml:1: document 1: Secret: metadata.name must be given"},
		{"a policy with a misspelled field", "policyFiles: [misspelled.yaml]", `policyFiles[0]: ` + filepath.Join(root, "misspelled.yaml") + `:4: document 1: spec.checks[0].acton: unknown field; did you mean "action"?`},
		{"a manifest among the policies", "policyFiles: [secret.yaml]", `policyFiles[0]: ` + filepath.Join(root, "secret.yaml") + `:1: document 1: apiVersion: expected "tokenward.dev/v1alpha1"`},
		{"a policy that the case has, too", "policies: [{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: p}}]\npolicyFiles: [policy.yaml]", `policyFiles[0]: ` + filepath.Join(root, "policy.yaml") + `:3: document 1: metadata.name: "p" is the name of another policy, too`},
	} {
		_, err := Parse(filepath.Join(root, "case.yaml"), []byte(tt.fields+"\n"+aPod+"expect: {allowed: true}\n"))
		if got := fmt.Sprint(err); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}
