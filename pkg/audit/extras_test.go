package audit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	tokenward "tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/token"
)

func TestWhatAnAccountMayDo(t *testing.T) {
	rule := func(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{
			Verbs: strings.Split(verbs, ","), APIGroups: strings.Split(groups, ","), Resources: strings.Split(resources, ","), ResourceNames: names,
		}
	}
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "shop", Name: "app"}
	group := func(name string) rbacv1.Subject { return rbacv1.Subject{Kind: rbacv1.GroupKind, Name: name} }
	r := &rights{
		roles: map[roleName][]rbacv1.PolicyRule{
			{"", "cluster-admin"}:      {rule("*", "*", "*")},
			{"", "system:discovery"}:   {{Verbs: []string{"get"}, NonResourceURLs: []string{"/api"}}},
			{"shop", "reader"}:         {rule("get,list", "", "pods,secrets")},
			{"shop", "one"}:            {rule("update", "", "configmaps", "lock")},
			{"", "of-all"}:             {rule("get", "", "nodes")},
			{"shop", "impersonator"}:   {rule("impersonate", "", "users")},
			{"elsewhere", "unrelated"}: {rule("get", "", "pods")},
		},
	}
	tests := []struct {
		name     string
		bindings []binding
		want     []string
	}{
		{"nothing beyond discovery is nothing", []binding{{"", roleName{"", "system:discovery"}, []rbacv1.Subject{group("system:authenticated")}}}, []string{}},
		{"a role in its namespace, Secrets first", []binding{{"shop", roleName{"shop", "reader"}, []rbacv1.Subject{account}}}, []string{"get,list secrets in shop", "get,list pods in shop"}},
		{"everything stands for the rest", []binding{
			{"shop", roleName{"shop", "reader"}, []rbacv1.Subject{account}}, {"", roleName{"", "cluster-admin"}, []rbacv1.Subject{account}},
		}, []string{"everything"}},
		{"everything in a namespace does not", []binding{
			{"", roleName{"", "of-all"}, []rbacv1.Subject{group("system:serviceaccounts:shop")}}, {"shop", roleName{"", "cluster-admin"}, []rbacv1.Subject{account}},
		}, []string{"everything in shop", "get nodes"}},
		{"one object by its name", []binding{{"shop", roleName{"shop", "one"}, []rbacv1.Subject{account}}}, []string{"update configmaps named lock in shop"}},
		{"by the user that it is", []binding{{"shop", roleName{"shop", "impersonator"}, []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "system:serviceaccount:shop:app"}}}}, []string{"impersonate users in shop"}},
		{"others' bindings are not its own", []binding{
			{"shop", roleName{"shop", "reader"}, []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "other", Name: "app"}, group("system:serviceaccounts:other")}},
		}, []string{}},
		{"a role that is gone gives nothing", []binding{{"shop", roleName{"shop", "gone"}, []rbacv1.Subject{account}}}, []string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.bindings = tt.bindings
			if got := r.of(accountName{"shop", "app"}); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func testSurvey() *survey {
	v := &survey{Survey: &Survey{Now: time.Unix(1000, 0)}, held: NewHolding(), out: &report.Audit{}}
	v.without.survey = v
	v.held.put(facts.Object{Kind: reference.ServiceAccount, Namespace: "shop", Name: "app"}, &kept{state: facts.Present})
	return v
}

func TestPodsThatShouldHaveATokenVolume(t *testing.T) {
	no := false
	projected := corev1.Volume{Name: "x", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}},
	}}}
	with := func(change func(*corev1.PodSpec)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: corev1.PodSpec{ServiceAccountName: "app", Containers: []corev1.Container{{Name: "c"}}}}
		change(&p.Spec)
		return p
	}
	tests := []struct {
		name     string
		pod      *corev1.Pod
		pods, of int
	}{
		{"one without is told", with(func(*corev1.PodSpec) {}), 1, 1},
		{"one that has it is not", with(func(s *corev1.PodSpec) { s.Volumes = []corev1.Volume{projected} }), 0, 1},
		{"one that does not want it is not", with(func(s *corev1.PodSpec) { s.AutomountServiceAccountToken = &no }), 0, 0},
		{"one that mounts something of its own there is not", with(func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "own", MountPath: reference.AccountDirectory}}
		}), 0, 1},
		{"one of an account that is not known is not", with(func(s *corev1.PodSpec) { s.ServiceAccountName = "other" }), 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := testSurvey()
			v.without.visit(Ref{}, &listed{Object: *OfPod(tt.pod), meta: tt.pod})
			v.without.tell()
			if v.without.pods != tt.pods || v.without.of != tt.of || (v.out.Tokenless != nil) != (tt.pods > 0) {
				t.Errorf("got %d of %d, want %d of %d", v.without.pods, v.without.of, tt.pods, tt.of)
			}
			if tt.pods > 0 && (!v.out.Tokenless.PluginOff || !strings.Contains(v.out.Tokenless.Message, "ServiceAccount admission plugin seems to be off")) {
				t.Errorf("%+v", v.out.Tokenless)
			}
		})
	}
}

