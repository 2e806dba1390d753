package docs

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestWhatTheDocsNameExists(t *testing.T) {
	r, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.pages) < 20 || len(r.comments) < 20 || len(r.metrics) < 20 || len(r.flags) < 40 {
		t.Fatalf("%d pages, %d package comments, %d metrics, %d flags: the reader does not understand the repository",
			len(r.pages), len(r.comments), len(r.metrics), len(r.flags))
	}
	for _, problem := range r.check() {
		t.Error(problem)
	}
}

// Messages, manifests and code point at pages, too.
func TestPagesThatCodeAndManifestsNameExist(t *testing.T) {
	r, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	c := &claims{repository: r}
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		if strings.HasPrefix(name, "test/docs/") || !slices.Contains([]string{".go", ".yaml", ".tpl", ".sh", ".txt"}, path.Ext(name)) {
			continue
		}
		text, err := fs.ReadFile(r.tree, name)
		if err != nil {
			t.Fatal(err)
		}
		c.where = name
		for _, m := range docsPage.FindAllStringSubmatch(string(text), -1) {
			target := m[1]
			if m[2] != "" {
				target += "#" + m[2]
			}
			c.checkLink(".", target)
		}
	}
	for _, problem := range c.problems {
		t.Error(problem)
	}
}

// sound is a small repository whose docs are right.
func sound() fstest.MapFS {
	files := map[string]string{
		"Makefile":                            "test: ## Run tests\n\tgo test $(ARGS)\n",
		"charts/tokenward/values.yaml":        "image: {tag: x}\n",
		"pkg/policy/plan.go":                  "// Package policy judges. It imports package token, see plan.go and policy.Plan. Packages that import it: packages token and policy.\npackage policy\ntype Plan struct{ base }\ntype base struct{ Facts int }\nfunc (p *Plan) Needs() {}\nfunc hotPath() {}\n",
		"pkg/token/token.go":                  "// Package token reads tokens as k8s.io/kubernetes/pkg/serviceaccount (legacy.go) does.\npackage token\n",
		"pkg/metrics/metrics.go":              "package metrics\nvar name = \"reviews_total\"\n",
		"cmd/webhook/app/options.go":          "package app\nfunc f() { flags.BoolVar(&b, \"dry-run\", b, \"\"); flags.StringToStringVar(&l, \"with-labels\", l, \"\") }\n",
		"docs/checks/secret-exists.md":        "# secret-exists\n",
		"docs/cli/kubectl_tokenward_check.md": "# kubectl tokenward check\n\n```\n      --live   ask the cluster\n```\n",
		"docs/page.md":                        "# A page\n\n## What it's for, in short\n",
		"README.md": "# Readme\n\n`policy.Plan.Needs`, `Plan.Facts`, `policy.hotPath`, `plan.go`, `pkg/policy/check_MY_CHECK.go`, `image.tag=1`, " +
			"`--dry-run`, `--with-labels`, `helm --wait`, `make test ARGS=--dry-run`, `tokenward_reviews_total{x}`, `secret-exists`, `kube-system`, " +
			"`kubectl tokenward\ncheck --live`, `corev1.Pod`, `request.operation`, [page](docs/page.md#what-its-for-in-short)\n\n" +
			"    helm upgrade tokenward charts/tokenward \\\n      --wait --set image.tag=1 && kubectl tokenward check --live\n",
		"pkg/policy/check_secret_exists.go": "package policy\n",
		"CONTRIBUTING.md":                   "`hotPath`\n",
	}
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return tree
}

func problemsOf(t *testing.T, tree fs.FS) []string {
	t.Helper()
	r, err := load(tree)
	if err != nil {
		t.Fatal(err)
	}
	return r.check()
}

func TestSoundDocsPass(t *testing.T) {
	if problems := problemsOf(t, sound()); len(problems) > 0 {
		t.Error(strings.Join(problems, "\n"))
	}
}

