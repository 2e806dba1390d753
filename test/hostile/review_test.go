package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const (
	validatePods    = "/validate/pods"
	mutatePods      = "/mutate/pods"
	validatePolicy  = "/validate/policies"
	validateWork    = "/validate/workloads"
	benignNamespace = "bank"
	// plainPod is what other people send meanwhile.
	plainPod = `{"metadata":{"name":"plain","labels":{"app":"plain"}},"spec":{"containers":[{"name":"c","image":"registry/plain","env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"db","key":"password"}}}],"volumeMounts":[{"name":"v","mountPath":"/v"}]}],"volumes":[{"name":"v","secret":{"secretName":"db"}}]}}`
)

// policies are in force all the time. "forbidden" holds a long-lived token.
const policies = `
apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: deny}
spec:
  templateAction: Deny
  checks:
    - {name: secret-exists, action: Deny}
    - {name: secret-key-exists, action: Deny}
    - {name: token-long-lived, action: Deny}
---
apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: conditional}
spec:
  failurePolicy: Fail
  match: {podSelector: {matchLabels: {conditional: "yes"}}}
  matchConditions:
    - name: images
      expression: "object.spec.containers.all(c, c.image.split('/').exists(p, p.lowerAscii() != ''))"
    - name: annotations
      expression: "object.metadata.?annotations.orValue({}).all(k, object.metadata.annotations[k].lowerAscii() != '!')"
    - name: labels
      expression: "object.metadata.labels.all(k, k.matches('^[a-z0-9A-Z./-]+$'))"
  checks:
    - {name: config-map-exists, action: Deny}
---
apiVersion: tokenward.dev/v1alpha1
kind: TokenPolicy
metadata: {name: projected}
spec:
  checks: [{name: secret-exists, action: Deny}]
  mutate: {longLivedTokenVolumes: {project: Existing}}
`

// review is what an API server sends.
type review struct {
	namespace, kind, operation, subResource, user, pod, old string
}

func (r review) body() []byte {
	or := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	group, resource := "", "pods"
	if r.kind == "Deployment" {
		group, resource = "apps", "deployments"
	}
	return join(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","kind":{"group":"`, group, `","version":"v1","kind":"`, or(r.kind, "Pod"),
		`"},"resource":{"group":"`, group, `","version":"v1","resource":"`, resource, `"},"subResource":"`, r.subResource, `","namespace":"`, or(r.namespace, "shop"),
		`","operation":"`, or(r.operation, "CREATE"), `","userInfo":`, or(r.user, `{"username":"eve"}`), `,"object":`, or(r.pod, "null"), `,"oldObject":`, or(r.old, "null"), `}}`)
}

// verdict is an answer.
type verdict struct {
	status  int
	allowed bool
	code    int
	message string
	text    string
}

func (v verdict) String() string {
	return fmt.Sprintf("HTTP %d, allowed %t, %d %.200q", v.status, v.allowed, v.code, v.message)
}

func (x *target) post(path string, body []byte) (verdict, error) {
	return post(context.Background(), x.client, "https://"+x.addr+path+"?timeout=10s", body)
}

func post(ctx context.Context, client *http.Client, url string, body []byte) (verdict, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return verdict{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return verdict{}, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	_ = response.Body.Close()
	if err != nil {
		return verdict{}, err
	}
	v := verdict{status: response.StatusCode, text: string(text)}
	var answer struct {
		Response struct {
			Allowed bool
			Status  struct {
				Code    int
				Message string
			}
		}
	}
	if v.status == http.StatusOK {
		if err := json.Unmarshal(text, &answer); err != nil {
			return v, err
		}
		v.allowed, v.code, v.message = answer.Response.Allowed, answer.Response.Status.Code, answer.Response.Status.Message
	} else {
		v.message = string(text)
	}
	return v, nil
}

// ask sends a review that must be answered.
func (x *target) ask(t *testing.T, path string, body []byte) verdict {
	t.Helper()
	v, err := x.post(path, body)
	if err != nil {
		t.Errorf("no answer: %v", err)
	}
	return v
}

// pod is a pod that brings a forbidden token. What attackers add goes beside it.
type pod struct {
	metadata, spec, container string // more members, each with a comma in front
	volumes                   []string
	containers                []string
}

func (p pod) json() string {
	volumes := append([]string{`{"name":"t","secret":{"secretName":"forbidden"}}`}, p.volumes...)
	containers := append([]string{`{"name":"c","image":"registry/app"` + p.container + `,"volumeMounts":[{"name":"t","mountPath":"/t"}]}`}, p.containers...)
	return `{"metadata":{"name":"attack"` + p.metadata + `},"spec":{"volumes":[` + strings.Join(volumes, ",") + `],"containers":[` + strings.Join(containers, ",") + `]` + p.spec + `}}`
}

// many returns a list of elements, each made by its number.
func many(n int, element func(i int) string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = element(i)
	}
	return out
}

// list returns a list in JSON.
func list(n int, element func(i int) string) string {
	return "[" + strings.Join(many(n, element), ",") + "]"
}

// same returns a list of one element, many times.
func same(n int, element string) string {
	return "[" + strings.Repeat(element+",", n-1) + element + "]"
}

func named(format string) func(int) string {
	return func(i int) string { return fmt.Sprintf(format, i) }
}