func TestAPodThatRunsIsNotStuckWhateverItsEvents(t *testing.T) {
	status := func(phase corev1.PodPhase, reason string) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{Phase: phase}}
		p.CreationTimestamp = metav1.NewTime(time.Unix(0, 0))
		state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		if reason != "" {
			state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: state}}
		return p
	}
	unscheduled := status(corev1.PodPending, "")
	unscheduled.Spec.NodeName = ""
	tests := []struct {
		name string
		pod  *corev1.Pod
		now  int64
		want string
	}{
		{"a pod that runs", status(corev1.PodRunning, ""), 1000, ""},
		{"a pod that waits for a Secret", status(corev1.PodPending, "ContainerCreating"), 1000, "ContainerCreating"},
		{"a container that can't be configured, of a pod that runs", status(corev1.PodRunning, "CreateContainerConfigError"), 1000, "CreateContainerConfigError"},
		{"a pod that was made just now", status(corev1.PodPending, "ContainerCreating"), 30, ""},
		{"a container that crashes", status(corev1.PodRunning, "CrashLoopBackOff"), 1000, ""},
		{"a pod without a node", unscheduled, 1000, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := stuckSince(tt.pod, time.Unix(tt.now, 0)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhatAReportMakesOfAFinding(t *testing.T) {
	base := func(change func(*fault)) *fault {
		f := &fault{Finding: Finding{Finding: policy.Finding{Check: "secret-exists", State: facts.Absent, Action: tokenward.Warn, Message: "m"}}, pods: 1}
		change(f)
		return f
	}
	tests := []struct {
		name     string
		fault    *fault
		result   v1alpha1.Result
		severity v1alpha1.ResultSeverity
		policy   string
	}{
		{"a default that warns", base(func(*fault) {}), "warn", "high", "tokenward-defaults"},
		{"a policy that denies is scored", base(func(f *fault) { f.Action, f.Policies = tokenward.Deny, []string{"p"} }), "fail", "high", "p"},
		{"what pods are stuck for", base(func(f *fault) { f.stuck = 1 }), "warn", "critical", "tokenward-defaults"},
		{"what is unknown could not be evaluated", base(func(f *fault) { f.State = facts.Unknown }), "error", "info", "tokenward-defaults"},
		{"what is exempted is skipped", base(func(f *fault) { f.Exempted = "moves" }), "skip", "high", "tokenward-defaults"},
		{"a policy in dry run alone", base(func(f *fault) { f.Action, f.Would, f.WouldPolicies = "", tokenward.Deny, []string{"trial"} }), "warn", "high", "trial"},
		{"what breaks nothing", base(func(f *fault) { f.Check, f.State = "token-long-lived", facts.Present }), "warn", "low", "tokenward-defaults"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.fault.openResult(&gathered{pods: 1}, time.Unix(7, 0))
			if got.Result != tt.result || got.Severity != tt.severity || got.Policy != tt.policy || got.Scored != (tt.result == "fail") || got.Timestamp.Seconds != 7 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestAReportIsTheSameWheneverAFindingWasSeen(t *testing.T) {
	g := &gathered{ref: Ref{Kind: "Pod", Name: "p", UID: "1"}, pods: 1, faults: []*fault{
		{Finding: Finding{Finding: policy.Finding{Check: "secret-exists", State: facts.Absent, Action: tokenward.Warn, Message: "m"}}, pods: 1},
	}}
	old := g.openReport("shop", time.Unix(1, 0))
	summarise(old)
	again := g.openReport("shop", time.Unix(2, 0))
	summarise(again)
	if !sameReport(old, again) || again.Results[0].Timestamp.Seconds != 1 {
		t.Errorf("the same findings: %+v, %+v", old, again)
	}
	g.faults[0].Action = tokenward.Deny
	changed := g.openReport("shop", time.Unix(3, 0))
	summarise(changed)
	if sameReport(old, changed) || changed.Results[0].Timestamp.Seconds != 3 {
		t.Errorf("another action: %+v, %+v", old, changed)
	}
}

func TestTopOfAChainOfOwners(t *testing.T) {
	yes := true
	set := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "set", OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: "web", UID: "deployment", Controller: &yes}}}}
	deployment := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "deployment"}}
	circle := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "circle", OwnerReferences: []metav1.OwnerReference{{Kind: "C", Name: "c", UID: "circle", Controller: &yes}}}}
	o := newOwners(nil)
	o.add(set)
	o.add(deployment)
	o.add(circle)
	tests := []struct {
		name, owner, want string
	}{
		{"a pod of a ReplicaSet of a Deployment", "set", "deployment"},
		{"a pod of a Deployment's own", "deployment", "deployment"},
		{"a circle ends", "circle", "circle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := o.top(t.Context(), Ref{Kind: "Pod", Namespace: "shop", UID: "pod"}, &metav1.OwnerReference{Kind: "K", Name: "k", UID: types.UID(tt.owner)})
			if got.UID != tt.want || got.Namespace != "shop" {
				t.Errorf("got %+v, want %s", got, tt.want)
			}
		})
	}
}

