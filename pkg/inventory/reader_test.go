package inventory

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

// slowServer answers every read when it is let go, and counts them.
func slowServer(t *testing.T) (config *rest.Config, reads *atomic.Int32, letGo chan struct{}) {
	t.Helper()
	reads, letGo = &atomic.Int32{}, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads.Add(1)
		select {
		case <-letGo:
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		})
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: -1}, reads, letGo
}

func TestReadsAreSharedOnlyByRequestsThatArrivedBefore(t *testing.T) {
	config, reads, letGo := slowServer(t)
	r := testReader(t, config)
	query := facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "db"}}
	answers := make(chan facts.Fact, 4)
	read := func(arrived time.Time) {
		go func() { answers <- r.read(t.Context(), arrived, &query, pays) }()
	}
	early := time.Now()
	read(early)
	waitFor(t, func() bool { return reads.Load() == 1 })
	read(early)
	read(early)
	late := time.Now()
	read(late)
	waitFor(t, func() bool { return reads.Load() == 2 })
	close(letGo)
	for range 4 {
		if f := <-answers; f.State != facts.Present {
			t.Errorf("got %+v", f)
		}
	}
	if n := reads.Load(); n != 2 {
		t.Errorf("%d reads, want 2: one for those that came before it started, one for the late request", n)
	}
}

func TestAReadOutlivesTheRequestThatStartedIt(t *testing.T) {
	config, reads, letGo := slowServer(t)
	r := testReader(t, config)
	query := facts.Query{Object: facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "db"}}
	arrived := time.Now()
	impatient, giveUp := context.WithCancel(t.Context())
	first := make(chan facts.Fact, 1)
	go func() { first <- r.read(impatient, arrived, &query, pays) }()
	waitFor(t, func() bool { return reads.Load() == 1 })
	shared, own, _ := r.join(t.Context(), arrived, keyOf(&query), func() bool { return true })
	if own {
		t.Fatal("the second request does not share the read")
	}
	giveUp()
	if f := <-first; f.State != facts.Unknown || f.Why != facts.Timeout {
		t.Errorf("the request that gave up: %+v", f)
	}
	close(letGo)
	<-shared.done
	if f := shared.answer; f.object == nil || reads.Load() != 1 {
		t.Errorf("the other one: %+v after %d reads", f.fact, reads.Load())
	}
}

// pays for every read.
func pays(int) bool { return true }

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 10s")
		}
		time.Sleep(time.Millisecond)
	}
}

func testReader(t *testing.T, config *rest.Config) *reader {
	t.Helper()
	client, err := cluster.NewClient(config, cluster.Reducer{})
	if err != nil {
		t.Fatal(err)
	}
	return newReader(client, maxInFlight, metrics.New(), logr.Discard())
}
