//go:build browser

package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/report"
)

var screenshots = flag.String("screenshots", "", "directory for pictures of the page; none if empty")

func ref(kind, namespace, name string) report.Ref {
	return report.Ref{APIVersion: "v1", Kind: kind, Namespace: namespace, Name: name, UID: kind + namespace + name}
}

// sample is an audit that has something of everything.
func sample() *report.Audit {
	a := &report.Audit{
		Time:       time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		Judged:     report.Judged{Pods: 2140, Templates: 312, Secrets: 1004, ConfigMaps: 230, Accounts: 140, Policies: 3},
		Incomplete: []string{"SecretProviderClasses could not be read: secretproviderclasses.secrets-store.csi.x-k8s.io is forbidden"},
		Tokenless:  &report.Tokenless{Pods: 2, Of: 900, Message: "2 of 900 pods that should have a token volume have none: make them anew."},
	}
	missing := report.Fault{
		Check: "secret-exists", Action: v1alpha1.Deny, State: "absent", Object: "Secret shop/db-credentials", Path: "spec.template.spec.volumes[0].secret.secretName",
		Message: `Secret "db-credentials" (spec.template.spec.volumes[0].secret.secretName) does not exist: the pod will hang in ContainerCreating. Create it, or correct the name.`,
		When:    "at the next restart", Policies: []string{"payments"}, Pods: 3,
	}
	dead := report.Fault{
		Check: "token-valid", Action: v1alpha1.Warn, State: "present", Object: "Secret billing/robot-token", Path: "spec.volumes[0].secret.secretName",
		Message: `Secret "robot-token" (spec.volumes[0].secret.secretName) holds a token that answers 401: its signing key is no longer accepted. Remove data.token from the Secret: a new one is written into it.`,
		When:    "now: calls made with it fail", Pods: 1,
	}
	injected := dead
	injected.Message = `<script>document.title = "taken over"</script>`
	recorded := report.Fault{
		Check: "token-default-account", Action: v1alpha1.Audit, State: "present", Object: "ServiceAccount shop/default", Path: "spec.serviceAccountName",
		Message: `The pod holds a token of the account "default" (spec.serviceAccountName), which every pod of the namespace shares. Give it an account of its own.`, Pods: 2,
	}
	a.Workloads = []report.Workload{
		{Ref: ref("Deployment", "shop", "checkout"), Pods: 3, Stuck: 1, Findings: []report.Fault{missing, recorded}},
		{Ref: ref("Pod", "billing", "lonely"), Bare: true, Pods: 1, Findings: []report.Fault{dead}},
		{Ref: ref("CronJob", "billing", "nightly-export"), Findings: []report.Fault{injected}},
	}
	for i := range 14 {
		a.Workloads = append(a.Workloads, report.Workload{Ref: ref("StatefulSet", "data", fmt.Sprintf("store-%02d", i)), Pods: 2, Findings: []report.Fault{recorded}})
	}
	a.Dead = []report.DeadSecret{
		{Secret: "billing/robot-token", Account: "billing/robot", Why: "its signing key is no longer accepted", Workloads: []report.Ref{a.Workloads[1].Ref, a.Workloads[2].Ref}},
		{Secret: "kube-system/old-dashboard-token", Account: "kube-system/dashboard", Why: "its signing key is no longer accepted"},
	}
	a.Stuck = []report.StuckPod{{
		Pod: ref("Pod", "shop", "checkout-6f7c9-x2v5q"), Workload: a.Workloads[0].Ref, Reason: "ContainerCreating", Since: a.Time.Add(-time.Hour),
		Causes: []string{missing.Message, `event FailedMount at 2026-11-22T11:59:00Z: MountVolume.SetUp failed for volume "db": secret "db-credentials" not found`},
	}}
	a.Embedded = []report.Embedded{{
		Object: ref("ConfigMap", "kube-system", "calico-config"), Key: "cni_network_config", What: "token", Account: "kube-system/calico-node", Verdict: "invalid",
		Why: "its signing key is no longer accepted", Note: "Edit this ConfigMap, then restart the calico-node pods.",
	}}
	a.Tokens = []report.TokenUse{
		{Workload: a.Workloads[1].Ref, Pods: 1, Secret: "billing/robot-token", Key: "token", Account: "billing/robot", Kind: "legacy", Verdict: "invalid"},
		{Workload: a.Workloads[2].Ref, Pods: 0, Secret: "billing/robot-token", Key: "token", Account: "billing/robot", Kind: "legacy", Verdict: "invalid"},
		{Workload: a.Workloads[0].Ref, Pods: 3, Account: "shop/default", Kind: "projected", Verdict: "valid"},
	}
	for i := range 12 {
		a.Tokens = append(a.Tokens, report.TokenUse{Workload: a.Workloads[3+i].Ref, Pods: 2, Account: "data/default", Kind: "projected", Verdict: "valid"})
	}
	a.Tokens = append(a.Tokens, report.TokenUse{Workload: a.Workloads[3].Ref, Pods: 2, Secret: "data/backup-token", Key: "token", Account: "data/backup", Kind: "legacy", Verdict: "valid"})
	a.Accounts = []report.Account{
		{Namespace: "billing", Name: "robot", Pods: 1, May: []string{"get,list,watch secrets in billing", "get,list pods in billing"}},
		{Namespace: "data", Name: "default", Pods: 24, Needless: true},
		{Namespace: "kube-system", Name: "calico-node", Pods: 4, May: []string{"everything"}},
	}
	a.Sort()
	return a
}

