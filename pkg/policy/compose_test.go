package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/workload"
)

const testNamespace = "shop"

// webPod is a pod that wants one Secret and runs as one account.
func webPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: testNamespace, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "robot",
			Volumes:            []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "db"}}}},
			Containers:         []corev1.Container{{Name: "main", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/db"}}}},
		},
	}
}

func compilePolicies(t testing.TB, specs ...string) []*Policy {
	t.Helper()
	var docs []string
	for i, spec := range specs {
		name := "p" + string(rune('0'+i))
		if rest, ok := strings.CutPrefix(spec, DefaultName+": "); ok {
			name, spec = DefaultName, rest
		}
		docs = append(docs, "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: "+name+"}\nspec: "+spec+"\n")
	}
	if len(docs) == 0 {
		return nil
	}
	policies, err := NewCompiler(Checks()).Parse("policies.yaml", []byte(strings.Join(docs, "---\n")))
	if err != nil {
		t.Fatal(err)
	}
	return policies
}

// world answers queries about the Secret and the namespace of webPod.
type world struct{ secret, namespace facts.Fact }

func (w world) gather(needs func(*facts.Set) []facts.Query) *facts.Set {
	return facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		for i := range queries {
			f := facts.Fact{State: facts.Absent}
			switch queries[i].Kind {
			case reference.Secret:
				f = w.secret
			case facts.Namespace:
				f = w.namespace
			default:
			}
			f.Contents, f.Fresh = true, true
			set.Put(queries[i].Object, f)
		}
	})
}

