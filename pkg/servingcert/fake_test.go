package servingcert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// fakeAPI is what an API server does with one Secret and one webhook
// configuration: versions, conflicts, and failures as the test says.
type fakeAPI struct {
	version int
	secret  *corev1.Secret
	config  *admissionregistrationv1.ValidatingWebhookConfiguration
	// fail is asked before each call, by verb and kind.
	fail func(verb, kind string) error
	// calls counts those that were not refused.
	calls map[string]int
}

func newFakeAPI() *fakeAPI { return &fakeAPI{calls: map[string]int{}} }

func (f *fakeAPI) call(verb, kind string) error {
	if f.fail != nil {
		if err := f.fail(verb, kind); err != nil {
			return err
		}
	}
	f.calls[verb+" "+kind]++
	return nil
}

func (f *fakeAPI) next() string {
	f.version++
	return strconv.Itoa(f.version)
}

// register makes the webhook configuration, with so many webhooks.
func (f *fakeAPI) register(webhooks int) {
	f.config = &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "tokenward", ResourceVersion: f.next()}}
	for i := range webhooks {
		f.config.Webhooks = append(f.config.Webhooks, admissionregistrationv1.ValidatingWebhook{Name: fmt.Sprintf("w%d", i)})
	}
}

// makeSecret does what installing or upgrading the release does.
func (f *fakeAPI) makeSecret(now time.Time) {
	version := f.next()
	f.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version, UID: types.UID("uid-" + version), CreationTimestamp: metav1.NewTime(now)}}
}

// setBundle does what somebody's hand may do.
func (f *fakeAPI) setBundle(bundle []byte) {
	f.config.ResourceVersion = f.next()
	f.config.Webhooks[0].ClientConfig.CABundle = bundle
}

func (f *fakeAPI) bundle() []byte { return f.config.Webhooks[0].ClientConfig.CABundle }

type fakeSecrets struct{ *fakeAPI }

var secretResource = schema.GroupResource{Resource: "secrets"}

func (f fakeSecrets) Get(context.Context, string, metav1.GetOptions) (*corev1.Secret, error) {
	if err := f.call("get", "secret"); err != nil {
		return nil, err
	}
	if f.secret == nil {
		return nil, apierrors.NewNotFound(secretResource, "s")
	}
	return f.secret.DeepCopy(), nil
}

func (f fakeSecrets) List(context.Context, metav1.ListOptions) (*corev1.SecretList, error) {
	return nil, errors.New("not here")
}

func (f fakeSecrets) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return nil, errors.New("not here")
}

func (f fakeSecrets) Update(_ context.Context, s *corev1.Secret, _ metav1.UpdateOptions) (*corev1.Secret, error) {
	if err := f.call("update", "secret"); err != nil {
		return nil, err
	}
	switch {
	case f.secret == nil:
		return nil, apierrors.NewNotFound(secretResource, "s")
	case f.secret.ResourceVersion != s.ResourceVersion || f.secret.UID != s.UID:
		return nil, apierrors.NewConflict(secretResource, "s", errors.New("changed"))
	}
	f.secret = s.DeepCopy()
	f.secret.ResourceVersion = f.next()
	return f.secret.DeepCopy(), nil
}

type fakeConfigurations struct{ *fakeAPI }

var configurationResource = schema.GroupResource{Resource: "validatingwebhookconfigurations"}

func (f fakeConfigurations) List(context.Context, metav1.ListOptions) (*admissionregistrationv1.ValidatingWebhookConfigurationList, error) {
	list := &admissionregistrationv1.ValidatingWebhookConfigurationList{}
	if f.config != nil {
		list.Items = append(list.Items, *f.config.DeepCopy())
	}
	return list, f.call("list", "configuration")
}

func (f fakeConfigurations) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return nil, errors.New("not here")
}

// Patch knows the operations that are sent.
func (f fakeConfigurations) Patch(_ context.Context, _ string, _ types.PatchType, data []byte, _ metav1.PatchOptions, _ ...string) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	if err := f.call("patch", "configuration"); err != nil {
		return nil, err
	}
	var operations []struct {
		Op, Path string
		Value    json.RawMessage
	}
	if err := json.Unmarshal(data, &operations); err != nil {
		return nil, err
	}
	changed := f.config.DeepCopy()
	for _, o := range operations {
		var i int
		var err error
		switch o.Op {
		case "test":
			var version string
			if err = json.Unmarshal(o.Value, &version); err == nil && version != changed.ResourceVersion {
				return nil, apierrors.NewGenericServerResponse(422, "patch", configurationResource, "tokenward", "test failed", 0, false)
			}
		case "add":
			if _, err = fmt.Sscanf(o.Path, "/webhooks/%d/clientConfig/caBundle", &i); err == nil {
				err = json.Unmarshal(o.Value, &changed.Webhooks[i].ClientConfig.CABundle)
			}
		default:
			err = errors.New("unknown operation")
		}
		if err != nil {
			return nil, err
		}
	}
	changed.ResourceVersion = f.next()
	f.config = changed
	f.calls["patched configuration"]++
	return f.config.DeepCopy(), nil
}

// fakeReplica is a replica of which the test says when it sees what, and when it
// acts.
type fakeReplica struct {
	*Shared
	configuration *registration
	api           *fakeAPI
}

func (f *fakeAPI) replica(now *time.Time, lifetime time.Duration) *fakeReplica {
	r := newRegistration("ValidatingWebhookConfiguration", "tokenward", fakeConfigurations{f}, func(o *admissionregistrationv1.ValidatingWebhookConfiguration) [][]byte {
		bundles := make([][]byte, len(o.Webhooks))
		for i := range o.Webhooks {
			bundles[i] = o.Webhooks[i].ClientConfig.CABundle
		}
		return bundles
	})
	return &fakeReplica{
		Shared: newShared(fakeSecrets{f}, []*registration{r}, SharedOptions{
			Namespace: "ns", Secret: "s", Configuration: "tokenward", Hosts: []string{"tokenward.ns.svc"},
			Lifetime: lifetime, Now: func() time.Time { return *now },
		}, logr.Discard()),
		configuration: r, api: f,
	}
}

func (r *fakeReplica) seeSecret() { r.observe(r.api.secret.DeepCopy()) }

func (r *fakeReplica) seeConfiguration() {
	ctx, done := context.WithCancel(context.Background())
	defer done()
	fail := r.api.fail
	r.api.fail = nil
	r.configuration.follow(ctx, done, func(error) {})
	r.api.fail = fail
}

func (r *fakeReplica) see() {
	r.seeSecret()
	r.seeConfiguration()
}

// act takes a step that must succeed.
func (r *fakeReplica) act(t *testing.T) {
	t.Helper()
	if err := r.step(context.Background()); err != nil {
		t.Fatal(err)
	}
}
