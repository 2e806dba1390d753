package hostile

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// refused is what every way round Deny must come to.
func refused(t *testing.T, v verdict) {
	t.Helper()
	if v.status != http.StatusOK || v.allowed {
		t.Errorf("not refused: %s", v)
	}
}

// padded is a forbidden pod with something beside it.
func padded(name string, p pod) row {
	return row{name: name, run: func(t *testing.T, x *target) { refused(t, x.ask(t, validatePods, review{pod: p.json()}.body())) }}
}

// sized is for what is refused or judged, whichever, and answered.
func sized(name, path string, body func() []byte) row {
	return row{name: name, run: func(t *testing.T, x *target) {
		if v := x.ask(t, path, body()); v.status == 0 || v.status >= 500 {
			t.Errorf("got %s", v)
		}
	}}
}

func mounted(volume string) func(int) string {
	return func(i int) string { return fmt.Sprintf(volume, i, i) }
}

// waysRound are ways round Deny: a pod with a forbidden token, and something that
// might keep the webhook from looking.
func waysRound() []row {
	optionalSecret := mounted(`{"name":"o%d","secret":{"secretName":"bogus-%d","optional":true}}`)
	optionalMap := mounted(`{"name":"o%d","configMap":{"name":"bogus-%d","optional":true}}`)
	env := named(`{"name":"E","valueFrom":{"secretKeyRef":{"name":"bogus-%d","key":"k","optional":true}}}`)
	long := strings.Repeat("x", 1_000_000)
	rows := []row{
		padded("the forbidden pod itself", pod{}),
		padded("1,500 objects of three kinds", pod{
			volumes:   append(many(500, optionalSecret), many(500, mounted(`{"name":"p%d","projected":{"sources":[{"configMap":{"name":"bogus-%d","optional":true}}]}}`))...),
			container: `,"env":` + list(500, named(`{"name":"E","valueFrom":{"configMapKeyRef":{"name":"variable-%d","key":"k","optional":true}}}`)),
		}),
		padded("a key of each of 300 bogus Secrets", pod{volumes: many(300, mounted(`{"name":"o%d","secret":{"secretName":"bogus-%d","optional":true,"items":[{"key":"k","path":"p"}]}}`))}),
		padded("a driver that is to make the forbidden Secret", pod{volumes: append(many(100, optionalSecret), `{"name":"d","csi":{"driver":"secrets-store.csi.k8s.io","volumeAttributes":{"secretProviderClass":"forbidden"}}}`)}),
		padded("64 bogus optional Secrets", pod{volumes: many(64, optionalSecret)}),
		padded("1,000 bogus optional Secrets", pod{volumes: many(1000, optionalSecret)}),
		padded("64 bogus optional ConfigMaps", pod{volumes: many(64, optionalMap)}),
		padded("2,000 bogus optional ConfigMaps", pod{volumes: many(2000, optionalMap)}),
		padded("200 bogus required Secrets", pod{volumes: many(200, mounted(`{"name":"o%d","secret":{"secretName":"bogus-%d"}}`))}),
		padded("300 trust bundles", pod{volumes: many(300, mounted(`{"name":"o%d","projected":{"sources":[{"clusterTrustBundle":{"name":"bogus-%d","path":"p","optional":true}}]}}`))}),
		padded("300 trust bundles by signer", pod{volumes: many(300, mounted(`{"name":"o%d","projected":{"sources":[{"clusterTrustBundle":{"signerName":"example.com/s%d","path":"p","optional":true}}]}}`))}),
		padded("1,000 projected sources in one volume", pod{volumes: []string{`{"name":"p","projected":{"sources":` + list(1000, named(`{"secret":{"name":"bogus-%d","optional":true}}`)) + `}}`}}),
		padded("500 init containers", pod{spec: `,"initContainers":` + list(500, mounted(`{"name":"i%d","envFrom":[{"secretRef":{"name":"bogus-%d","optional":true}}]}`))}),
		padded("2,000 variables", pod{container: `,"env":` + list(2000, env)}),
		padded("the environment of 300 containers", pod{containers: many(300, named(`{"name":"x%d","image":"i","env":`+list(10, env)+`}`))}),
		padded("500 providers of Secrets", pod{volumes: many(500, mounted(`{"name":"o%d","csi":{"driver":"secrets-store.csi.k8s.io","volumeAttributes":{"secretProviderClass":"bogus-%d"}}}`))}),
		padded("300 pull Secrets", pod{spec: `,"imagePullSecrets":` + list(300, named(`{"name":"bogus-%d"}`))}),
		padded("1,000 keys of one Secret", pod{volumes: []string{`{"name":"k","secret":{"secretName":"db","optional":true,"items":` + list(1000, mounted(`{"key":"k%d","path":"p%d"}`)) + `}}`}}),
		padded("an account of a very long name", pod{spec: `,"serviceAccountName":"` + long + `"`}),
		padded("a million characters of image", pod{containers: []string{`{"name":"b","image":"` + long + `"}`}}),
		padded("names that are no names", pod{volumes: many(200, mounted(`{"name":"o%d","secret":{"secretName":"../../%d\u0000\n","optional":true}}`))}),
		padded("nameless references", pod{container: `,"env":` + same(200, `{"name":"E","valueFrom":{"secretKeyRef":{"name":"","key":"k","optional":true}}}`)}),
		padded("a label selector that is large", pod{volumes: []string{`{"name":"b","projected":{"sources":[{"clusterTrustBundle":{"signerName":"a/b","path":"p","optional":true,"labelSelector":{"matchExpressions":[{"key":"a","operator":"In","values":` + list(5000, named(`"v%d"`)) + `}]}}}]}}`}}),
	}
	for name, metadata := range map[string]string{
		"100,000 labels":              `,"labels":{` + strings.Join(many(100_000, named(`"l%d":""`)), ",") + `}`,
		"an annotation of a megabyte": `,"annotations":{"a":"` + long + `"}`,
		"an annotation of escapes":    `,"annotations":{"a":"` + strings.Repeat(`\u003c`, 500_000) + `"}`,
		"being deleted in the future": `,"deletionTimestamp":"2999-01-01T00:00:00Z"`,
	} {
		rows = append(rows, padded(name, pod{metadata: metadata}))
	}
	return append(rows, conditions()...)
}

