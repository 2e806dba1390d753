package harness

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	reportsclient "github.com/openreports/reports-api/pkg/client/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"tokenward.dev/tokenward/test/cluster"
)

// Reports are those that a server writes into a control plane.
type Reports struct {
	plane  *cluster.Cluster
	client reportsclient.Interface
}

// NewReports installs the CustomResourceDefinitions that OpenReports ships.
func NewReports(t *testing.T, own *cluster.Cluster) *Reports {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/openreports/reports-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, err = envtest.InstallCRDs(own.Config, envtest.CRDInstallOptions{
		Paths: []string{filepath.Join(strings.TrimSpace(string(dir)), "config", "crd")}, ErrorIfPathMissing: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := reportsclient.NewForConfig(own.Config)
	if err != nil {
		t.Fatal(err)
	}
	return &Reports{plane: own, client: client}
}

// Launch starts a server that audits, and takes a key that is gone for gone soon.
func (r *Reports) Launch(t *testing.T, flags ...string) *Server {
	t.Helper()
	s := Launch(t, append([]string{"--kubeconfig=" + r.plane.Kubeconfig, "--log-level=info", "--audit-interval=1h",
		"--signing-key-refresh=1s", "--signing-key-settle=1s"}, flags...)...)
	s.WaitReady(t)
	return s
}

func (r *Reports) list(ctx context.Context) ([]v1alpha1.Report, error) {
	list, err := r.client.OpenreportsV1alpha1().Reports("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// findings returns what the reports have, in the form of Findings.
func (r *Reports) findings(ctx context.Context) (map[string][]string, error) {
	list, err := r.list(ctx)
	found := map[string][]string{}
	for _, item := range list {
		name := item.Scope.Kind + " " + item.Scope.Namespace + "/" + item.Scope.Name
		for _, result := range item.Results {
			found[name] = append(found[name], result.Rule+" "+result.Properties["object"]+" "+result.Properties["state"])
		}
		slices.Sort(found[name])
	}
	return found, err
}

// WaitFor waits until the reports have what is wanted and nothing else.
func (r *Reports) WaitFor(t *testing.T, want map[string][]string) {
	t.Helper()
	var found map[string][]string
	err := cluster.Eventually(t.Context(), 2*time.Minute, func(ctx context.Context) (err error) {
		if found, err = r.findings(ctx); err == nil && !maps.EqualFunc(found, want, slices.Equal) {
			err = fmt.Errorf("reports on %d workloads, want %d", len(found), len(want))
		}
		return err
	})
	if err != nil {
		Compare(t, found, want)
		t.Fatal(err)
	}
}

// Within5s waits for what the reports must have 5 s from now.
func (r *Reports) Within5s(t *testing.T, holds func(map[string][]string) bool) {
	t.Helper()
	began := time.Now()
	WaitUntil(t, func() error {
		found, err := r.findings(t.Context())
		if err == nil && !holds(found) {
			err = fmt.Errorf("the reports are as before")
		}
		return err
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// ByName returns all reports.
func (r *Reports) ByName(t *testing.T) map[string]*v1alpha1.Report {
	t.Helper()
	list, err := r.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*v1alpha1.Report{}
	for i := range list {
		found[list[i].Namespace+"/"+list[i].Name] = &list[i]
	}
	return found
}

// AreComplete looks for a field of OpenReports that is not filled. Selectors take
// the place of a scope and of resources, and there is one of the two.
func (r *Reports) AreComplete(t *testing.T) {
	list, err := r.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range list {
		owner := metav1.OwnerReference{APIVersion: item.Scope.APIVersion, Kind: item.Scope.Kind, Name: item.Scope.Name, UID: item.Scope.UID}
		if item.Source != "tokenward" || item.Scope.UID == "" || item.Configuration == nil || item.Configuration.Limits.MaxResults == 0 ||
			len(item.Configuration.Limits.StatusFilter) == 0 || !slices.Equal(item.OwnerReferences, []metav1.OwnerReference{owner}) {
			t.Fatalf("%s: %+v", item.Name, item)
		}
		counts := v1alpha1.ReportSummary{}
		for _, result := range item.Results {
			switch result.Result {
			case "fail":
				counts.Fail++
			case "warn":
				counts.Warn++
			case "error":
				counts.Error++
			case "skip":
				counts.Skip++
			}
			if result.Source == "" || result.Policy == "" || result.Rule == "" || result.Category == "" || result.Severity == "" || result.Timestamp.Seconds == 0 ||
				result.Result == "" || len(result.Subjects) == 0 || result.Description == "" || len(result.Properties) == 0 || result.Scored != (result.Result == "fail") {
				t.Fatalf("%s: %+v", item.Name, result)
			}
		}
		if counts != item.Summary {
			t.Errorf("%s: summary %+v, counted %+v", item.Name, item.Summary, counts)
		}
	}
}
