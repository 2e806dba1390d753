package check_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tokenward.dev/tokenward/pkg/check"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/workload"
)

// needs is a Pod that needs a Secret of the namespace default.
func needs(secret string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: needs-" + secret + "}\nspec: {automountServiceAccountToken: false, serviceAccountName: a, containers: [{name: c, image: i, envFrom: [{secretRef: {name: " + secret + "}}]}]}\n---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}\n"
}

const (
	has     = "{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {a: b}}\n"
	rollout = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: r}\nspec: {template: {spec: {automountServiceAccountToken: false, containers: [{name: c, image: i, envFrom: [{secretRef: {name: gone}}]}]}}}\n"
)

// outcome is what a run over some files says.
type outcome struct {
	report   *report.Report
	err      error
	warnings []string
}

func run(t *testing.T, files map[string]string, change func(*check.Options)) outcome {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir) // messages show paths as they were given
	for name, text := range files {
		write(t, dir, name, text)
	}
	var out outcome
	o := options(".")
	o.Manifests.Recursive = true
	o.Warn = func(text string) { out.warnings = append(out.warnings, text) }
	if change != nil {
		change(o)
	}
	out.report, out.err = check.Run(t.Context(), o)
	return out
}

// says is a run in short: what is missing, what is wrong, what was passed over.
func (o *outcome) says() []string {
	if o.err != nil {
		return []string{"error: " + o.err.Error()}
	}
	var all []string
	for i := range o.report.Results {
		f := &o.report.Results[i]
		all = append(all, fmt.Sprintf("%s of %s", f.About.String(), f.Source.File))
	}
	for i := range o.report.Errors {
		all = append(all, "error "+o.report.Errors[i].String())
	}
	for i := range o.report.PassedOver {
		all = append(all, "passed "+o.report.PassedOver[i].Path+": "+o.report.PassedOver[i].What)
	}
	for _, u := range o.report.Unjudged {
		all = append(all, fmt.Sprintf("unjudged %d %s %s", u.Count, u.Kind, u.Resource))
	}
	slices.Sort(all)
	return all
}

func TestOneBadFileIsOneError(t *testing.T) {
	const gone = "Secret default/gone of a.yaml"
	paths := func(paths ...string) func(*check.Options) {
		return func(o *check.Options) { o.Manifests.Paths = paths }
	}
	tests := []struct {
		name   string
		files  map[string]string // beside a.yaml, which needs the Secret gone
		change func(*check.Options)
		want   []string // beginnings
	}{
		{"a file that is not YAML", map[string]string{"b.yaml": "a: [\n"}, nil, []string{gone, "error b.yaml:"}},
		{"a field of the wrong type", map[string]string{"b.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: web}\n"}, nil, []string{gone, "error b.yaml:1: document 1: not a Pod: "}},
		{"a template", map[string]string{"t/b.yaml": "metadata:\n  name: {{ .Release.Name }}\n"}, nil, []string{gone, "passed t/b.yaml: a template"}},
		{"a template that was named", map[string]string{"t/b.yaml": "metadata:\n  name: {{ .Release.Name }}\n"}, paths("a.yaml", "t/b.yaml"), []string{gone, "error t/b.yaml: a template: render it first"}},
		{"a Helm chart, but for what is no template in it", map[string]string{
			"c/Chart.yaml": "name: c\n", "c/values.yaml": "a: 1\n", "c/values-prod.yaml": "a: 1\n", "c/templates/t.yaml": needs("t"), "c/charts/d/x.yaml": needs("x"), "c/extra.yaml": needs("extra"),
		}, nil, []string{"Secret default/extra of c/extra.yaml", gone, "passed c: a Helm chart"}},
		{"what is no manifest", map[string]string{"v.yaml": "replicas: 1\n", "l.json": "[1, 2]"}, nil, []string{gone, "passed l.json: no manifest, but a list", "passed v.yaml: no manifest"}},
		{
			"an AdmissionReview and a kubeconfig, also if they were named", map[string]string{"r.json": `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`, "k.yaml": "apiVersion: v1\nkind: Config\n"},
			paths("a.yaml", "r.json", "k.yaml"), []string{gone, "passed k.yaml: a kubeconfig", "passed r.json: an AdmissionReview"},
		},
		{"a kustomization with all that it lists, but not what lies beside it", map[string]string{
			"k/base/kustomization.yaml": "resources: [web.yaml]\n", "k/base/web.yaml": needs("web"),
			"k/prod/kustomization.yaml": "resources: [../base]\npatches: [{path: p.yaml}]\n", "k/prod/p.yaml": "- op: remove\n  path: /spec\n", "k/prod/beside.yaml": needs("beside"),
		}, nil, []string{"Secret default/beside of k/prod/beside.yaml", gone, "passed k/base: a kustomization, with 1 file of it", "passed k/prod: a kustomization, with 1 file of it"}},
		{"-k builds it", map[string]string{
			"k/kustomization.yaml": "namePrefix: x-\nresources: [web.yaml]\nsecretGenerator: [{name: db, literals: [a=b]}]\n", "k/web.yaml": needs("db") + "---\n" + strings.ReplaceAll(needs("missing"), "name: a}}\n", "name: other}}\n"),
		}, func(o *check.Options) { o.Manifests.Paths, o.Manifests.Kustomizations = nil, []string{"k"} }, []string{"Secret default/missing of k/kustomization.yaml"}},
		{"-k of what can't be built", map[string]string{"k/kustomization.yaml": "resources: [none.yaml]\n"}, func(o *check.Options) {
			o.Manifests.Paths, o.Manifests.Kustomizations = []string{"a.yaml"}, []string{"k"}
		}, []string{gone, "error k: "}},
		{
			"excluded by name, by path and by directory", map[string]string{"x/skip.yaml": needs("x"), "deep/y/z.yaml": needs("z"), "deep/vendor/v.yaml": needs("v"), "p/one.yaml": "a: [\n"},
			func(o *check.Options) {
				o.Manifests.Exclude = []string{"skip.yaml", "deep/y/*.yaml", "vendor/", "./p"}
			}, []string{gone},
		},
		{"a kind with a pod template that nobody named", map[string]string{"r.yaml": rollout + "---\n" + rollout}, nil, []string{gone, "unjudged 2 Rollout argoproj.io/v1alpha1/rollouts=spec.template"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.files["a.yaml"] = needs("gone")
			out := run(t, tt.files, tt.change)
			got := out.says()
			if len(got) != len(tt.want) || !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("got  %q\nwant %q\nwarnings %q", got, tt.want, out.warnings)
			}
		})
	}
}

