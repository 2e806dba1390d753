package hostile

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tokens are token Secrets that tenants make. All watches see them, and then a pod
// brings each.
func tokens() []row {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	large := strings.Repeat("x", 600_000)
	hostile := map[string]string{
		"a token of 659 KiB":                     part(`{"alg":"RS256"}`) + "." + part(`{"a":"`+strings.Repeat("x", 490_000)+`"}`) + ".sig",
		"a token with a key id of 600 KB":        part(`{"alg":"RS256","kid":"`+large+`"}`) + "." + part(`{}`) + ".sig",
		"a token of dots":                        strings.Repeat(".", 600_000),
		"a token that signs itself":              part(`{"alg":"none"}`) + "." + part(`{"iss":"kubernetes/serviceaccount"}`) + ".",
		"a token with a key of its own":          part(`{"alg":"RS256","jwk":{"kty":"RSA","n":"AQ","e":"AQAB"}}`) + "." + part(`{}`) + ".sig",
		"a token with claims 9,000 deep":         part(`{"alg":"RS256"}`) + "." + part(strings.Repeat(`{"a":`, 9000)+"1"+strings.Repeat("}", 9000)) + ".sig",
		"a token with 100,000 audiences":         part(`{"alg":"RS256"}`) + "." + part(`{"aud":`+same(100_000, `"a"`)+`}`) + ".sig",
		"a token that expires in the year 1e300": part(`{"alg":"RS256"}`) + "." + part(`{"exp":1e300,"nbf":-1e300}`) + ".sig",
		"a token that was encrypted":             part(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`) + "..a.b.c",
	}
	var rows []row
	for name, token := range hostile {
		rows = append(rows, row{name: name, run: func(t *testing.T, x *target) {
			secret := fmt.Sprintf("token-%d", len(token))
			x.api.putToken("shop", secret, token)
			volume := `{"name":"h","secret":{"secretName":"` + secret + `"}}`
			refused(t, x.ask(t, validatePods, review{pod: pod{volumes: []string{volume}}.json()}.body()))
		}})
	}
	rows = append(rows, row{name: "200 token Secrets of 659 KiB", within: 5 * time.Second, above: 64, run: func(t *testing.T, x *target) {
		token := hostile["a token of 659 KiB"]
		for i := range 200 {
			x.api.putToken("shop", fmt.Sprintf("many-%d", i), token+fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		refused(t, x.ask(t, validatePods, review{pod: pod{}.json()}.body()))
	}}, row{name: "a Secret with 3,000 tokens", run: func(t *testing.T, x *target) {
		data := object{}
		for i := range 3000 {
			data[fmt.Sprintf("k%d", i)] = []byte(part(`{"alg":"RS256"}`) + "." + part(fmt.Sprintf(`{"iss":"https://issuer","sub":"system:serviceaccount:shop:default","n":%d}`, i)) + ".sig")
		}
		x.api.put("secrets", "shop", "keyring", object{"type": "Opaque", "data": data})
		time.Sleep(100 * time.Millisecond)
		refused(t, x.ask(t, validatePods, review{pod: pod{volumes: []string{`{"name":"h","secret":{"secretName":"keyring"}}`}}.json()}.body()))
	}}, row{name: "an annotation of a megabyte on a Secret", run: func(t *testing.T, x *target) {
		x.api.put("secrets", "shop", "noted", object{"type": "Opaque", "metadata": object{"annotations": object{"a": large}}})
		time.Sleep(100 * time.Millisecond)
		refused(t, x.ask(t, validatePods, review{pod: pod{}.json()}.body()))
	}})
	return rows
}

// keys are what an API server publishes in the place of its signing keys.
func keys() []row {
	published := func(name string, body func(w io.Writer)) row {
		return row{name: name, within: 4 * time.Second, run: func(t *testing.T, x *target) {
			asked := make(chan struct{}, 100)
			x.api.keysOf(func(w io.Writer) {
				select {
				case asked <- struct{}{}:
				default:
				}
				body(w)
			})
			defer x.api.jwks.Store(nil)
			for range 2 {
				select {
				case <-asked:
				case <-time.After(patience):
					t.Fatal("nobody asked for the keys")
				}
			}
			refused(t, x.ask(t, validatePods, review{pod: pod{}.json()}.body()))
		}}
	}
	text := func(s string) func(io.Writer) { return func(w io.Writer) { _, _ = io.WriteString(w, s) } }
	return []row{
		published("keys of 30 MB", text(`{"keys":[`+strings.Repeat(" ", 30<<20)+`]}`)),
		published("100,000 keys", text(`{"keys":`+list(100_000, named(`{"kty":"RSA","kid":"k%d","n":"AQAB","e":"AQAB"}`))+`}`)),
		published("a modulus of a million bits", text(`{"keys":[{"kty":"RSA","kid":"k","n":"`+strings.Repeat("A", 170_000)+`","e":"AQAB"}]}`)),
		published("an exponent of one", text(`{"keys":[{"kty":"RSA","kid":"k","n":"`+strings.Repeat("z", 342)+`","e":"AQ"}]}`)),
		published("keys that are deep", text(strings.Repeat(`{"keys":[`, 100_000))),
		published("keys that are no JSON", text("<html>")),
		published("a key id of a megabyte", text(`{"keys":[{"kty":"RSA","kid":"`+strings.Repeat("k", 1<<20)+`","n":"AQAB","e":"AQAB"}]}`)),
		published("keys that come by the byte", func(w io.Writer) {
			for range 20 {
				_, _ = io.WriteString(w, " ")
				time.Sleep(50 * time.Millisecond)
			}
		}),
	}
}

// hostilePolicies are TokenPolicies, each with what is below spec.
func hostilePolicies() map[string]string {
	condition := func(expression string) string {
		return `{"matchConditions":[{"name":"c","expression":"` + expression + `"}],"checks":[{"name":"secret-exists","action":"Deny"}]}`
	}
	return map[string]string{
		"a condition of 100 KB":             condition(strings.Repeat("true && ", 12_000) + "true"),
		"a condition 10,000 deep":           condition(strings.Repeat("(", 10_000) + "true" + strings.Repeat(")", 10_000)),
		"a condition of lists in lists":     condition("[" + strings.Repeat("[0,1,2,3,4,5,6,7,8,9].all(a, ", 8) + "true" + strings.Repeat(")", 8) + "].all(x, x)"),
		"a condition with a huge pattern":   condition("'a'.matches('(a{1000}){1000}')"),
		"a condition that never ends":       condition("'a" + strings.Repeat("a", 50_000)),
		"a condition of 50,000 strings":     condition("'x' in [" + strings.Repeat("'x',", 50_000) + "'x']"),
		"1,000 conditions":                  `{"matchConditions":` + list(1000, named(`{"name":"c%d","expression":"object.metadata.name != ''"}`)) + `}`,
		"10,000 exemptions":                 `{"checks":[{"name":"secret-exists","action":"Deny"}],"exemptions":` + list(10_000, named(`{"name":"e%d","namespaces":["shop"]}`)) + `}`,
		"10,000 checks":                     `{"checks":` + same(10_000, `{"name":"secret-exists","action":"Deny"}`) + `}`,
		"a selector of 50,000 values":       `{"match":{"namespaceSelector":{"matchExpressions":[{"key":"a","operator":"In","values":` + list(50_000, named(`"v%d"`)) + `}]}}}`,
		"a check with a name of a megabyte": `{"checks":[{"name":"` + strings.Repeat("x", 1_000_000) + `","action":"Deny"}]}`,
		"a policy that is a list":           `[]`,
	}
}

// reviewedPolicies come to the webhook that validates policies.
func reviewedPolicies() []row {
	var rows []row
	for name, spec := range hostilePolicies() {
		body := join(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","kind":{"group":"tokenward.dev","version":"v1alpha1","kind":"TokenPolicy"},"operation":"CREATE","object":`,
			`{"apiVersion":"tokenward.dev/v1alpha1","kind":"TokenPolicy","metadata":{"name":"p"},"spec":`, spec, `}}}`)
		r := sized("reviewed: "+name, validatePolicy, func() []byte { return body })
		r.within = 2 * time.Second
		rows = append(rows, r)
	}
	return rows
}

// Files are given by whoever runs the webhook, from repositories that others write to.
// The program refuses them, or starts.
func TestHostileFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts the program many times")
	}
	type file struct{ flag, content string }
	files := map[string]file{}
	for name, spec := range hostilePolicies() {
		files["policies: "+name] = file{"--policy-file", `{"apiVersion":"tokenward.dev/v1alpha1","kind":"TokenPolicy","metadata":{"name":"p"},"spec":` + spec + `}`}
	}
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 12 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {namespace: a, name: b}\n"
	for name, content := range map[string]string{
		"a bomb of aliases":              bomb,
		"an alias of itself":             "a: &a [*a]\n",
		"a merge of itself":              "a: &a\n  <<: *a\n",
		"flow lists 100,000 deep":        strings.Repeat("[", 100_000),
		"blocks 5,000 deep":              strings.Join(many(5_000, func(i int) string { return strings.Repeat(" ", i) + "a:" }), "\n"),
		"a million dashes":               strings.Repeat("- ", 1_000_000),
		"200,000 documents":              strings.Repeat("---\n", 200_000),
		"20,000 names twice":             strings.Repeat("a: 1\n", 20_000),
		"no text":                        strings.Repeat("\x00\xff", 100_000),
		"control characters":             secret + "data: {\"\x1b[2J\": eA==}\n",
		"tags of other languages":        "!!python/object/apply:os.system [ls]\n",
		"a scalar of 10 MB":              "a: " + strings.Repeat("x", 10<<20) + "\n",
		"an integer of a million digits": "a: " + strings.Repeat("9", 1_000_000) + "\n",
	} {
		files["policies: "+name] = file{"--policy-file", content}
		files["manifests: "+name] = file{"--cluster-state", content}
	}
	files["manifests: 50,000 Secrets"] = file{"--cluster-state", strings.Join(many(20_000, named("apiVersion: v1\nkind: Secret\nmetadata: {namespace: a, name: s%d}\n")), "---\n")}
	files["manifests: a Secret that is no base64"] = file{"--cluster-state", secret + "data: {a: '!'}\n"}
	files["manifests: a list that holds itself"] = file{"--cluster-state", "apiVersion: v1\nkind: List\nitems: &i [*i]\n"}
	files["keys: rubbish"] = file{"--service-account-key-file", strings.Repeat("x", 1<<20)}
	files["keys: 20,000 in JWKS"] = file{"--service-account-key-file", `{"keys":` + list(20_000, named(`{"kty":"RSA","kid":"k%d","n":"AQAB","e":"AQAB"}`)) + `}`}
	files["client CAs: rubbish"] = file{"--client-ca", "-----BEGIN CERTIFICATE-----\n" + strings.Repeat("A", 1<<20) + "\n-----END CERTIFICATE-----\n"}
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, f := range files {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file.yaml")
			if err := os.WriteFile(path, []byte(f.content), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{f.flag + "=" + path}
			if f.flag != "--cluster-state" {
				args = append(args, "--cluster-state="+empty)
			}
			begin := time.Now()
			ended, peak, log := runOnce(t, args...)
			if took := time.Since(begin); took > 5*slack*time.Second || peak > memoryLimit>>20 || strings.Contains(log, "\x1b") || (ended && !strings.Contains(log, f.flag)) {
				t.Errorf("ended %t after %s with %d MiB: %.300q", ended, took, peak, log)
			}
			if os.Getenv("HOSTILE_TABLE") != "" {
				t.Logf("ended %t after %s with %d MiB: %.150q", ended, time.Since(begin).Round(time.Millisecond), peak, log)
			}
		})
	}
}
