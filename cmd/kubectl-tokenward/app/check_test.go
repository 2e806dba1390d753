package app

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

const (
	lacksSecret = `# Source: shop/templates/web.yaml
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  automountServiceAccountToken: false
  containers: [{name: c, envFrom: [{secretRef: {name: db}}]}]
`
	hasSecret = "{apiVersion: v1, kind: Secret, metadata: {name: db}}\n"
	denies    = "{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: p}, spec: {checks: [{name: secret-exists, action: Deny}]}}\n"
)

func TestCheckCommand(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // messages show paths as they were given
	for name, text := range map[string]string{
		"web.yaml": lacksSecret, "secret.yaml": hasSecret, "policy.yaml": denies,
		"all/web.yaml": lacksSecret, "all/deep/secret.json": `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}}`, "all/notes.txt": "no",
		"empty/notes.txt": "no", "values/values.yaml": "replicas: 2\n", "values/web.yaml": lacksSecret,
		"broken.yaml": "a: b\n---\na: [\n", "chart/web.yaml": "metadata:\n  name: {{ .Release.Name }}\n",
		"kustom/kustomization.yaml": "resources: [web.yaml]\n", "kustom/web.yaml": lacksSecret, "comments.yaml": "# nothing\n", "kind.yaml": "apiVersion: v1\nkind: 5\n",
		"typo.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: web}\n", "twice.yaml": hasSecret + "---\n" + hasSecret,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const table = `WARN  Secret default/db (secret-exists)
      Secret "db" is not among the manifests: unless something else makes it,
      the container will wait in CreateContainerConfigError. Create it, or
      correct the name.
      - Pod default/web
        web.yaml:7:55: spec.containers[0].envFrom[0].secretRef.name
        from shop/templates/web.yaml

secret-exists             1 object, 1 finding

1 object judged: 0 denied, 1 warned about, 0 recorded
`
	tests := []struct {
		name     string
		args     []string
		stdin    string
		status   int
		out, err string // parts; "" for nothing
	}{
		{"a finding is a failure", []string{"-f", "web.yaml"}, "", exitFindings, table, ""},
		{"unless a stronger one is asked for", []string{"-f", "web.yaml", "--fail-on", "deny"}, "", exitClean, table, ""},
		{"or none", []string{"-f", "web.yaml", "--fail-on=None"}, "", exitClean, table, ""},
		{"a policy makes it stronger", []string{"-f", "web.yaml", "--fail-on", "Deny", "--policy-file", "policy.yaml"}, "", exitFindings, "DENY  Secret default/db (secret-exists)", ""},
		{"two files", []string{"-f", "web.yaml", "-f", "secret.yaml"}, "", exitClean, "1 object judged of 2 manifests: nothing found\n", ""},
		{"what the cluster has", []string{"-f", "web.yaml", "--cluster-state", "all"}, "", exitClean, "1 object judged: nothing found\n", ""},
		{"a directory, and not what is below it", []string{"-f", "all"}, "", exitFindings, "all/web.yaml:7:55: spec", ""},
		{"a directory with what is below it", []string{"-R", "-f", "all"}, "", exitClean, "nothing found", ""},
		{"a file that is given twice counts once", []string{"-f", "web.yaml", "-f", "./web.yaml"}, "", exitFindings, "1 object judged", ""},
		{"stdin", []string{"-f", "-"}, lacksSecret, exitFindings, "stdin:7:55: spec", ""},
		{"another namespace", []string{"-f", "web.yaml", "-n", "shop"}, "", exitFindings, "Pod shop/web", ""},
		{"nothing but facts", []string{"-f", "secret.yaml"}, "", exitClean, "Nothing was judged: there is no pod and no workload in 1 manifest\n", "warning: nothing was judged"},
		{"nothing but facts, which is to fail", []string{"-f", "secret.yaml", "--fail-on-unjudged"}, "", exitIncomplete, "Nothing was judged", "warning: nothing was judged"},
		{"an object that is there twice is told", []string{"-f", "twice.yaml"}, "", exitClean, "Nothing was judged",
			"warning: twice.yaml:3: document 2: Secret default/db is in twice.yaml:1, too; the last one counts as a fact, all are judged"},
		{"in a directory what is no manifest is passed over", []string{"-f", "values"}, "", exitFindings, "values/web.yaml:7:55: spec",
			"warning: values/values.yaml:1: no manifest: passed over; apiVersion and kind must be given"},
		{"a file that is none is an error", []string{"-f", "values/values.yaml"}, "", exitFailed, "Nothing was judged; 1 error", "error: values/values.yaml:1: document 1: no manifest: apiVersion and kind must be given"},
		{"not YAML", []string{"-f", "broken.yaml"}, "", exitFailed, "Nothing was judged; 2 errors", "error: broken.yaml:3: document 2: did not find expected node content"},
		{"a template", []string{"-f", "chart"}, "", exitFailed, "", "warning: chart/web.yaml: a template: passed over; render it first, such as by helm template"},
		{"a field of the wrong type", []string{"-f", "typo.yaml"}, "", exitFailed, "Nothing was judged: there is no pod and no workload in 1 manifest; 1 error", "error: typo.yaml:1: document 1: not a Pod: "},
		{"a file that is not there", []string{"-f", "gone.yaml"}, "", exitFailed, "Nothing was judged; 1 error", "error: stat gone.yaml: no such file or directory"},
		{"a directory without manifests", []string{"-f", "empty"}, "", exitFailed, "", "there are no manifests in empty"},
		{"a kustomization is not built", []string{"-f", "kustom"}, "", exitFailed, "", "warning: kustom: a kustomization, with 1 file of it: passed over; -k kustom builds it"},
		{"a file with comments alone", []string{"-f", "comments.yaml"}, "", exitFailed, "", "error: there are no manifests in comments.yaml\n"},
		{"a kind that is none", []string{"-f", "kind.yaml"}, "", exitFailed, "1 error", "error: kind.yaml:2: document 1: kind: expected a string, found number"},
		{"objects as jq prints them", []string{"-f", "-"}, `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}}` + "\n" +
			`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "db"}}]}]}}`, exitClean, "stdin:2:72: spec", ""},
		{"what a manifest says does not control the terminal", []string{"-f", "-"}, strings.Repeat("---\napiVersion: v1\nkind: Secret\nmetadata: {name: \"a\\e[31mb\"}\n", 2), exitClean, "Nothing was judged", `Secret default/a\x1b[31mb is in stdin:`},
		{"no file", nil, "", exitFailed, "", "give manifests by -f FILE"},
		{"a file without -f", []string{"web.yaml"}, "", exitFailed, "", `unexpected argument "web.yaml"; manifests are given by -f`},
		{"a flag that there is not", []string{"-f", "web.yaml", "--fail"}, "", exitFailed, "", "unknown flag: --fail"},
		{"an action that there is not", []string{"-f", "web.yaml", "--fail-on", "Error"}, "", exitFailed, "", `--fail-on: "Error" is none of Deny, Warn, Audit, None`},
		{"a format that there is not", []string{"-f", "web.yaml", "-o", "xml"}, "", exitFailed, "", `--output: "xml" is none of github, gitlab, json, junit, sarif, table, text, wide, yaml`},
		{"a cluster, but not asked", []string{"-f", "web.yaml", "--context", "prod"}, "", exitFailed, "", "--context: no cluster is asked without --live"},
		{"a policy file that is no policy", []string{"-f", "web.yaml", "--policy-file", "secret.yaml"}, "", exitFailed, "", `--policy-file: secret.yaml:1: document 1: apiVersion: expected "tokenward.dev/v1alpha1"`},
		{"a policy that is there twice", []string{"-f", "web.yaml", "--policy-file", "policy.yaml", "--policy-file", "policy.yaml"}, "", exitFailed, "", `TokenPolicy "p" is in policy.yaml, too`},
		{"a cluster that does not answer", []string{"-f", "web.yaml", "--live", "--server", "https://127.0.0.1:1"}, "", exitFailed, "", "error: --live: the cluster does not answer: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if status := mainWith(t, tt.args, tt.stdin, &out, &errOut); status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			if !strings.Contains(out.String(), tt.out) || (tt.out == "" && out.Len() > 0) {
				t.Errorf("printed %s\nwant    %s", out.String(), tt.out)
			}
			if !strings.Contains(errOut.String(), tt.err) || (tt.err == "" && errOut.Len() > 0) {
				t.Errorf("error %s\nwant  %s", errOut.String(), tt.err)
			}
		})
	}
}