func TestPoliciesAreComposed(t *testing.T) {
	absent := world{secret: facts.Fact{State: facts.Absent}, namespace: facts.Fact{State: facts.Present, Labels: map[string]string{"team": "a"}}}
	unknown := world{secret: facts.Fact{Why: facts.Timeout}, namespace: absent.namespace}
	spent := world{secret: absent.secret, namespace: facts.Fact{Why: facts.TooManyLookups}}
	builtIn := []string{DefaultName}
	noLabels := world{secret: absent.secret, namespace: facts.Fact{Why: facts.Forbidden}}
	const deny, warn = `{checks: [{name: secret-exists, action: Deny}]}`, `{checks: [{name: secret-exists, action: Warn}]}`
	const team = `{match: {namespaceSelector: {matchLabels: {team: a}}}, checks: [{name: secret-exists, action: Deny}]}`
	for name, tt := range map[string]struct {
		policies []string
		world    world
		options  Options
		atMost   v1alpha1.Action
		action   v1alpha1.Action
		by       []string
		would    v1alpha1.Action
		code     int32 // of a refusal; Forbidden if left out
	}{
		"no policy: the built-in one decides":              {world: absent, action: v1alpha1.Warn, by: builtIn},
		"the strictest of two policies decides":            {policies: []string{warn, deny}, world: absent, action: v1alpha1.Deny, by: []string{"p1"}},
		"policies that agree are both named":               {policies: []string{deny, deny}, world: absent, action: v1alpha1.Deny, by: []string{"p0", "p1"}},
		"a policy of another name weakens no default":      {policies: []string{`{checks: [{name: secret-exists, action: Audit}]}`}, world: absent, action: v1alpha1.Warn, by: builtIn},
		"what is unknown is only recorded":                 {policies: []string{deny}, world: unknown, action: v1alpha1.Audit, by: []string{DefaultName, "p0"}},
		"what is unknown is denied where a policy says so": {policies: []string{`{checks: [{name: secret-exists, action: Deny, onUnknown: Deny}]}`}, world: unknown, action: v1alpha1.Deny, by: []string{"p0"}},
		"a dry run changes nothing and is recorded":        {policies: []string{`{mode: DryRun, checks: [{name: secret-exists, action: Deny}]}`}, world: absent, action: v1alpha1.Warn, by: builtIn, would: v1alpha1.Deny},
		"the server's dry run lets all pass":               {policies: []string{deny}, world: absent, options: Options{DryRun: true}, action: v1alpha1.Audit, by: []string{"p0"}, would: v1alpha1.Deny},
		"a webhook that only warns does no more":           {policies: []string{deny}, world: absent, atMost: v1alpha1.Warn, action: v1alpha1.Warn, by: []string{"p0"}},
		"a policy of another pod has no say":               {policies: []string{`{match: {podSelector: {matchLabels: {app: db}}}, checks: [{name: secret-exists, action: Deny}]}`}, world: absent, action: v1alpha1.Warn, by: builtIn},
		"a policy of another account has no say":           {policies: []string{`{match: {serviceAccountNames: [other]}, checks: [{name: secret-exists, action: Deny}]}`}, world: absent, action: v1alpha1.Warn, by: builtIn},
		"a policy of the namespace decides":                {policies: []string{team}, world: absent, action: v1alpha1.Deny, by: []string{"p0"}},
		"where labels are unknown a policy counts":         {policies: []string{team}, world: noLabels, action: v1alpha1.Deny, by: []string{"p0"}},
		"unless it ignores failures":                       {policies: []string{"{failurePolicy: Ignore, " + team[1:]}, world: noLabels, action: v1alpha1.Warn, by: builtIn},
		"a rate that is spent is no way round a policy":    {policies: []string{"{failurePolicy: Ignore, " + team[1:]}, world: spent, action: v1alpha1.Deny, by: []string{"p0"}, code: TooManyRequests},
		"references beyond the bound are no way round":     {policies: []string{deny}, world: world{secret: facts.Fact{Why: facts.TooManyReferences}, namespace: absent.namespace}, action: v1alpha1.Deny, by: []string{"p0"}},
		"nor are look-ups beyond the rate":                 {policies: []string{deny}, world: world{secret: facts.Fact{Why: facts.TooManyLookups}, namespace: absent.namespace}, action: v1alpha1.Deny, by: []string{"p0"}, code: TooManyRequests},
		"what nobody can hold is warned about":             {policies: []string{`{checks: [{name: secret-exists, action: Hold}]}`}, world: absent, action: v1alpha1.Warn, by: []string{"p0"}},
		"a TokenPolicy default takes the built-in's place": {policies: []string{"default: {checks: [{name: secret-exists, action: Audit}]}"}, world: absent, action: v1alpha1.Audit, by: builtIn},
		"an exemption acts within its own policy":          {policies: []string{`{checks: [{name: secret-exists, action: Deny}], exemptions: [{name: e, objects: [{kind: Secret, name: db}], reason: made later}]}`, warn}, world: absent, action: v1alpha1.Warn, by: []string{DefaultName, "p1"}},
		"an exemption that has ended exempts nobody":       {policies: []string{`{checks: [{name: secret-exists, action: Deny}], exemptions: [{name: e, objects: [{kind: Secret, name: db}], until: "2025-01-01T00:00:00Z"}]}`}, world: absent, action: v1alpha1.Deny, by: []string{"p0"}},
		"a condition that is false excludes the policy":    {policies: []string{`{matchConditions: [{name: c, expression: "object.metadata.name == 'x'"}], checks: [{name: secret-exists, action: Deny}]}`}, world: absent, action: v1alpha1.Warn, by: builtIn},
		"a condition that holds lets the policy decide":    {policies: []string{`{matchConditions: [{name: c, expression: "object.metadata.name == 'web'"}], checks: [{name: secret-exists, action: Deny}]}`}, world: absent, action: v1alpha1.Deny, by: []string{"p0"}},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := NewSnapshot(Checks(), compilePolicies(t, tt.policies...), tt.options)
			plan := snapshot.Plan(&Attributes{
				Operation: admissionv1.Create, Namespace: testNamespace, Pod: workload.OfPod(webPod()), AtMost: tt.atMost, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
				Values: func() *Values {
					return &Values{Object: map[string]any{"metadata": map[string]any{"name": "web"}}, Request: map[string]any{}}
				},
			})
			verdict := plan.Judge(tt.world.gather(plan.Needs))
			at := slices.IndexFunc(verdict.Findings, func(f Finding) bool { return f.Check == "secret-exists" })
			if at < 0 {
				t.Fatalf("no finding: %+v", verdict)
			}
			f := verdict.Findings[at]
			if f.Action != tt.action || !slices.Equal(f.Policies, tt.by) {
				t.Errorf("%s by %v, want %s by %v", f.Action, f.Policies, tt.action, tt.by)
			}
			if f.Effect != BreaksAtStart || f.Severity != High {
				t.Errorf("the finding does not say what the table says: %+v", f.Impact)
			}
			if verdict.Allowed != (tt.action != v1alpha1.Deny) {
				t.Errorf("allowed %t", verdict.Allowed)
			}
			if want := max(tt.code, Forbidden); !verdict.Allowed && verdict.Code != want {
				t.Errorf("code %d, want %d", verdict.Code, want)
			}
			var would v1alpha1.Action
			if len(verdict.Would) > 0 {
				would = verdict.Would[0].Action
			}
			if tt.would != "" && would != tt.would {
				t.Errorf("would %q, want %q", would, tt.would)
			}
		})
	}
}