// kubeconfig is one with a client certificate, or with a token.
func kubeconfig(user string) string {
	return "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: https://example.com}}]\ncontexts: []\nusers:\n- name: u\n  user: {" + user + "}\n"
}

func TestCredentialsWithinOtherThings(t *testing.T) {
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:shop:app",` +
		`"kubernetes.io/serviceaccount/namespace":"shop","kubernetes.io/serviceaccount/service-account.name":"app","kubernetes.io/serviceaccount/service-account.uid":"1","kubernetes.io/serviceaccount/secret.name":"s"}`))
	jwt := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + payload + "." + strings.Repeat("A", 86)
	foreign := strings.Replace(jwt, payload, base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://example.com","sub":"somebody"}`)), 1)
	der := certificate(t, time.Unix(500, 0))
	tests := []struct {
		name, key, value string
		object           string
		what, verdict    string // empty for nothing
		calico           bool
	}{
		{name: "a token in the middle of a file", key: "conf", value: `{"token": "` + jwt + `"}`, what: "token", verdict: "unknown"},
		{name: "a kubeconfig with a token", key: "config", value: kubeconfig("token: " + jwt), what: "kubeconfig", verdict: "unknown"},
		{name: "a kubeconfig with a certificate that has ended", key: "config", value: kubeconfig("client-certificate-data: " + der), what: "kubeconfig", verdict: "invalid"},
		{name: "a kubeconfig without credentials", key: "config", value: kubeconfig("")},
		{name: "another's JWT", key: "jwt", value: foreign},
		{name: "text that begins like a JWT", key: "x", value: "eyJ.eyJ.x"},
		{name: "Calico's configuration", object: "calico-config", key: "cni_network_config", value: `{"type": "calico", "k8s_auth_token": "` + jwt + `"}`, what: "token", verdict: "unknown", calico: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := testSurvey()
			v.trust = &Trust{Keys: token.NewKeySet(token.KeySetOptions{Unavailable: true})}
			for _, o := range []facts.Object{{Kind: reference.ServiceAccount, Namespace: "shop", Name: "app"}, {Kind: reference.Secret, Namespace: "shop", Name: "s"}} {
				v.held.put(o, &kept{why: facts.Forbidden, live: true})
			}
			v.embedded = embedded{survey: v, jwt: regexp.MustCompile(jwtPattern)}
			v.embedded.visit(Ref{Kind: "ConfigMap", Namespace: "shop", Name: tt.object}, tt.key, []byte(tt.value))
			if err := v.embedded.tell(t.Context()); err != nil {
				t.Fatal(err)
			}
			found := v.out.Embedded
			if tt.what == "" {
				if len(found) > 0 {
					t.Errorf("want nothing, got %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].What != tt.what || found[0].Verdict != tt.verdict || (found[0].Note != "") != tt.calico {
				t.Errorf("got %+v", found)
			}
			if text := fmt.Sprintf("%+v", found); strings.Contains(text, payload) {
				t.Error("a token is told")
			}
		})
	}
}

// certificate returns a client certificate that ends at a time, as kubeconfigs have it.
func certificate(t *testing.T, notAfter time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin"}, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestSiblingsAreToldApartByWhatIsJudged(t *testing.T) {
	s := newSiblings()
	looks := func(pod *corev1.Pod) sibling {
		known, ok := s.of(&listed{Object: *OfPod(pod), meta: pod})
		if !ok {
			t.Fatal("a pod with a controller has siblings")
		}
		return known
	}
	first := looks(benchPod("shop", 1, 7))
	tests := []struct {
		name   string
		change func(*corev1.Pod)
		same   bool
	}{
		{"another of the same template", func(*corev1.Pod) {}, true},
		{"on another node", func(p *corev1.Pod) { p.Spec.NodeName = "n" }, true},
		{"with another label", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "other"} }, false},
		{"with an annotation", func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }, false},
		{"with another Secret", func(p *corev1.Pod) { p.Spec.Volumes[1].Secret.SecretName = "other" }, false},
		{"of another controller", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := benchPod("shop", 2, 7)
			tt.change(pod)
			if same := looks(pod) == first; same != tt.same {
				t.Errorf("same: %t, want %t", same, tt.same)
			}
		})
	}
	bare := benchPod("shop", 3, 7)
	bare.OwnerReferences = nil
	if _, ok := s.of(&listed{Object: *OfPod(bare), meta: bare}); ok {
		t.Error("a bare pod has no siblings")
	}
}

func TestATextOfAnEventIsNotObeyedByATerminal(t *testing.T) {
	if got := oneLine("MountVolume\x1b[31m failed\u009b\nfor\tb\x07ad\u202e"); got != "MountVolume [31m failed for b ad" {
		t.Errorf("got %q", got)
	}
}

func TestARoleThatIsNamedLikeDiscoveryIsNoDiscovery(t *testing.T) {
	r := &rights{
		roles: map[roleName][]rbacv1.PolicyRule{{"shop", "system:discovery"}: {{Verbs: []string{"get"}, Resources: []string{"secrets"}}}},
		bindings: []binding{{"shop", roleName{"shop", "system:discovery"}, []rbacv1.Subject{
			{Kind: rbacv1.ServiceAccountKind, Namespace: "shop", Name: "app"},
		}}},
	}
	if got := r.of(accountName{"shop", "app"}); !slices.Equal(got, []string{"get secrets in shop"}) {
		t.Errorf("got %q", got)
	}
}