func mainWith(t *testing.T, args []string, stdin string, out, errOut *bytes.Buffer) int {
	t.Helper()
	if stdin != "" {
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(stdin); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		before := os.Stdin
		os.Stdin = file
		defer func() { os.Stdin = before; _ = file.Close() }()
	}
	return Main(t.Context(), append([]string{"check"}, args...), out, errOut)
}

func TestNoClusterIsAskedUnlessItIsAskedFor(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "no", http.StatusTeapot)
	}))
	defer server.Close()
	kubeconfig := writeCase(t, "kubeconfig", `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "`+server.URL+`"}}]}`)
	t.Setenv("KUBECONFIG", kubeconfig)
	manifests := writeCase(t, "web.yaml", lacksSecret)
	var out, errOut bytes.Buffer
	if status := Main(t.Context(), []string{"check", "-f", manifests}, &out, &errOut); status != exitFindings || asked.Load() != 0 {
		t.Errorf("status %d, and %d requests without --live: %s", status, asked.Load(), errOut.String())
	}
	if status := Main(t.Context(), []string{"check", "--live", "-f", manifests}, &out, &errOut); status != exitFailed || asked.Load() == 0 {
		t.Errorf("status %d, and %d requests with --live: %s", status, asked.Load(), errOut.String())
	}
}

func TestCheckWritesWholeNamesIntoFiles(t *testing.T) {
	name := strings.Repeat("n", 5000) + "-end"
	path := writeCase(t, "web.yaml", strings.Replace(lacksSecret, "{name: db}", "{name: "+name+"}", 1))
	for format, cut := range map[string]bool{"json": false, "yaml": false, "sarif": false, "junit": false, "wide": true} {
		var out, errOut bytes.Buffer
		Main(t.Context(), []string{"check", "-o", format, "-f", path}, &out, &errOut)
		plain := strings.NewReplacer(`\"`, `"`, "&#34;", `"`).Replace(strings.Join(strings.Fields(out.String()), " "))
		whole := strings.Contains(plain, `Secret "`+name+`" (spec.`)
		if whole == cut {
			t.Errorf("%s: the message has the whole name: %v\n%.300s", format, whole, out.String())
		}
	}
}