func TestTheRulesOfTheGame(t *testing.T) {
	other := webPod()
	other.Spec.Containers[0].Image = "web:2"
	mirror := webPod()
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	dying := webPod()
	dying.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	template := func(p *corev1.Pod) *workload.Pod {
		out := workload.OfPod(p)
		out.Template = true
		return out
	}
	by := func(user string) Attributes {
		set := template(webPod())
		set.Controlled = true
		return Attributes{Operation: admissionv1.Create, Pod: set, UserInfo: authenticationv1.UserInfo{Username: user}}
	}
	for name, tt := range map[string]struct {
		attributes Attributes
		passed     string
	}{
		"a ReplicaSet of the Deployment controller passes":    {by("system:serviceaccount:kube-system:deployment-controller"), "controller was judged"},
		"a Job of the CronJob controller passes":              {by("system:serviceaccount:kube-system:cronjob-controller"), "controller was judged"},
		"one of a controller manager without accounts passes": {by("system:kube-controller-manager"), "controller was judged"},
		"who only says so is judged":                          {by("mallory"), ""},
		"an account of a tenant is judged":                    {by("system:serviceaccount:shop:deployment-controller"), ""},

		"a pod that is created is judged":         {Attributes{Operation: admissionv1.Create, Pod: workload.OfPod(webPod())}, ""},
		"a deletion passes":                       {Attributes{Operation: admissionv1.Delete, Pod: workload.OfPod(webPod())}, "deletion"},
		"the status passes":                       {Attributes{Operation: admissionv1.Update, SubResource: "status", Pod: workload.OfPod(webPod())}, "subresource"},
		"ephemeral containers are judged":         {Attributes{Operation: admissionv1.Update, SubResource: "ephemeralcontainers", Pod: workload.OfPod(webPod())}, ""},
		"a mirror pod passes":                     {Attributes{Operation: admissionv1.Create, Pod: workload.OfPod(mirror)}, "mirror pod"},
		"the annotation of one saves no template": {Attributes{Operation: admissionv1.Create, Pod: template(mirror)}, ""},
		"what is being deleted passes":            {Attributes{Operation: admissionv1.Update, Pod: workload.OfPod(dying)}, "being deleted"},
		"a template that did not change passes":   {Attributes{Operation: admissionv1.Update, Pod: template(webPod()), Old: template(webPod())}, "did not change"},
		"a template that changed is judged":       {Attributes{Operation: admissionv1.Update, Pod: template(other), Old: template(webPod())}, ""},
		"what stands for no pod passes":           {Attributes{Operation: admissionv1.Create}, "no pod"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.attributes.Namespace = testNamespace
			plan := NewSnapshot(Checks(), nil, Options{}).Plan(&tt.attributes)
			if (tt.passed == "") != (plan.passed == "") || !strings.Contains(plan.passed, tt.passed) {
				t.Errorf("passed %q, want %q", plan.passed, tt.passed)
			}
		})
	}
}

// Judging and changing find their policies in the same way.
func TestChangesAreOfThePoliciesThatMatch(t *testing.T) {
	policies := compilePolicies(t,
		`{match: {podSelector: {matchLabels: {app: db}}}, mutate: {automountServiceAccountToken: false}}`,
		`{match: {namespaceSelector: {matchLabels: {team: a}}}, mutate: {automountServiceAccountToken: false}}`,
		`{mode: DryRun, mutate: {serviceAccount: {name: other}}}`,
		`{checks: [{name: secret-exists, action: Deny}]}`,
	)
	for name, tt := range map[string]struct {
		namespace facts.Fact
		want      []string
		undecided int
	}{
		"the labels match":     {facts.Fact{State: facts.Present, Labels: map[string]string{"team": "a"}}, []string{"p1", "p2"}, 0},
		"other labels":         {facts.Fact{State: facts.Present, Labels: map[string]string{"team": "b"}}, []string{"p2"}, 0},
		"labels are not known": {facts.Fact{Why: facts.Timeout}, []string{"p2"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			plan := NewSnapshot(Checks(), policies, Options{}).PlanMutations(&Attributes{Operation: admissionv1.Create, Namespace: testNamespace, Pod: workload.OfPod(webPod())})
			changes := plan.Changes(world{namespace: tt.namespace}.gather(plan.Needs))
			mutations, undecided := changes.Mutations, changes.Undecided
			if (changes.Refusal != nil) != (tt.undecided > 0) {
				t.Errorf("refused: %+v", changes.Refusal)
			}
			var got []string
			for i := range mutations {
				got = append(got, mutations[i].Policy)
				if mutations[i].DryRun != (mutations[i].Policy == "p2") {
					t.Errorf("%s: dry run %t", mutations[i].Policy, mutations[i].DryRun)
				}
			}
			if !slices.Equal(got, tt.want) || len(undecided) != tt.undecided {
				t.Errorf("%v and %d undecided, want %v and %d", got, len(undecided), tt.want, tt.undecided)
			}
		})
	}
}
