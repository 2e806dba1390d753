package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/usage"
	"tokenward.dev/tokenward/pkg/workload"
)

// madeUp is a namespace that was made up, with who must be found.
type madeUp struct {
	users usage.Users
	want  []string
}

func (m *madeUp) Gather(needs func(*facts.Set) []facts.Query) *facts.Set {
	return facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		for _, q := range queries {
			set.Put(q.Object, facts.Fact{State: facts.Present, Contents: true, Fresh: true})
		}
	})
}
func (m *madeUp) Users(bool) *usage.Users       { return &m.users }
func (*madeUp) Values(*workload.Object) *Values { return nil }

// makeUp makes a namespace from manifests, and writes down while it does who needs the
// Secret "db".
func makeUp(random *rand.Rand) *madeUp {
	m := &madeUp{}
	// A way to point at a Secret, and whether the pod needs it then.
	ways := []struct {
		spec   string
		needed bool
	}{
		{`"containers":[{"name":"c","env":[{"name":"E","valueFrom":{"secretKeyRef":{"name":%q,"key":"k"}}}]}]`, true},
		{`"containers":[{"name":"c"}],"initContainers":[{"name":"i","envFrom":[{"secretRef":{"name":%q}}]}]`, true},
		{`"containers":[{"name":"c","env":[{"name":"E","valueFrom":{"secretKeyRef":{"name":%q,"key":"k","optional":true}}}]}]`, false},
		{`"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/v"}]}],"volumes":[{"name":"v","secret":{"secretName":%q}}]`, true},
		{`"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/v"}]}],"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":%q}}]}}]`, true},
		{`"containers":[{"name":"c"}],"volumes":[{"name":"v","secret":{"secretName":%q}}]`, false},
		{`"containers":[{"name":"c"}],"imagePullSecrets":[{"name":%q}]`, true},
		{`"containers":[{"name":"c"}],"serviceAccountName":%q`, false},
	}
	for i := range random.IntN(12) {
		way, secret := ways[random.IntN(len(ways))], []string{"db", "other"}[random.IntN(2)]
		spec := fmt.Sprintf(way.spec, secret)
		needs := way.needed && secret == "db"
		kind, name := "", fmt.Sprintf("n%d", i)
		manifest := ""
		switch random.IntN(8) {
		case 0, 1:
			phase := []string{"Running", "Pending", "Succeeded", "Failed"}[random.IntN(4)]
			kind, needs = "Pod", needs && (phase == "Running" || phase == "Pending")
			manifest = fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":"shop","uid":%q},"spec":{%s},"status":{"phase":%q}}`, name, name, spec, phase)
		case 2, 3:
			kind = []string{"Deployment", "StatefulSet", "DaemonSet"}[random.IntN(3)]
			manifest = fmt.Sprintf(`{"apiVersion":"apps/v1","kind":%q,"metadata":{"name":%q,"namespace":"shop","uid":%q},"spec":{"replicas":%d,"template":{"spec":{%s}}}}`, kind, name, name, random.IntN(2), spec)
		case 4:
			replicas := random.IntN(2)
			kind, needs = "ReplicaSet", needs && replicas > 0
			manifest = fmt.Sprintf(`{"apiVersion":"apps/v1","kind":%q,"metadata":{"name":%q,"namespace":"shop","uid":%q},"spec":{"replicas":%d,"template":{"spec":{%s}}}}`, kind, name, name, replicas, spec)
		case 5:
			status := []string{`{}`, `{"conditions":[{"type":"Complete","status":"True"}]}`, `{"conditions":[{"type":"Failed","status":"True"}]}`, `{"conditions":[{"type":"Suspended","status":"True"}]}`}
			at := random.IntN(4)
			kind, needs = "Job", needs && (at == 0 || at == 3)
			manifest = fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":%q,"namespace":"shop","uid":%q},"spec":{"template":{"spec":{%s}}},"status":%s}`, name, name, spec, status[at])
		case 6:
			kind = "CronJob"
			manifest = fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":%q,"namespace":"shop","uid":%q},"spec":{"jobTemplate":{"spec":{"template":{"spec":{%s}}}}}}`, name, name, spec)
		case 7: // a pod whose owner no list has
			kind, manifest = "Widget", fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"pod-%s","namespace":"shop","uid":"p%s",`+
				`"ownerReferences":[{"apiVersion":"example.test/v1","kind":"Widget","name":%q,"uid":%q,"controller":true}]},"spec":{%s}}`, name, name, name, name, spec)
		}
		m.users.AddManifest(workload.BuiltinTemplates(), []byte(manifest))
		if needs {
			m.want = append(m.want, kind+" shop/"+name)
		}
	}
	slices.Sort(m.want)
	return m
}

func TestExactlyTheUsersAreFound(t *testing.T) {
	snapshot := NewSnapshot(Checks(), nil, Options{})
	found := 0
	for seed := range uint64(1000) {
		m := makeUp(rand.New(rand.NewPCG(seed, 1)))
		v := snapshot.JudgeDeletion((&GuardedRequest{
			Kind: reference.Secret, Operation: admissionv1.Delete, Namespace: "shop", Name: "db", Old: guardedNamed("db"),
		}).Deletion(), m)
		var got []string
		for i := range v.Findings {
			got = append(got, v.Findings[i].Subject)
		}
		slices.Sort(got)
		if !slices.Equal(got, m.want) {
			t.Fatalf("seed %d: got %q, want %q", seed, got, m.want)
		}
		found += len(got)
	}
	if found < 1000 {
		t.Errorf("only %d users in all: the namespaces show little", found)
	}
}

func guardedNamed(name string) *Guarded {
	g := &Guarded{}
	g.Metadata.Name, g.Metadata.UID = name, "u"
	return g
}
