package hostile

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// references are pods that point at very much. They come first, when the webhook is at
// rest, for they must not take much more.
func references() []row {
	of := func(n int) func() []byte {
		env := named(`{"name":"E","valueFrom":{"secretKeyRef":{"name":"s-%d","key":"k"}}}`)
		return func() []byte {
			return review{pod: `{"spec":{"containers":[{"name":"c","env":` + list(n, env) + `}]}}`}.body()
		}
	}
	few, more := sized("10,000 references", validatePods, of(10_000)), sized("100,000 references", validatePods, of(100_000))
	few.cpu, few.above, more.above = 100*time.Millisecond, 64, 64
	return []row{few, more}
}

// sizes are bodies that are large, deep, or no reviews at all.
func sizes() []row {
	spec := func(s string) func() []byte {
		return func() []byte { return review{pod: `{"spec":` + s + `}`}.body() }
	}
	metadata := func(s string) func() []byte {
		return func() []byte { return review{pod: `{"metadata":` + s + `}`}.body() }
	}
	text := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	deep := strings.Repeat(`{"a":`, 9_000) + "1" + strings.Repeat("}", 9_000)
	rows := []row{
		sized("430,000 empty volumes", validatePods, spec(`{"volumes":`+same(430_000, "{}")+`}`)),
		sized("430,000 empty volumes to be changed", mutatePods, spec(`{"volumes":`+same(430_000, "{}")+`}`)),
		sized("430,000 empty containers", validatePods, spec(`{"containers":`+same(430_000, "{}")+`}`)),
		sized("30,000 empty containers, which is not too many", validatePods, spec(`{"containers":`+same(30_000, "{}")+`}`)),
		sized("a million empty variables", validatePods, spec(`{"containers":[{"env":`+same(1_000_000, "{}")+`}]}`)),
		sized("a million empty sources", validatePods, spec(`{"volumes":[{"projected":{"sources":`+same(1_000_000, "{}")+`}}]}`)),
		sized("a million null volumes", validatePods, spec(`{"volumes":`+same(1_000_000, "null")+`}`)),
		sized("6 million zeros", validatePods, spec(`{"unread":`+same(6_000_000, "0")+`}`)),
		sized("400,000 labels", validatePods, metadata(`{"labels":{`+strings.Join(many(400_000, named(`"l%d":""`)), ",")+`}}`)),
		sized("managedFields of 300,000 entries", mutatePods, metadata(`{"managedFields":`+same(300_000, "{}")+`}`)),
		sized("managedFields that are deep", mutatePods, metadata(`{"managedFields":[{"fieldsV1":`+deep+`}]}`)),
		sized("objects 9,000 deep", validatePods, spec(deep)),
		sized("a million objects deep", validatePods, spec(strings.Repeat(`{"a":`, 1_000_000))),
		sized("lists 5 million deep", validatePods, spec(strings.Repeat(`[`, 5_000_000))),
		sized("19 MB of backslashes", validatePods, metadata(`{"name":"`+strings.Repeat(`\\`, 9_500_000)+`"}`)),
		sized("a name of 10 MB", validatePods, metadata(`{"name":"`+strings.Repeat("x", 10<<20)+`"}`)),
		sized("a number of a million digits", validatePods, spec(`{"terminationGracePeriodSeconds":`+strings.Repeat("9", 1_000_000)+`}`)),
		sized("two million names twice", validatePods, spec(`{`+strings.Repeat(`"volumes":[],`, 400_000)+`"volumes":[]}`)),
		sized("no UTF-8", validatePods, metadata(`{"name":"`+strings.Repeat("\xff\xfe", 100_000)+`"}`)),
		sized("a lone surrogate", validatePods, metadata(`{"name":"\ud800"}`)),
		sized("a key of a megabyte", validatePods, metadata(`{"`+strings.Repeat("k", 1_000_000)+`":1}`)),
		sized("a uid of a megabyte", validatePods, text(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"`+strings.Repeat("u", 1_000_000)+`"}}`)),
		sized("nothing", validatePods, text("")),
		sized("no JSON", validatePods, text("\x1f\x8b\x08\x00")),
		sized("a review that ends early", validatePods, text(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1","object":{"spec":{"volumes":[{}`)),
		sized("rubbish behind a review", validatePods, func() []byte { return append(review{pod: plainPod}.body(), `}}]]`...) }),
		sized("a list of reviews", validatePods, func() []byte { return []byte("[" + string(review{pod: plainPod}.body()) + "]") }),
		sized("volumes that are a string", validatePods, spec(`{"volumes":"x"}`)),
		sized("a pod that is null", validatePods, func() []byte { return review{}.body() }),
		sized("a template of 430,000 volumes", validateWork, func() []byte {
			return review{kind: "Deployment", pod: `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":{"volumes":` + same(430_000, "{}") + `}}}}`}.body()
		}),
		sized("a Deployment that is a list", validateWork, func() []byte { return review{kind: "Deployment", pod: "[]"}.body() }),
	}
	return append(rows, row{name: "a body of 40 MB", within: 2 * time.Second, run: func(t *testing.T, x *target) {
		v, err := x.post(validatePods, review{pod: `{"metadata":{"annotations":{"a":"` + strings.Repeat("x", 40<<20) + `"}}}`}.body())
		if err == nil && v.allowed { // the connection may end while the body is sent
			t.Errorf("got %s", v)
		}
	}}, row{name: "20 bodies of 18 MB at a time", within: 10 * time.Second, run: func(t *testing.T, x *target) {
		body := review{pod: pod{metadata: `,"annotations":{"a":"` + strings.Repeat(`\u003c`, 3_000_000) + `"}`}.json()}.body()
		got := make(chan verdict)
		for range 20 {
			go func() {
				client := x.newClient()
				defer client.CloseIdleConnections()
				v, err := post(t.Context(), client, "https://"+x.addr+validatePods+"?timeout=5s", body)
				if err != nil {
					v.message = err.Error()
				}
				got <- v
			}()
		}
		for range 20 {
			if v := <-got; v.status == 0 || v.allowed || (v.status == http.StatusOK && v.code != http.StatusForbidden && v.code != http.StatusTooManyRequests) {
				t.Errorf("neither refused nor refused for now: %s", v)
			}
		}
	}})
}