// conditions are pods that make a condition of a policy expensive. The ConfigMap that
// they want is missing.
func conditions() []row {
	const wants = `{"name":"m","configMap":{"name":"missing"}}`
	plain := func(metadata, image string) string {
		return `{"metadata":{"name":"a","labels":{"conditional":"yes"` + metadata + `},"spec":{"volumes":[` + wants + `],"containers":[{"name":"c","image":"` + image + `","volumeMounts":[{"name":"m","mountPath":"/m"}]}]}}`
	}
	rows := []row{}
	for name, p := range map[string]string{
		"a condition that is cheap":                           plain(`}`, "registry/app"),
		"a condition on a million characters":                 plain(`}`, strings.Repeat("a/", 500_000)),
		"a condition on a million capitals":                   plain(`}`, strings.Repeat("A", 1_000_000)),
		"a condition on 20,000 labels":                        plain(`,`+strings.Join(many(20_000, named(`"l%d":""`)), ",")+`}`, "i"),
		"a condition on 20,000 annotations":                   plain(`},"annotations":{`+strings.Join(many(20_000, named(`"l%d":""`)), ",")+`}`, "i"),
		"a condition on a megabyte of annotation":             plain(`},"annotations":{"a":"`+strings.Repeat("Ä", 500_000)+`"}`, "i"),
		"a condition on a label that only the condition sees": plain(`,"$":"x"}`, "i"),
	} {
		want := func(t *testing.T, v verdict) { refused(t, v) }
		if strings.Contains(name, "only the condition sees") {
			want = func(*testing.T, verdict) {} // it does not match: answered, whichever way
		}
		rows = append(rows, row{name: name, run: func(t *testing.T, x *target) { want(t, x.ask(t, validatePods, review{pod: p}.body())) }})
	}
	return rows
}

