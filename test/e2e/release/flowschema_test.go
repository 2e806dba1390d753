package release

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/test/chart"
	"tokenward.dev/tokenward/test/e2e/harness"
)

// The API server puts the requests of the webhook's account, of all kinds, into the
// share that the chart gives them, and tells so by a header.
func TestTheWebhooksRequestsHaveAShareOfTheirOwn(t *testing.T) {
	own := env.NewNamespace(t)
	i := harness.Install(t, env.Plane, chart.Release{Name: own, Namespace: own})
	i.Upgrade(t, env.Plane, "PriorityLevelConfiguration", "FlowSchema")
	api, name := env.Client.FlowcontrolV1(), i.Release.Fullname()
	t.Cleanup(func() {
		_ = api.FlowSchemas().Delete(context.Background(), name, metav1.DeleteOptions{})
		_ = api.PriorityLevelConfigurations().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	schema, err := api.FlowSchemas().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(i.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/api/v1/secrets?limit=1", "/api/v1/namespaces/" + own + "/secrets/gone", "/api/v1/nodes/gone", "/openid/v1/jwks",
		"/apis/tokenward.dev/v1alpha1/tokenpolicies",
	} {
		harness.WaitUntil(t, func() error {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.Config.Host+path, nil)
			if err != nil {
				return err
			}
			response, err := client.Do(request)
			if err != nil {
				return err
			}
			defer func() { _ = response.Body.Close() }()
			if got := response.Header.Get("X-Kubernetes-PF-FlowSchema-UID"); got != string(schema.UID) {
				return fmt.Errorf("%s went by FlowSchema %s, want %s", path, got, schema.UID)
			}
			return nil
		})
	}
}
