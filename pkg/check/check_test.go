package check_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenward.dev/tokenward/pkg/check"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/source"
	"tokenward.dev/tokenward/pkg/workload"
)

// needsDB is a Deployment that mounts the Secret db, of an account of its own.
const needsDB = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      serviceAccountName: web
      automountServiceAccountToken: false
      containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}]
      volumes:
      - name: v
        secret:
          secretName: db
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
`

const missingDB = "Warn secret-exists absent Deployment shop/web Secret shop/db a.yaml:13"

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func options(paths ...string) *check.Options {
	return &check.Options{
		Manifests: check.Input{Paths: paths}, Templates: workload.BuiltinTemplates(), Compiler: policy.NewCompiler(policy.Checks()),
		Now: time.Unix(1, 0), Warn: func(string) {},
	}
}

func lines(r *report.Report) []string {
	var out []string
	for _, f := range r.Results {
		out = append(out, fmt.Sprintf("%s %s %s %s %s %s:%d", f.Action, f.Check, f.State, f.Subject.String(), f.About, filepath.Base(f.Source.File), f.Source.Line))
	}
	for _, p := range r.Provided {
		by := " by "
		if p.Likely {
			by = " likely by "
		}
		out = append(out, p.Object.String()+by+p.By)
	}
	return out
}

func TestWhatManifestsLackAndWhatSomethingMakes(t *testing.T) {
	tests := []struct {
		name, more string // documents beside needsDB
		want       []string
	}{
		{"a Secret that is not among the manifests", "", []string{missingDB}},
		{"one that is", "{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop}}", nil},
		{"one of another namespace", "{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: other}}", []string{missingDB}},
		{"one in a List", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop}}]}", nil},
		{"one in a typed list", "{apiVersion: v1, kind: SecretList, items: [{metadata: {name: db, namespace: shop}}]}", nil},
		{"one that a Helm hook makes", `{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop, annotations: {helm.sh/hook: pre-install}}}`, nil},
		{
			"an ExternalSecret of the name", "{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: db, namespace: shop}}",
			[]string{"Secret shop/db by ExternalSecret shop/db"},
		},
		{
			"an ExternalSecret with a target", "{apiVersion: external-secrets.io/v1beta1, kind: ExternalSecret, metadata: {name: x, namespace: shop}, spec: {target: {name: db}}}",
			[]string{"Secret shop/db by ExternalSecret shop/x"},
		},
		{
			"an ExternalSecret that fills what is there", "{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: db, namespace: shop}, spec: {target: {creationPolicy: Merge}}}",
			[]string{missingDB},
		},
		{
			"an ExternalSecret that makes none", "{apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: db, namespace: shop}, spec: {target: {creationPolicy: None}}}",
			[]string{missingDB},
		},
		{
			"a ClusterExternalSecret by selector", "{apiVersion: external-secrets.io/v1, kind: ClusterExternalSecret, metadata: {name: x}, spec: {externalSecretName: db, namespaceSelectors: [{}], externalSecretSpec: {}}}",
			[]string{"Secret shop/db by ClusterExternalSecret x"},
		},
		{
			"a ClusterExternalSecret for other namespaces", "{apiVersion: external-secrets.io/v1, kind: ClusterExternalSecret, metadata: {name: db}, spec: {namespaces: [other], externalSecretSpec: {}}}",
			[]string{missingDB},
		},
		{
			"a SealedSecret", "{apiVersion: bitnami.com/v1alpha1, kind: SealedSecret, metadata: {name: db, namespace: shop}, spec: {template: {metadata: {name: other}}}}",
			[]string{"Secret shop/db by SealedSecret shop/db"},
		},
		{
			"a Certificate", "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: web, namespace: shop}, spec: {secretName: db}}",
			[]string{"Secret shop/db by Certificate shop/web"},
		},
		{
			"an Ingress for which cert-manager makes a Certificate", "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web, namespace: shop, annotations: {cert-manager.io/issuer: ca}}, spec: {tls: [{secretName: db}]}}",
			[]string{"Secret shop/db by Ingress shop/web"},
		},
		{
			"an Ingress with a Secret that must be there", "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web, namespace: shop}, spec: {tls: [{secretName: db}]}}",
			[]string{missingDB},
		},
		{
			"a VaultStaticSecret that creates", "{apiVersion: secrets.hashicorp.com/v1beta1, kind: VaultStaticSecret, metadata: {name: x, namespace: shop}, spec: {destination: {name: db, create: true}}}",
			[]string{"Secret shop/db by VaultStaticSecret shop/x"},
		},
		{
			"a VaultStaticSecret that fills what is there", "{apiVersion: secrets.hashicorp.com/v1beta1, kind: VaultStaticSecret, metadata: {name: x, namespace: shop}, spec: {destination: {name: db}}}",
			[]string{missingDB},
		},
		{
			"a OnePasswordItem", "{apiVersion: onepassword.com/v1, kind: OnePasswordItem, metadata: {name: db, namespace: shop}}",
			[]string{"Secret shop/db by OnePasswordItem shop/db"},
		},
		{
			"a Bundle with a Secret target", "{apiVersion: trust.cert-manager.io/v1alpha1, kind: Bundle, metadata: {name: db}, spec: {target: {secret: {key: ca.crt}}}}",
			[]string{"Secret shop/db by Bundle db"},
		},
		{
			"a Bundle with a ConfigMap target makes no Secret", "{apiVersion: trust.cert-manager.io/v1alpha1, kind: Bundle, metadata: {name: db}, spec: {target: {configMap: {key: ca.crt}}}}",
			[]string{missingDB},
		},
		{
			"a kind of the same name in another group", "{apiVersion: example.com/v1, kind: SealedSecret, metadata: {name: db, namespace: shop}}",
			[]string{missingDB},
		},
		{
			"a Secret that is written down needs no maker", "{apiVersion: v1, kind: List, items: [{apiVersion: bitnami.com/v1alpha1, kind: SealedSecret, metadata: {name: db, namespace: shop}}, {apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop}}]}",
			nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := check.Run(t.Context(), options(write(t, t.TempDir(), "a.yaml", needsDB+"---\n"+tt.more+"\n")))
			if err != nil {
				t.Fatal(err)
			}
			if got := lines(r); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestWhatIsOnlyWrittenDownIsJudgedAsItsPodsWillBe(t *testing.T) {
	pod := func(spec string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nspec: " + spec + "\n"
	}
	const none = "containers: [{name: c}], automountServiceAccountToken: false"
	tests := []struct {
		name, text string
		want       []string
	}{
		{"a pod whose account is not there", pod("{serviceAccountName: gone, " + none + "}"), []string{"Warn service-account-exists absent Pod shop/p ServiceAccount shop/gone a.yaml:4"}},
		{"a pod that will get the token of default", pod("{containers: [{name: c}]}"), []string{"Audit token-default-account present Pod shop/p ServiceAccount shop/default a.yaml:4"}},
		{"a pod that will get none", pod("{" + none + "}"), nil},
		{"a workload that will get the token of default", "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: j-}\nspec: {template: {spec: {containers: [{name: c}]}}}\n",
			[]string{"Audit token-default-account present Job default/j- ServiceAccount default/default a.yaml:4"}},
		{
			"pull Secrets of the account, which pods get that have none", pod("{serviceAccountName: web, "+none+"}") + `---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}, imagePullSecrets: [{name: there}, {name: regcred}]}