func TestANameThatStandsForNothingIsFound(t *testing.T) {
	for _, tc := range []struct{ name, file, text, problem string }{
		{"identifier of a package", "README.md", "`policy.Review`", "there is no policy.Review in the code or among the values of the chart"},
		{"method of a type of a package", "README.md", "`policy.Plan.Wants`", "there is no policy.Plan.Wants in the code or among the values of the chart"},
		{"method of a type", "README.md", "`Plan.Wants`", "there is no Plan.Wants in the code or among the values of the chart"},
		{"value of the chart", "README.md", "`image.tagg`", "there is no image.tagg in the code or among the values of the chart"},
		{"value that a command sets", "README.md", "    helm upgrade tokenward x --set image.tagg=1", "the chart has no value image.tagg"},
		{"method of an unexported type", "CONTRIBUTING.md", "`podRequest.review`", "there is no podRequest.review in the code or among the values of the chart"},
		{"Go file", "README.md", "`judge.go`", "there is no file judge.go"},
		{"path", "README.md", "`pkg/audit`", "there is no file or directory pkg/audit"},
		{"path in a command", "README.md", "    kubectl apply -f config/crd/", "there is no file or directory config/crd"},
		{"path with a placeholder", "README.md", "`docs/tasks/MY-TASK.md`", "there is no file or directory docs/tasks/MY-TASK.md"},
		{"package by its short path", "README.md", "`policy/rewrite`", "there is no pkg/policy/rewrite"},
		{"name of the code", "CONTRIBUTING.md", "`coldPath`", "no code has the name coldPath"},
		{"test", "README.md", "`TestNothing`", "no code has the name TestNothing"},
		{"make target", "README.md", "`make tests`", "the Makefile has no target tests"},
		{"make target in a block", "README.md", "```\nmake test all\n```", "the Makefile has no target all"},
		{"make variable", "README.md", "`make test ARG=1`", "the Makefile has no variable ARG"},
		{"flag that stands alone", "README.md", "`--dryrun`", "there is no flag --dryrun of any of our programs"},
		{"flag of the server", "README.md", "`webhook --dryrun`", "there is no flag --dryrun of webhook"},
		{"flag of another command of ours", "README.md", "`kubectl tokenward check --dry-run`", "there is no flag --dry-run of kubectl tokenward check"},
		{"flag in a pipeline", "README.md", "    helm template x | kubectl tokenward check --lively", "there is no flag --lively of kubectl tokenward check"},
		{"command", "README.md", "`kubectl tokenward recheck`", "there is no command kubectl tokenward recheck"},
		{"metric", "README.md", "counts in tokenward_review_total", "there is no metric tokenward_review_total"},
		{"metrics by a prefix", "README.md", "`tokenward_audit_*`", "there is no metric tokenward_audit_*"},
		{"check", "README.md", "`secret-is-there`", "there is no check secret-is-there"},
		{"check in a policy", "README.md", "```yaml\nchecks: [{name: pod-exists, action: Deny}]\n```", "there is no check pod-exists"},
		{"link", "README.md", "[x](docs/gone.md)", "the link to docs/gone.md leads nowhere"},
		{"anchor", "README.md", "[x](docs/page.md#gone)", "the link to docs/page.md#gone leads to no heading"},
		{"anchor of the same page", "docs/page.md", "## What it's for, in short\n\n[x](#gone)", "the link to #gone leads to no heading"},
		{"identifier in a package comment", "pkg/token/token.go", "// Package token is like policy.Review.\npackage token", "there is no policy.Review in the code or among the values of the chart"},
		{"doc link in a package comment", "pkg/token/token.go", "// Package token has [Gone].\npackage token", "no code has the name Gone"},
		{"package in a package comment", "pkg/token/token.go", "// Package token imports packages policy and\n// paste.\npackage token", "there is no package paste"},
		{"file in a package comment", "pkg/token/token.go", "// Package token: see gone.go.\npackage token", "there is no file gone.go in pkg/token"},
		{"path in a package comment", "pkg/token/token.go", "// Package token: see pkg/gone.\npackage token", "there is no file or directory pkg/gone"},
		{"target in a package comment", "pkg/token/token.go", "// Package token: \"make gone\".\npackage token", "the Makefile has no target gone"},
		{"flag in a package comment", "pkg/token/token.go", "// Package token reads --gone.\npackage token", "there is no flag --gone of any of our programs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := sound()
			tree[tc.file] = &fstest.MapFile{Data: []byte(tc.text + "\n")}
			got, want := problemsOf(t, tree), []string{tc.file + ": " + tc.problem}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
