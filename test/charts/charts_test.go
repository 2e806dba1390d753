package charts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenward.dev/tokenward/pkg/check"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/workload"
)

// expected is a finding, or what is provided, and why it is true.
type expected struct{ line, because string }

const (
	helmTest    = "a test pod that names no account, with automountServiceAccountToken: true: it does hold the token of default"
	pullAccount = "the chart puts the name into the account, from which the API server gives it to the pods; the chart makes no such Secret"
	pullName    = "the values name a pull Secret, and the chart makes none: who installs it must"
)

func ours() Chart { return Chart{Path: "charts/tokenward"} }

func certManager() Chart {
	return Chart{"github.com/cert-manager/cert-manager", "deploy/charts/cert-manager"}
}

func trustManager() Chart {
	return Chart{"github.com/cert-manager/trust-manager", "deploy/charts/trust-manager"}
}

func gatekeeper() Chart {
	return Chart{"github.com/open-policy-agent/gatekeeper/v3", "charts/gatekeeper"}
}

func kyverno() Chart { return Chart{"github.com/kyverno/kyverno", "charts/kyverno"} }

func metricsServer() Chart { return Chart{"sigs.k8s.io/metrics-server", "charts/metrics-server"} }

func externalSecrets() Chart {
	return Chart{"github.com/external-secrets/external-secrets", "deploy/charts/external-secrets"}
}