---
{apiVersion: v1, kind: Secret, metadata: {name: there, namespace: shop}}
`, []string{"Warn image-pull-secret-exists absent Pod shop/p Secret shop/regcred a.yaml:4"},
		},
		{
			"a pod with pull Secrets of its own gets none of the account's", pod("{serviceAccountName: web, imagePullSecrets: [{name: there}], "+none+"}") + `---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}, imagePullSecrets: [{name: regcred}]}
---
{apiVersion: v1, kind: Secret, metadata: {name: there, namespace: shop}}
`, nil,
		},
		{"what a policy denies to pods is denied, whatever its templateAction", needsDB + `---
apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: strict}
spec: {templateAction: None, checks: [{name: secret-exists, action: Deny}]}
`, []string{strings.Replace(missingDB, "Warn", "Deny", 1)}},
		{"keys of a Secret that something makes are not known, and that is no fault", `apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {automountServiceAccountToken: false, containers: [{name: c, env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: password}}}]}]}
---
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: {name: db}
`, []string{"Secret default/db by SealedSecret default/db"}},
		{"keys that a Secret does not have", `apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  automountServiceAccountToken: false
  containers:
  - name: c
    env:
    - name: A
      valueFrom:
        secretKeyRef:
          name: db
          key: password
---
{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {user: me}}
`, []string{"Warn secret-key-exists absent Pod default/p Secret default/db a.yaml:13"}},
		{"a token Secret is filled once it is made", `apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {automountServiceAccountToken: false, serviceAccountName: web, containers: [{name: c, env: [{name: A, valueFrom: {secretKeyRef: {name: t, key: ca.crt}}}]}]}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: t, annotations: {kubernetes.io/service-account.name: web}}}
`, nil},
		{"a class of the Secrets Store CSI driver makes Secrets, and is named", `apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  automountServiceAccountToken: false
  containers: [{name: c, envFrom: [{secretRef: {name: made}}], volumeMounts: [{name: s, mountPath: /s}]}]
  volumes: [{name: s, csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: vault}}}]
