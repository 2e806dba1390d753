package policysource

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

// Cluster takes policies from the API server, by a watch.
type Cluster struct {
	publisher
	client dynamic.NamespaceableResourceInterface
	synced atomic.Bool

	mu       sync.Mutex
	policies map[string]*entry // by name
	listed   bool              // the first list is complete
	logged   string            // the last error of list or watch that was logged

	changed chan struct{} // holds one: something is to be compiled
	settled chan struct{} // holds one: status may have to be written
}

// entry is one TokenPolicy with what was made of it. Its fields are replaced,
// never written to.
type entry struct {
	object   *v1alpha1.TokenPolicy
	compiled *policy.Policy // nil until it is compiled
	errs     field.ErrorList
}

// statusQPS bounds how many statuses are written in a second.
const statusQPS = 50

// NewCluster returns a source that reads from the API server of config. Start
// must run for it to become synced.
func NewCluster(config *rest.Config, compiler *policy.Compiler, options policy.Options, m *metrics.Metrics, log logr.Logger) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = statusQPS, 2*statusQPS
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	c := &Cluster{
		publisher: publisher{compiler: compiler.Stored(), options: options, metrics: m, log: log},
		client:    client.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource)),
		policies:  map[string]*entry{}, changed: make(chan struct{}, 1), settled: make(chan struct{}, 1),
	}
	m.InventorySynced.WithLabelValues(v1alpha1.TokenPolicyKind).Set(0)
	c.publish(nil, 0)
	return c, nil
}

// Synced implements Source.
func (c *Cluster) Synced() bool { return c.synced.Load() }

// Start implements Source.
func (c *Cluster) Start(ctx context.Context) error {
	reflector := cache.NewReflectorWithOptions(c.listWatch(), &unstructured.Unstructured{}, c, cache.ReflectorOptions{
		Name: v1alpha1.TokenPolicyKind, TypeDescription: v1alpha1.TokenPolicyKind, Logger: &c.log,
		// The list is small. The longer pauses of the default would keep a policy in
		// force that was deleted while none could be read.
		Backoff: &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.5, Cap: 500 * time.Millisecond, Steps: 4},
	})
	var group sync.WaitGroup
	group.Go(func() { reflector.RunWithContext(ctx) })
	group.Go(func() { c.compileChanges(ctx) })
	group.Wait()
	return nil
}

// listWatch logs why policies can't be read.
func (c *Cluster) listWatch() *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := c.client.List(ctx, options)
			c.logOnce(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w, err := c.client.Watch(ctx, options)
			c.logOnce(err)
			return w, err
		},
	}
}

// logOnce logs an error of list or watch, unless it was the last one, too.
func (c *Cluster) logOnce(err error) {
	if apierrors.IsInvalid(err) {
		return // an API server that streams no lists: the Reflector asks for a plain one
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	c.mu.Lock()
	known := c.logged == text
	c.logged = text
	c.mu.Unlock()
	switch {
	case err == nil || known:
	case apierrors.IsNotFound(err):
		c.log.Error(err, "There is no CustomResourceDefinition of TokenPolicy: install it (config/crd), or give --policy-file")
	case apierrors.IsForbidden(err):
		c.log.Error(err, "TokenPolicies can't be read: grant list and watch on tokenpolicies.tokenward.dev, or give --policy-file")
	case apierrors.IsResourceExpired(err):
	default:
		c.log.Error(err, "TokenPolicies can't be read; those that were read last stay in force")
	}
}

// Add implements cache.ReflectorStore.
func (c *Cluster) Add(obj any) error { return c.Update(obj) }

// Update implements cache.ReflectorStore.
func (c *Cluster) Update(obj any) error {
	fresh, err := c.read(obj)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.put(fresh)
	c.mu.Unlock()
	signal(c.changed)
	return nil
}

// read makes a typed object of what the watch brought. What the CRD's schema
// should have kept out is a policy without effect.
func (c *Cluster) read(obj any) (*entry, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("policies: unexpected %T", obj)
	}
	p := &v1alpha1.TokenPolicy{}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, p)
	p.ManagedFields = nil
	if err == nil {
		return &entry{object: p}, nil
	}
	// Without exemptions, which hold the only fields that can be so, nothing of
	// what it refuses is lost; else it has no effect.
	for _, rest := range [][]string{{"spec", "exemptions"}, {"spec"}, {"status"}} {
		u = u.DeepCopy()
		unstructured.RemoveNestedField(u.Object, rest...)
		p = &v1alpha1.TokenPolicy{}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, p) == nil {
			break
		}
	}
	p.ManagedFields = nil
	compiled, errs := c.compiler.Compile(p)
	return &entry{object: p, compiled: compiled, errs: append(errs, field.Invalid(field.NewPath("spec"), field.OmitValueType{}, err.Error()))}, nil
}