// Nobody writes to a pipe that lies in a directory: reading it would never end.
func TestAPipeInADirectoryIsPassedOver(t *testing.T) {
	out := run(t, map[string]string{"a.yaml": needs("gone")}, func(*check.Options) {
		if err := syscall.Mkfifo("pipe.yaml", 0o600); err != nil {
			t.Skip(err)
		}
	})
	if got := out.says(); !slices.Contains(got, "passed pipe.yaml: no regular file") {
		t.Errorf("%q", got)
	}
}

func TestWarningsOfOddManifests(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a field that is given twice", strings.Replace(needs("db"), "metadata: {name", "metadata: {name: x, name", 1) + "---\n" + has, `a.yaml:3: document 1: "name" is given twice; the last one counts`},
		{
			"a misspelled field of a volume", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  volumes:\n  - name: v\n    secret:\n      secretname: db\n  containers: [{name: c}]\n",
			`a.yaml:8: document 1: spec.volumes[0].secret.secretname: unknown field; did you mean "secretName"?`,
		},
	} {
		if out := run(t, map[string]string{"a.yaml": tt.text}, nil); out.err != nil || !slices.Contains(out.warnings, tt.want) {
			t.Errorf("%s: %v, %q", tt.name, out.err, out.warnings)
		}
	}
}

func TestAnAnnotationAcceptsAFinding(t *testing.T) {
	for _, tt := range []struct{ name, annotation, accepted, warning string }{
		{"with a reason", "accept.tokenward.dev/secret-exists: Terraform makes it", "Terraform makes it", ""},
		{"without a reason", `accept.tokenward.dev/secret-exists: " "`, "", "has no reason, and accepts nothing"},
		{"of another check", "accept.tokenward.dev/token-valid: because", "", "accepts nothing: the check has no finding here"},
		{"misspelled", "accept.tokenward.dev/secret-exist: because", "", `there is no such check; did you mean "secret-exists"?`},
	} {
		out := run(t, map[string]string{"a.yaml": strings.Replace(needs("gone"), "metadata: {", "metadata: {annotations: {"+tt.annotation+"}, ", 1)}, nil)
		if out.err != nil || len(out.report.Results) != 1 || out.report.Results[0].Accepted != tt.accepted || !strings.Contains(strings.Join(out.warnings, "\n"), tt.warning) {
			t.Errorf("%s: %v %+v %q", tt.name, out.err, out.report, out.warnings)
		}
	}
}

func TestTheNearestNamesakeCounts(t *testing.T) {
	secret := func(key string) string {
		return "{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {" + key + ": x}}\n"
	}
	wants := func(key string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: p-" + key + "}\nspec: {serviceAccountName: a, automountServiceAccountToken: false, containers: [{name: c, env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: " + key + "}}}]}]}\n---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}\n"
	}
	out := run(t, map[string]string{
		"dev/s.yaml": secret("dev"), "dev/p.yaml": wants("dev"), "prod/s.yaml": secret("prod"), "prod/p.yaml": wants("prod"), "all/both.yaml": secret("own") + "---\n" + wants("own"),
	}, nil)
	if got := out.says(); out.err != nil || len(got) > 0 {
		t.Errorf("%v %q", out.err, got)
	}
}

func TestAWrongWorkloadResourceIsAnError(t *testing.T) {
	for _, tt := range []struct{ flag, want string }{
		{"argoproj.io/v1alpha1/rollouts=spec.template", "Secret default/gone of r.yaml"},
		{"argoproj.io/v1alpha1/rolouts=spec.template", `error: --workload-resource: argoproj.io/v1alpha1/rolouts: the manifests have none of these; did you mean "argoproj.io/v1alpha1/rollouts"?`},
		{"argoproj.io/v1alpha1/rollouts=spec.tmpl", "error r.yaml:1: document 1: has no pod template where its kind has one"},
	} {
		out := run(t, map[string]string{"r.yaml": rollout}, func(o *check.Options) {
			resource, path, err := workload.ParseResource(tt.flag)
			if err != nil {
				t.Fatal(err)
			}
			if o.Templates, err = o.Templates.With(resource, path); err != nil {
				t.Fatal(err)
			}
		})
		if got := out.says(); !slices.Contains(got, tt.want) {
			t.Errorf("%s: got %q", tt.flag, got)
		}
	}
}
