package policies

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

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
	"tokenward.dev/tokenward/test/samples"
)

func readSamples(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := samples.Read(filepath.Join(cluster.Root(), dir))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// registerPolicies lets this process answer for what is written to policies.
func registerPolicies(t *testing.T, s *harness.Server) {
	t.Helper()
	env.RegisterAt(t, "https://127.0.0.1:"+strconv.Itoa(s.Port), s.CA)
	broken := harness.Documents(t, readSamples(t, "test/policies/invalid")["check-unknown.yaml"])[0]
	err := cluster.Eventually(t.Context(), harness.Patience, func(context.Context) error {
		if _, err := env.CreatePolicy(t, broken); err == nil {
			env.DeletePolicy(t, broken.GetName())
			return errors.New("the API server does not ask the webhook about policies")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every wrong sample is refused with a message that names the field;
// every good one becomes Ready, or says why not, with the warnings that it says.
func TestPolicySamples(t *testing.T) {
	// The API server refuses most by itself, with the webhook down; the rest says
	// that it is the webhook's.
	for name, text := range readSamples(t, "test/policies/invalid") {
		t.Run("schema/"+name, func(t *testing.T) {
			_, err := env.CreatePolicy(t, harness.Documents(t, text)[0])
			byWebhook := len(samples.Comments(text, "by")) > 0
			if byWebhook != (err == nil) {
				t.Errorf("refused by the webhook: %t; without it: %v", byWebhook, err)
			}
		})
	}
	s := env.StartWebhook(t)
	registerPolicies(t, s)
	for name, text := range readSamples(t, "test/policies/invalid") {
		t.Run("invalid/"+name, func(t *testing.T) {
			_, err := env.CreatePolicy(t, harness.Documents(t, text)[0])
			if err == nil {
				t.Fatal("the API server takes it")
			}
			t.Log(err)
			harness.MustContain(t, err.Error(), samples.Comments(text, "want")...)
		})
	}
	for _, dir := range []string{"test/policies/valid", "config/samples"} {
		for name, text := range readSamples(t, dir) {
			t.Run("valid/"+name, func(t *testing.T) {
				for _, u := range harness.Documents(t, text) {
					warned, err := env.CreatePolicy(t, u)
					if err != nil {
						t.Fatal(err)
					}
					harness.MustContain(t, strings.Join(warned, "\n"), samples.Comments(text, "warns")...)
					if len(warned) != len(samples.Comments(text, "warns")) {
						t.Errorf("warnings: %q", warned)
					}
					ready := harness.Ready(metav1.ConditionTrue)
					if why := samples.Comments(text, "not ready"); len(why) > 0 {
						ready = harness.Ready(metav1.ConditionFalse, why...)
					}
					p := env.WaitStatus(t, u.GetName(), ready)
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
	raw, err := env.Client.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/tokenward.dev/v1alpha1").DoRaw(t.Context())
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
	env.StartWebhook(t)
	env.MustCreatePolicy(t, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: columns}\nspec: {mode: DryRun, "+
		"match: {namespaceSelector: {matchLabels: {nobody: has-this}}}, checks: [{name: secret-exists, action: Warn}, {name: config-map-exists, action: Deny}]}\n")
	env.WaitStatus(t, "columns", harness.Ready(metav1.ConditionTrue))
	raw, err := env.Client.Discovery().RESTClient().Get().AbsPath("/apis/tokenward.dev/v1alpha1/tokenpolicies/columns").
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
	if want := []string{"Name", "Mode", "Strictest", "Ready", "Findings", "Pods", "Reason", "Age"}; !slices.Equal(columns, want) {
		t.Errorf("columns: got %q, want %q", columns, want)
	}
	if want := []string{"columns", "DryRun", "Deny", "True", "<nil>", "<nil>", "Compiled"}; !slices.Equal(cells[:7], want) {
		t.Errorf("cells: got %q, want %q", cells, want)
	}
}
