package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/samples"
)

// policies returns a client of TokenPolicies, and what the API server warns about.
func policies(t *testing.T) (dynamic.ResourceInterface, *warnings) {
	t.Helper()
	config, seen := warned()
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c.Resource(v1alpha1.GroupVersion.WithResource(v1alpha1.TokenPolicyResource)), seen
}

// documents splits a file of policies.
func documents(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, part := range strings.Split(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(part), &u.Object); err != nil {
			t.Fatal(err)
		}
		out = append(out, u)
	}
	return out
}

// createPolicy writes a TokenPolicy as kubectl does: strictly.
func createPolicy(t *testing.T, u *unstructured.Unstructured) ([]string, error) {
	t.Helper()
	api, seen := policies(t)
	_, err := api.Create(t.Context(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err == nil {
		t.Cleanup(func() { deletePolicy(t, u.GetName()) })
	}
	return seen.lines, err
}

func deletePolicy(t *testing.T, name string) {
	t.Helper()
	api, _ := policies(t)
	if err := api.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

func mustCreatePolicy(t *testing.T, text string) {
	t.Helper()
	for _, u := range documents(t, text) {
		if _, err := createPolicy(t, u); err != nil {
			t.Fatal(err)
		}
	}
}

// waitStatus waits until a policy's status fits, and returns it.
func waitStatus(t *testing.T, name string, fits func(*v1alpha1.TokenPolicy) error) *v1alpha1.TokenPolicy {
	t.Helper()
	api, _ := policies(t)
	p := &v1alpha1.TokenPolicy{}
	err := cluster.Eventually(t.Context(), patience, func(ctx context.Context) error {
		u, err := api.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		*p = v1alpha1.TokenPolicy{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, p); err != nil {
			return err
		}
		if p.Status.ObservedGeneration != p.Generation {
			return fmt.Errorf("TokenPolicy %s: generation %d is not observed", name, p.Generation)
		}
		return fits(p)
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// isReady wants the condition Ready to have a status, and parts in its message.
func isReady(status metav1.ConditionStatus, parts ...string) func(*v1alpha1.TokenPolicy) error {
	return func(p *v1alpha1.TokenPolicy) error {
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Status != status {
			return fmt.Errorf("Ready is not %s: %+v", status, p.Status)
		}
		for _, part := range parts {
			if !strings.Contains(c.Message, part) {
				return fmt.Errorf("want %q in: %s", part, c.Message)
			}
		}
		return nil
	}
}

func readSamples(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := samples.Read(filepath.Join(cluster.Root(), dir))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// registerPolicies lets this process answer for what is written to policies.
func (s *server) registerPolicies(t *testing.T) {
	t.Helper()
	registerAt(t, "https://127.0.0.1:"+strconv.Itoa(s.port), s.ca)
	broken := documents(t, readSamples(t, "test/policies/invalid")["check-unknown.yaml"])[0]
	err := cluster.Eventually(t.Context(), patience, func(context.Context) error {
		if _, err := createPolicy(t, broken); err == nil {
			deletePolicy(t, broken.GetName())
			return errors.New("the API server does not ask the webhook about policies")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// D4, D8: every wrong sample is refused with a message that names the field;
// every good one becomes Ready, with the warnings that it says.
func TestPolicySamples(t *testing.T) {
	// The API server refuses most by itself, with the webhook down; the rest says
	// that it is the webhook's.
	for name, text := range readSamples(t, "test/policies/invalid") {
		t.Run("schema/"+name, func(t *testing.T) {
			_, err := createPolicy(t, documents(t, text)[0])
			byWebhook := len(samples.Comments(text, "by")) > 0
			if byWebhook != (err == nil) {
				t.Errorf("refused by the webhook: %t; without it: %v", byWebhook, err)
			}
		})
	}
	s := startWebhook(t)
	s.registerPolicies(t)
	for name, text := range readSamples(t, "test/policies/invalid") {
		t.Run("invalid/"+name, func(t *testing.T) {
			_, err := createPolicy(t, documents(t, text)[0])
			if err == nil {
				t.Fatal("the API server takes it")
			}
			t.Log(err)
			mustContain(t, err.Error(), samples.Comments(text, "want")...)
		})
	}
	for _, dir := range []string{"test/policies/valid", "config/samples"} {
		for name, text := range readSamples(t, dir) {
			t.Run("valid/"+name, func(t *testing.T) {
				for _, u := range documents(t, text) {
					warned, err := createPolicy(t, u)
					if err != nil {
						t.Fatal(err)
					}
					mustContain(t, strings.Join(warned, "\n"), samples.Comments(text, "warns")...)
					if len(warned) != len(samples.Comments(text, "warns")) {
						t.Errorf("warnings: %q", warned)
					}
					p := waitStatus(t, u.GetName(), isReady(metav1.ConditionTrue))
					if meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionOverlapping) == nil {
						t.Errorf("no condition Overlapping: %+v", p.Status)
					}
				}
			})
		}
	}
}

// What kubectl explain shows: every field has a description.
func TestOpenAPIExplainsEveryField(t *testing.T) {
	raw, err := client.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/tokenward.dev/v1alpha1").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var api struct {
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &api); err != nil {
		t.Fatal(err)
	}
	policy, ok := api.Components.Schemas["dev.tokenward.v1alpha1.TokenPolicy"]
	if !ok {
		t.Fatal("TokenPolicy is not published")
	}
	type schema struct {
		Description          string                     `json:"description"`
		Properties           map[string]json.RawMessage `json:"properties"`
		Items                json.RawMessage            `json:"items"`
		AdditionalProperties json.RawMessage            `json:"additionalProperties"`
	}
	fields := 0
	var walk func(path string, raw json.RawMessage, described bool)
	walk = func(path string, raw json.RawMessage, described bool) {
		var s schema
		if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
			return
		}
		if !described && s.Description == "" {
			t.Errorf("%s has no description", path)
		}
		for name, field := range s.Properties {
			fields++
			walk(path+"."+name, field, false)
		}
		walk(path+"[]", s.Items, true) // the field that has them is described
	}
	walk("TokenPolicy", policy, false)
	if fields < 50 {
		t.Errorf("only %d fields", fields)
	}
}

func TestPrinterColumns(t *testing.T) {
	startWebhook(t)
	mustCreatePolicy(t, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: columns}\nspec: {mode: DryRun, "+
		"match: {namespaceSelector: {matchLabels: {nobody: has-this}}}, checks: [{name: secret-exists, action: Warn}, {name: config-map-exists, action: Deny}]}\n")
	waitStatus(t, "columns", isReady(metav1.ConditionTrue))
	raw, err := client.Discovery().RESTClient().Get().AbsPath("/apis/tokenward.dev/v1alpha1/tokenpolicies/columns").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	var columns, cells []string
	for i, c := range table.ColumnDefinitions {
		columns = append(columns, c.Name)
		cells = append(cells, fmt.Sprint(table.Rows[0].Cells[i]))
	}
	if want := []string{"Name", "Mode", "Strictest", "Ready", "Reason", "Age"}; !slices.Equal(columns, want) {
		t.Errorf("columns: got %q, want %q", columns, want)
	}
	if want := []string{"columns", "DryRun", "Deny", "True", "Compiled"}; !slices.Equal(cells[:5], want) {
		t.Errorf("cells: got %q, want %q", cells, want)
	}
}