// watched notes what a page does that it should not.
type watched struct {
	mu    sync.Mutex
	wrong []string
}

func (w *watched) note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, text)
}

// open opens the page of an audit in Chromium.
func open(t *testing.T, a *report.Audit) (context.Context, *watched) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.html")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.AuditFormats()["html"](file, a, report.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	seen := &watched{}
	err = chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, "file://") {
				seen.note("request: " + e.Request.URL)
			}
		case *runtime.EventExceptionThrown:
			seen.note("exception: " + e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			seen.note("console: " + string(e.Type))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	do(t, ctx, chromedp.Navigate("file://"+path), chromedp.WaitVisible("#findings"))
	return ctx, seen
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func evaluate[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return out
}

// enter puts a value into a field, as a person would.
func enter(t *testing.T, ctx context.Context, id, value string) {
	t.Helper()
	evaluate[bool](t, ctx, fmt.Sprintf(`(() => { const f = document.getElementById(%q); f.value = %q; return f.dispatchEvent(new Event("input")); })()`, id, value))
}

// shown returns the names of the workloads that can be seen.
func shown(t *testing.T, ctx context.Context) []string {
	t.Helper()
	return evaluate[[]string](t, ctx, `[...document.querySelectorAll("details.workload")].filter(w => w.offsetParent !== null).map(w => w.dataset.name)`)
}

func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAuditPageCanBeClickedThrough(t *testing.T) {
	ctx, seen := open(t, sample())
	mustShow := func(what string, want ...string) {
		t.Helper()
		if got := shown(t, ctx); !slices.Equal(got, want) {
			t.Errorf("%s: shown %q, want %q", what, got, want)
		}
	}
	picture(t, ctx, "audit")
	checkout, lonely, nightly := "Deployment shop/checkout", "Pod billing/lonely", "CronJob billing/nightly-export"
	mustShow("at first, without what is only recorded", checkout, nightly, lonely)

	do(t, ctx, chromedp.Click(`input.action[value=audit]`))
	if got := shown(t, ctx); len(got) != 17 {
		t.Errorf("with what is recorded: %d workloads, want 17", len(got))
	}
	do(t, ctx, chromedp.Click(`input.action[value=audit]`), chromedp.SendKeys("#text", "db-credentials"))
	mustShow("filtered by text", checkout)
	enter(t, ctx, "text", "")
	enter(t, ctx, "namespace", "billing")
	mustShow("filtered by namespace", nightly, lonely)
	if n := evaluate[int](t, ctx, `document.querySelectorAll("#graph g.node").length`); n != 4 {
		t.Errorf("the picture of the namespace has %d nodes, want 4", n)
	}
	do(t, ctx, chromedp.Click("details.workload:not(.hidden) > summary"), chromedp.WaitVisible("details.workload[open] .finding p"))
	if n := evaluate[int](t, ctx, `document.querySelectorAll("details.workload[open]").length`); n != 1 {
		t.Errorf("%d workloads are open, want 1", n)
	}
	do(t, ctx, chromedp.Click("details[open] .remedy summary"), chromedp.WaitVisible("details[open] .remedy[open] div"))
	do(t, ctx, chromedp.Click("#expand"))
	if n := evaluate[int](t, ctx, `document.querySelectorAll("details.workload[open]").length`); n != 17 {
		t.Errorf("%d workloads are open after a click on Expand all, want 17", n)
	}
	picture(t, ctx, "audit-expanded")
	enter(t, ctx, "namespace", "")
	do(t, ctx, chromedp.Click(`#graph g.node[data-name="billing/robot-token"]`))
	if n := evaluate[int](t, ctx, `document.querySelectorAll("#graph path:not(.dim)").length`); n != 4 {
		t.Errorf("%d lines are followed from the Secret, want 4", n)
	}
	if title := evaluate[string](t, ctx, "document.title"); title != "Tokenward audit" {
		t.Errorf("title: %q", title)
	}
	dark := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, dark); err != nil {
		t.Fatal(err)
	}
	if colour := evaluate[string](t, ctx, "getComputedStyle(document.body).backgroundColor"); colour != "rgb(18, 22, 28)" {
		t.Errorf("background in the dark: %s", colour)
	}
	picture(t, ctx, "audit-dark")
	do(t, ctx, chromedp.EmulateViewport(390, 844))
	if n := evaluate[int](t, ctx, "document.documentElement.scrollWidth"); n > 390 {
		t.Errorf("on a telephone the page is %d wide", n)
	}
	if len(seen.wrong) > 0 {
		t.Errorf("the page did what it should not: %q", seen.wrong)
	}
}

func TestAuditPageOfACleanClusterSaysSo(t *testing.T) {
	ctx, seen := open(t, &report.Audit{Time: time.Unix(0, 0)})
	text := evaluate[string](t, ctx, "document.querySelector('main').innerText")
	if !strings.Contains(text, "Nothing was found.") || len(seen.wrong) > 0 {
		t.Errorf("%q; %q", text, seen.wrong)
	}
}