// updates are ways round Deny by changes of pods that exist, and by templates.
func updates() []row {
	old := `{"metadata":{"name":"attack"},"spec":{"containers":[{"name":"c"}],"volumes":[{"name":"t","secret":{"secretName":"forbidden","optional":true}}]}}`
	ephemeral := func(n int) string {
		return strings.Replace(old, `"volumes"`, `"ephemeralContainers":`+list(n, named(`{"name":"e%d","volumeMounts":[{"name":"t","mountPath":"/t"}]}`))+`,"volumes"`, 1)
	}
	deny := func(name string, r review, path string) row {
		return row{name: name, run: func(t *testing.T, x *target) { refused(t, x.ask(t, path, r.body())) }}
	}
	template := func(p string) string {
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"selector":{},"template":` + p + `}}`
	}
	escaped := `,"annotations":{"a":"` + strings.Repeat(`\u003c`, 1_500_000) + `"}`
	largest := pod{metadata: escaped}.json()
	rows := []row{
		deny("an ephemeral container mounts it later", review{operation: "UPDATE", subResource: "ephemeralcontainers", pod: ephemeral(1), old: old}, validatePods),
		deny("5,000 ephemeral containers mount it", review{operation: "UPDATE", subResource: "ephemeralcontainers", pod: ephemeral(5000), old: old}, validatePods),
		deny("a template", review{kind: "Deployment", pod: template(pod{}.json())}, validateWork),
		deny("a template with 1,000 bogus Secrets", review{kind: "Deployment", pod: template(pod{volumes: many(1000, mounted(`{"name":"o%d","secret":{"secretName":"bogus-%d","optional":true}}`))}.json())}, validateWork),
		deny("a template of 18 MB", review{kind: "Deployment", operation: "UPDATE", pod: template(largest), old: template(`{"metadata":{` + escaped[1:] + `}}`)}, validateWork),
		deny("a user with 100,000 groups", review{pod: pod{}.json(), user: `{"username":"eve","groups":` + list(100_000, named(`"group-%d"`)) + `}`}, validatePods),
	}
	// The largest review that an API server can send is judged: this one is refused for
	// its token, not for its size.
	rows = append(rows, row{name: "an UPDATE of 1.5 MB stored, escaped six-fold", within: 8 * time.Second, run: func(t *testing.T, x *target) {
		body := review{operation: "UPDATE", subResource: "ephemeralcontainers", pod: strings.Replace(ephemeral(1), `"name":"attack"`, `"name":"attack"`+escaped, 1), old: strings.Replace(old, `"name":"attack"`, `"name":"attack"`+escaped, 1)}.body()
		v := x.ask(t, validatePods, body)
		refused(t, v)
		if v.code != http.StatusForbidden || len(body) < 18_000_000 {
			t.Errorf("%d bytes were not judged: %s", len(body), v)
		}
	}})
	return rows
}

// floods are many reviews at a time, and then the forbidden pod.
func floods() []row {
	flood := func(name, namespace string, body func(i int) []byte, n int) row {
		return row{name: name, within: 20 * time.Second, run: func(t *testing.T, x *target) {
			ctx, stop := context.WithCancel(t.Context())
			var group sync.WaitGroup
			client := x.newClient()
			for worker := range 40 {
				group.Go(func() {
					for i := worker; i < n && ctx.Err() == nil; i += 40 {
						_, _ = post(ctx, client, "https://"+x.addr+validatePods+"?timeout=5s", body(i))
					}
				})
			}
			time.Sleep(200 * time.Millisecond)
			for range 5 {
				refused(t, x.ask(t, validatePods, review{namespace: namespace, pod: pod{}.json()}.body()))
			}
			stop()
			group.Wait()
			refused(t, x.ask(t, validatePods, review{namespace: namespace, pod: pod{}.json()}.body()))
			client.CloseIdleConnections()
		}}
	}
	bogus := func(namespace string) func(int) []byte {
		return func(i int) []byte {
			p := pod{volumes: many(20, func(n int) string {
				return fmt.Sprintf(`{"name":"o%d","secret":{"secretName":"flood-%d-%d"}}`, n, i, n)
			})}
			return review{namespace: namespace, pod: p.json()}.body()
		}
	}
	large := func(int) []byte {
		return review{pod: pod{metadata: `,"annotations":{"a":"` + strings.Repeat("x", 900_000) + `"}`}.json()}.body()
	}
	forbidden := func(int) []byte { return review{pod: pod{}.json()}.body() }
	mixed := func(i int) []byte {
		return review{pod: pod{
			volumes:   many(50, func(n int) string { return fmt.Sprintf(`{"name":"m%d","configMap":{"name":"flood-%d-%d"}}`, n, i, n) }),
			container: `,"env":` + list(50, named(`{"name":"E","valueFrom":{"secretKeyRef":{"name":"db","key":"k%d"}}}`)),
		}.json()}.body()
	}
	return []row{
		flood("a flood of the forbidden pod itself", "shop", forbidden, 2000),
		flood("a flood of ConfigMaps and keys", "shop", mixed, 1000),
		flood("a flood of bogus names in the same namespace", "shop", bogus("shop"), 2000),
		flood("a flood of bogus names in another namespace", "shop", bogus("flood"), 2000),
		flood("a flood of reviews of a megabyte", "shop", large, 200),
	}
}
