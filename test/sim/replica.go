package sim

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/admission"
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/inventory"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policysource"
	"tokenward.dev/tokenward/pkg/trust"
)

// ownNamespace is the one that the webhook runs in.
const ownNamespace = "tokenward"

// replica is one replica of the webhook: the parts that cmd/webhook puts together,
// without sockets.
type replica struct {
	name    string
	world   *world
	handler http.Handler
	ready   func() bool
	stop    context.CancelFunc
	parts   *sync.WaitGroup
}

// start begins to run a replica.
func (w *world) start(name string) (*replica, error) {
	config := &rest.Config{Host: "https://kubernetes", Transport: newTransport(w, name)}
	m, log := metrics.New(), logr.Discard()
	compiler := policy.NewCompiler(policy.Checks())
	source, err := policysource.NewCluster(config, compiler, policy.Options{}, m, log)
	if err != nil {
		return nil, err
	}
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, err
	}
	inv, err := inventory.New(config, inventory.Options{
		StaleAfter: w.plan.staleAfter,
		Signing: trust.Options{
			Refresh: w.plan.refresh, Settle: w.plan.settle,
			Record: &trust.ConfigMapRecord{Client: client, Namespace: ownNamespace, Name: "tokenward-signing-keys"},
		},
	}, m, log)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &replica{name: name, world: w, stop: stop, parts: &sync.WaitGroup{}}
	r.ready = func() bool { return inv.Synced() && source.Synced() }
	for _, part := range []func(context.Context) error{source.Start, inv.Start} {
		r.parts.Go(func() { _ = part(ctx) })
	}
	r.handler = &admission.Handler{Decode: admission.Pods, AtMost: v1alpha1.Deny, Endpoint: admission.Endpoint{
		Path: "/validate/pods", Policies: source, Source: inv, Ready: r.ready, Gate: intake.New(intake.Limits{Bytes: intake.DefaultBytes, Reviews: intake.DefaultReviews}), Now: time.Now, Metrics: m, Log: log,
	}}
	return r, nil
}

// end stops a replica and waits until all that it ran has ended.
func (r *replica) end() {
	r.stop()
	r.parts.Wait()
}
