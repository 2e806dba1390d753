package servingcert

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// forgetfulAPI is an API server with one Secret, which it last changed long ago: it
// no longer has the history since then.
type forgetfulAPI struct {
	mu      sync.Mutex
	secret  *corev1.Secret
	version int // of the latest write of any Secret
	oldest  int // what it can watch from
	// requests are those that came, such as "watch from 5".
	requests []string
	// changed ends each watch once it is closed.
	changed chan struct{}
	events  chan metav1.WatchEvent
}

func (a *forgetfulAPI) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	out.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	a.mu.Lock()
	list := corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(a.version)}}
	list.APIVersion, list.Kind = "v1", "SecretList"
	if a.secret != nil {
		list.Items = append(list.Items, *a.secret)
	}
	oldest, changed := a.oldest, a.changed
	request := "list"
	if query.Get("watch") != "" {
		request = "watch from " + query.Get("resourceVersion")
	}
	a.requests = append(a.requests, request)
	a.mu.Unlock()
	if query.Get("fieldSelector") != "metadata.name=s" {
		http.Error(out, "not for one name", http.StatusForbidden)
		return
	}
	if request == "list" {
		_ = json.NewEncoder(out).Encode(list)
		return
	}
	if from, _ := strconv.Atoi(query.Get("resourceVersion")); from < oldest {
		gone := apierrors.NewResourceExpired("too old resource version: " + query.Get("resourceVersion")).Status()
		raw, _ := json.Marshal(gone)
		event := metav1.WatchEvent{Type: "ERROR"}
		event.Object.Raw = raw
		_ = json.NewEncoder(out).Encode(event)
		return
	}
	_ = http.NewResponseController(out).Flush()
	for {
		select {
		case event := <-a.events:
			_ = json.NewEncoder(out).Encode(event)
			_ = http.NewResponseController(out).Flush()
		case <-changed:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// write changes the Secret, and returns the event of that.
func (a *forgetfulAPI) write(event string) metav1.WatchEvent {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.secret.ResourceVersion = strconv.Itoa(a.version)
	e := metav1.WatchEvent{Type: event}
	e.Object.Raw, _ = json.Marshal(a.secret)
	return e
}

// restart ends all watches and forgets the history.
func (a *forgetfulAPI) restart() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version += 1000
	a.oldest = a.version
	close(a.changed)
	a.changed = make(chan struct{})
}

func newForgetfulAPI() *forgetfulAPI {
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", ResourceVersion: "5"},
	}
	return &forgetfulAPI{secret: secret, version: 1000, oldest: 900, changed: make(chan struct{}), events: make(chan metav1.WatchEvent)}
}

func secretsOf(t *testing.T, config *rest.Config) core.SecretInterface {
	t.Helper()
	config.QPS = -1
	client, err := core.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.Secrets("ns")
}

func TestAnObjectThatHasNotChangedForLongIsFollowed(t *testing.T) {
	api := newForgetfulAPI()
	server := httptest.NewServer(api)
	defer server.Close()
	ctx, stop := context.WithCancel(t.Context())
	states, errs, done := make(chan string, 10), make(chan error, 10), make(chan struct{})
	go func() {
		defer close(done)
		follow[*corev1.Secret](ctx, secretsOf(t, &rest.Config{Host: server.URL}), "s", func(s *corev1.Secret, exists bool) {
			if !exists {
				states <- "none"
				return
			}
			states <- s.ResourceVersion
		}, func(err error) {
			if err != nil {
				errs <- err
			}
		})
	}()
	want := func(state string) {
		t.Helper()
		select {
		case got := <-states:
			if got != state {
				t.Fatalf("state %s, want %s", got, state)
			}
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(30 * time.Second):
			t.Fatalf("no state, want %s", state)
		}
	}
	want("5")
	api.events <- api.write("MODIFIED")
	want("1001")
	api.restart()
	want("1001")
	api.events <- api.write("DELETED")
	want("none")
	stop()
	<-done
	if want := []string{"list", "watch from 1000", "watch from 1001", "list", "watch from 2001"}; !slices.Equal(api.requests, want) {
		t.Errorf("requests: %q, want %q", api.requests, want)
	}
}

// inProcess answers requests without a network.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	p.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

func TestAnAPIServerThatCanWatchFromNoVersionIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newForgetfulAPI()
		api.oldest = 1 << 30
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		follow[*corev1.Secret](ctx, secretsOf(t, &rest.Config{Host: "http://api", Transport: inProcess{api}}), "s",
			func(*corev1.Secret, bool) {}, func(err error) {
				if err != nil {
					t.Errorf("to list again is no failure: %v", err)
				}
			})
		// A list and a watch each time, with 1.5 s between on average.
		if n := len(api.requests); n < 1000 || n > 2*60*60 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

func TestAFailureIsLoggedOnceAMinuteAtMost(t *testing.T) {
	now, lines := noon, 0
	s := newShared(nil, nil, SharedOptions{Now: func() time.Time { return now }}, funcr.New(func(string, string) { lines++ }, funcr.Options{}))
	failed := s.failureLogger("secret", "can't be read")
	for i := range 120 { // a failure a second, with another text each, and some successes
		failed(errors.New("read from port " + strconv.Itoa(i)))
		if i%10 == 0 {
			failed(nil)
		}
		now = now.Add(time.Second)
	}
	if lines != 2 {
		t.Errorf("%d lines in two minutes", lines)
	}
	for range 600 {
		failed(errors.New("forbidden"))
		now = now.Add(time.Second)
	}
	if lines != 3 {
		t.Errorf("%d lines, one more wanted for a failure that stays the same", lines-2)
	}
}