func TestEachFindingInAChartIsTrue(t *testing.T) {
	tests := []struct {
		name, release, namespace, values string
		chart                            Chart
		objects                          int
		want                             []expected
	}{
		{
			name: "ours as it comes makes its certificate itself", release: "tokenward", namespace: "tokenward-system",
			chart: ours(), objects: 1,
		},
		{
			name: "ours with cert-manager mounts what a Certificate brings", release: "tokenward", namespace: "tokenward-system",
			values: "{certificates: {mode: certManager}}", chart: ours(), objects: 1,
			want: []expected{{"Secret tokenward-system/tokenward-tls by Certificate tokenward-system/tokenward-serving", "cert-manager makes it"}},
		},
		{
			name: "ours with a certificate that somebody provides", release: "tokenward", namespace: "tokenward-system",
			values: "{certificates: {mode: provided, secretName: our-tls, caBundle: PEM}, imagePullSecrets: [regcred]}", chart: ours(), objects: 1,
			want: []expected{
				{"Warn secret-exists: Deployment tokenward-system/tokenward: Secret tokenward-system/our-tls", "with mode provided the chart leaves the Secret to others"},
				{"Warn image-pull-secret-exists: Deployment tokenward-system/tokenward: Secret tokenward-system/regcred", pullName},
			},
		},
		{
			// Its webhook keeps its certificate in a Secret that it reads by the API.
			name: "cert-manager as it comes depends on nothing that is not in it", release: "cert-manager", namespace: "cert-manager",
			chart: certManager(), objects: 4,
		},
		{
			name: "cert-manager with a pull Secret", release: "cert-manager", namespace: "cert-manager",
			values: "{global: {imagePullSecrets: [{name: regcred}]}}", chart: certManager(), objects: 4,
			want: []expected{
				{"Warn image-pull-secret-exists: Deployment cert-manager/cert-manager: Secret cert-manager/regcred", pullAccount},
				{"Warn image-pull-secret-exists: Deployment cert-manager/cert-manager-cainjector: Secret cert-manager/regcred", pullAccount},
				{"Warn image-pull-secret-exists: Deployment cert-manager/cert-manager-webhook: Secret cert-manager/regcred", pullAccount},
				{"Warn image-pull-secret-exists: Job cert-manager/cert-manager-startupapicheck: Secret cert-manager/regcred", pullName},
			},
		},
		{
			name: "cert-manager with ConfigMaps of its own finds them among its manifests", release: "cert-manager", namespace: "cert-manager",
			values: "{config: {logging: {verbosity: 2}}, webhook: {config: {securePort: 10250}}}", chart: certManager(), objects: 4,
		},
		{
			name: "trust-manager's serving certificate comes from a Certificate", release: "trust-manager", namespace: "cert-manager",
			chart: trustManager(), objects: 1,
			want: []expected{{"Secret cert-manager/trust-manager-tls by Certificate cert-manager/trust-manager", "cert-manager makes it"}},
		},
		{
			name: "trust-manager with a certificate by Helm has it among its manifests", release: "trust-manager", namespace: "cert-manager",
			values: "{app: {webhook: {tls: {helmCert: {enabled: true}}}}}", chart: trustManager(), objects: 1,
		},
		{
			// The chart makes the Secret empty, and Gatekeeper fills it.
			name: "Gatekeeper makes an empty Secret that its pods mount", release: "gatekeeper", namespace: "gatekeeper-system",
			chart: gatekeeper(), objects: 4,
		},
		{
			name: "Gatekeeper with an external certificate", release: "gatekeeper", namespace: "gatekeeper-system",
			values: "{externalCertInjection: {enabled: true}}", chart: gatekeeper(), objects: 4,
			want: []expected{
				{
					"Warn secret-exists: Deployment gatekeeper-system/gatekeeper-audit: Secret gatekeeper-system/gatekeeper-webhook-server-cert",
					"with externalCertInjection the chart leaves the Secret to others, and the pods hang until it is there",
				},
				{
					"Warn secret-exists: Deployment gatekeeper-system/gatekeeper-controller-manager: Secret gatekeeper-system/gatekeeper-webhook-server-cert",
					"the same",
				},
				{
					"Warn secret-exists: Job gatekeeper-system/gatekeeper-update-namespace-label: Secret gatekeeper-system/gatekeeper-webhook-server-cert",
					"its hook probes the webhook with that certificate: it mounts it, too",
				},
			},
		},
		{
			name: "Kyverno as it comes", release: "kyverno", namespace: "kyverno", chart: kyverno(), objects: 12,
			want: []expected{
				{"Audit token-default-account: Pod kyverno/kyverno-admission-controller-metrics: ServiceAccount kyverno/default", helmTest},
				{"Audit token-default-account: Pod kyverno/kyverno-cleanup-controller-liveness: ServiceAccount kyverno/default", helmTest},
				{"Audit token-default-account: Pod kyverno/kyverno-cleanup-controller-metrics: ServiceAccount kyverno/default", helmTest},
				{"Audit token-default-account: Pod kyverno/kyverno-cleanup-controller-readiness: ServiceAccount kyverno/default", helmTest},
				{"Audit token-default-account: Pod kyverno/kyverno-reports-controller-metrics: ServiceAccount kyverno/default", helmTest},
			},
		},
		{
			name: "Kyverno whose tests get no token", release: "kyverno", namespace: "kyverno",
			values: "{test: {automountServiceAccountToken: false}}", chart: kyverno(), objects: 12,
		},
		{
			name: "metrics-server as it comes", release: "metrics-server", namespace: "kube-system", chart: metricsServer(), objects: 1,
		},
		{
			name: "metrics-server with a Secret that must be there", release: "metrics-server", namespace: "kube-system",
			values: "{tls: {type: existingSecret, existingSecret: {name: metrics-tls}}}", chart: metricsServer(), objects: 1,
			want: []expected{{
				"Warn secret-exists: Deployment kube-system/metrics-server: Secret kube-system/metrics-tls",
				"existingSecret says that somebody else makes it; the manifests do not",
			}},
		},
		{
			name: "metrics-server with a Certificate", release: "metrics-server", namespace: "kube-system",
			values: "{tls: {type: cert-manager}}", chart: metricsServer(), objects: 1,
			want: []expected{{"Secret kube-system/metrics-server by Certificate kube-system/metrics-server", "cert-manager makes it"}},
		},
		{
			name: "external-secrets as it comes", release: "external-secrets", namespace: "external-secrets", chart: externalSecrets(), objects: 3,
		},
		{
			name: "external-secrets with a Certificate and a pull Secret", release: "external-secrets", namespace: "external-secrets",
			values: "{certController: {create: false}, webhook: {certManager: {enabled: true, cert: {issuerRef: {name: ca}}}}, imagePullSecrets: [{name: regcred}]}",
			chart:  externalSecrets(), objects: 2,
			want: []expected{
				{"Secret external-secrets/external-secrets-webhook by Certificate external-secrets/external-secrets-webhook", "cert-manager makes it"},
				{"Warn image-pull-secret-exists: Deployment external-secrets/external-secrets: Secret external-secrets/regcred", pullName},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file, err := tt.chart.Render(t.Context(), t.TempDir(), tt.release, tt.namespace, tt.values)
			if err != nil {
				t.Fatal(err)
			}
			got, objects := findings(t, file, tt.namespace)
			if objects != tt.objects {
				t.Errorf("%d objects judged, want %d", objects, tt.objects)
			}
			for _, e := range tt.want {
				if e.because == "" {
					t.Errorf("nobody says why this is true: %s", e.line)
				}
				if !slices.Contains(got, e.line) {
					t.Errorf("missing: %s (%s)", e.line, e.because)
				}
			}
			for _, line := range got {
				if !slices.ContainsFunc(tt.want, func(e expected) bool { return e.line == line }) {
					t.Errorf("not expected: %s", line)
				}
			}
		})
	}
}

// findings checks a file against itself alone.
func findings(t *testing.T, file, namespace string) (lines []string, objects int) {
	t.Helper()
	r, err := check.Run(t.Context(), &check.Options{
		Manifests: check.Input{Paths: []string{file}}, Namespace: namespace,
		Templates: workload.BuiltinTemplates(), Compiler: policy.NewCompiler(policy.Checks()),
		Now: time.Unix(0, 0), Warn: func(text string) { t.Error("warning:", text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Results {
		if f.Source == nil || f.Source.Line <= f.Subject.Source.Line || !strings.Contains(f.Subject.Template, "/templates/") {
			t.Errorf("without a place: %+v", f)
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s: %s", f.Action, f.Check, f.Subject.String(), f.About))
	}
	for _, p := range r.Provided {
		lines = append(lines, p.Object.String()+" by "+p.By)
	}
	return lines, len(r.Objects)
}