// put keeps what was compiled of a spec that is still the same. Its generation
// alone does not tell: after a restore of etcd it counts once more.
func (c *Cluster) put(fresh *entry) {
	p := fresh.object
	if old := c.policies[p.Name]; old != nil && fresh.compiled == nil && old.object.UID == p.UID && old.object.Generation == p.Generation &&
		equality.Semantic.DeepEqual(&old.object.Spec, &p.Spec) {
		fresh.compiled, fresh.errs = old.compiled, old.errs
	}
	c.policies[p.Name] = fresh
}

// Delete implements cache.ReflectorStore.
func (c *Cluster) Delete(obj any) error {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	gone, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	c.mu.Lock()
	delete(c.policies, gone.GetName())
	c.mu.Unlock()
	signal(c.changed)
	return nil
}

// Replace implements cache.ReflectorStore: the result of a list.
func (c *Cluster) Replace(list []any, _ string) error {
	all := make([]*entry, 0, len(list))
	for _, item := range list {
		fresh, err := c.read(item)
		if err != nil {
			return err
		}
		all = append(all, fresh)
	}
	c.mu.Lock()
	names := map[string]bool{}
	for _, fresh := range all {
		names[fresh.object.Name] = true
		c.put(fresh)
	}
	for name := range c.policies {
		if !names[name] {
			delete(c.policies, name)
		}
	}
	c.listed = true
	c.mu.Unlock()
	signal(c.changed)
	return nil
}

// Resync implements cache.ReflectorStore; nothing here needs it.
func (c *Cluster) Resync() error { return nil }

// signal notes that there is something to do; one note is enough.
func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// expiryInterval is how often the metric of expired exemptions is brought up to date.
const expiryInterval = 10 * time.Second

// compileChanges turns what the watch brought into a snapshot. Changes that
// come while it is at work are taken together.
func (c *Cluster) compileChanges(ctx context.Context) {
	tick := time.NewTicker(expiryInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.countExpired()
		case <-c.changed:
			c.compile()
		}
	}
}

func (c *Cluster) compile() {
	c.mu.Lock()
	listed := c.listed
	open := make([]*entry, 0, len(c.policies))
	for _, k := range c.policies {
		open = append(open, k)
	}
	c.mu.Unlock()
	slices.SortFunc(open, func(a, b *entry) int { return strings.Compare(a.object.Name, b.object.Name) })
	policies := make([]*policy.Policy, 0, len(open))
	notReady := 0
	for _, k := range open {
		if k.compiled == nil {
			compiled, errs := c.compiler.Compile(k.object)
			c.mu.Lock()
			k.compiled, k.errs = compiled, errs
			c.mu.Unlock()
			if len(errs) > 0 {
				c.log.Info("A TokenPolicy is not wholly in force", "policy", k.object.Name, "error", errs.ToAggregate().Error())
			}
		}
		policies = append(policies, k.compiled)
		if len(k.errs) > 0 {
			notReady++
		}
	}
	c.publish(policies, notReady)
	c.metrics.InventoryObjects.WithLabelValues(v1alpha1.TokenPolicyKind).Set(float64(len(policies)))
	if listed && !c.synced.Swap(true) {
		c.metrics.InventorySynced.WithLabelValues(v1alpha1.TokenPolicyKind).Set(1)
		c.log.Info("Policies loaded", "policies", len(policies))
	}
	signal(c.settled)
}