---
{apiVersion: secrets-store.csi.x-k8s.io/v1, kind: SecretProviderClass, metadata: {name: vault}, spec: {secretObjects: [{secretName: made}]}}
`, []string{"Secret default/made by SecretProviderClass default/vault"}},
		{"a class that is not among the manifests may make them", `apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  automountServiceAccountToken: false
  containers: [{name: c, envFrom: [{secretRef: {name: made}}], volumeMounts: [{name: s, mountPath: /s}]}]
  volumes: [{name: s, csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: vault}}}]
`, []string{"Audit secret-exists unknown Pod default/p Secret default/made a.yaml:6"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := check.Run(t.Context(), options(write(t, t.TempDir(), "a.yaml", tt.text)))
			if err != nil {
				t.Fatal(err)
			}
			if got := lines(r); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// live is a cluster that has some Secrets, and the namespaces that they are in.
type live map[string]bool

func (l live) Read(_ context.Context, _ time.Time, queries []facts.Query, _ []facts.Fact) []facts.Fact {
	answers := make([]facts.Fact, len(queries))
	for i, q := range queries {
		answers[i] = facts.Fact{State: facts.Absent}
		if l[q.String()] {
			answers[i] = facts.Fact{State: facts.Present, Contents: true, Fresh: true}
		}
		if q.Kind == reference.ConfigMap {
			answers[i] = facts.Fact{Why: facts.Forbidden}
		}
	}
	return answers
}

func TestFactsAreLookedUpInTurn(t *testing.T) {
	dir := t.TempDir()
	manifests := write(t, dir, "a.yaml", needsDB)
	state := write(t, dir, "state/deep/b.yaml", "{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop}}")
	other := write(t, dir, "other/c.yaml", "{apiVersion: v1, kind: Secret, metadata: {name: other, namespace: shop}}")
	runsAsDefault := write(t, dir, "d.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: new}, spec: {automountServiceAccountToken: false, containers: [{name: c}]}}")
	tests := []struct {
		name    string
		file    string
		state   string
		live    source.Reader
		message string // of the only finding; "" for none
	}{
		{"in the manifests alone", manifests, "", nil, "is not among the manifests: unless something else makes it, the pod will hang"},
		{"in the state, below its directory", manifests, filepath.Dir(filepath.Dir(state)), nil, ""},
		{"not in the state, which is all that there is", manifests, other, nil, "does not exist: the pod will hang"},
		{"in the cluster", manifests, "", live{"Secret shop/db": true, "Namespace shop": true}, ""},
		{"not in the cluster", manifests, "", live{"Namespace shop": true}, "does not exist: the pod will hang"},
		{"what every namespace has, in one that the cluster does not have yet", runsAsDefault, "", live{}, ""},
		{"what every namespace has, missing from one that the cluster has", runsAsDefault, "", live{"Namespace new": true}, `ServiceAccount "default" (spec.serviceAccountName) does not exist`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(tt.file)
			o.Live = tt.live
			if tt.state != "" {
				o.State = check.Input{Paths: []string{tt.state}, Recursive: true}
			}
			r, err := check.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.message == "" && len(r.Results) > 0:
				t.Errorf("not expected: %q", lines(r))
			case tt.message != "" && (len(r.Results) != 1 || !strings.Contains(r.Results[0].Message, tt.message)):
				t.Errorf("want %q, got %+v", tt.message, r.Results)
			}
		})
	}
}

func TestPoliciesThatCount(t *testing.T) {
	compiler := policy.NewCompiler(policy.Checks())
	policies := func(action string) []*policy.Policy {
		p, err := compiler.Parse("p", []byte("{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: default}, spec: {checks: [{name: secret-exists, action: "+action+"}]}}"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	own := needsDB + "---\n{apiVersion: tokenward.dev/v1alpha1, kind: TokenPolicy, metadata: {name: default}, spec: {checks: [{name: secret-exists, action: Deny}]}}\n"
	for _, tt := range []struct {
		name, text string
		base       []*policy.Policy
		only       bool
		want       string
	}{
		{"none: the built-in one", needsDB, nil, false, "Warn"},
		{"those among the manifests", own, nil, false, "Deny"},
		{"one among the manifests takes the place of the cluster's", own, policies("Audit"), false, "Deny"},
		{"those of a file, and no others", own, policies("Audit"), true, "Audit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(write(t, t.TempDir(), "a.yaml", tt.text))
			o.Policies, o.Only = tt.base, tt.only
			r, err := check.Run(t.Context(), o)
			if err != nil || len(r.Results) != 1 || string(r.Results[0].Action) != tt.want {
				t.Errorf("want %s, got %v %+v", tt.want, err, r)
			}
		})
	}
}
