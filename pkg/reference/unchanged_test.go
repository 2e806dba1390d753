package reference

import (
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestMarkUnchanged(t *testing.T) {
	ref := func(path, name string) Reference {
		return Reference{Kind: Secret, Name: name, Use: UseVolume, Path: path}
	}
	with := func(r Reference, change func(*Reference)) Reference { change(&r); return r }
	keys := func(names ...string) func(*Reference) {
		return func(r *Reference) {
			for i, name := range names {
				r.Keys = append(r.Keys, Key{Name: name, Path: "key" + strconv.Itoa(i)})
			}
		}
	}
	optional := func(r *Reference) { r.Optional = true }
	unused := func(r *Reference) { r.Unused = true }
	tests := []struct {
		name     string
		old, now []Reference
		want     []bool
	}{
		{name: "nothing was there before", now: []Reference{ref("a", "db")}, want: []bool{false}},
		{name: "it is the same", old: []Reference{ref("a", "db")}, now: []Reference{ref("a", "db")}, want: []bool{true}},
		{name: "it moved", old: []Reference{ref("a", "db")}, now: []Reference{ref("b", "db")}, want: []bool{true}},
		{name: "another name", old: []Reference{ref("a", "db")}, now: []Reference{ref("a", "other")}, want: []bool{false}},
		{name: "one before is not two now", old: []Reference{ref("a", "db")}, now: []Reference{ref("b", "db"), ref("a", "db")}, want: []bool{false, true}},
		{name: "they changed places", old: []Reference{ref("a", "db"), ref("b", "x")}, now: []Reference{ref("a", "x"), ref("b", "db")}, want: []bool{true, true}},
		{name: "optional no longer", old: []Reference{with(ref("a", "db"), optional)}, now: []Reference{ref("a", "db")}, want: []bool{false}},
		{name: "optional now", old: []Reference{ref("a", "db")}, now: []Reference{with(ref("a", "db"), optional)}, want: []bool{false}},
		{name: "mounted now", old: []Reference{with(ref("a", "db"), unused)}, now: []Reference{ref("a", "db")}, want: []bool{false}},
		{
			// The way round every Deny: neither is required.
			name: "optional, and mounted now", old: []Reference{with(with(ref("a", "db"), optional), unused)}, now: []Reference{with(ref("a", "db"), optional)}, want: []bool{false},
		},
		{name: "another key", old: []Reference{with(ref("a", "db"), keys("x"))}, now: []Reference{with(ref("a", "db"), keys("y"))}, want: []bool{false}},
		{name: "one key more", old: []Reference{with(ref("a", "db"), keys("x"))}, now: []Reference{with(ref("a", "db"), keys("x", "y"))}, want: []bool{false}},
		{name: "the same keys", old: []Reference{with(ref("a", "db"), keys("x", "y"))}, now: []Reference{with(ref("b", "db"), keys("x", "y"))}, want: []bool{true}},
		{name: "an odd key that looks like two", old: []Reference{with(ref("a", "db"), keys("x", "y"))}, now: []Reference{with(ref("a", "db"), keys("x1:y"))}, want: []bool{false}},
		{
			name: "another selector of trust bundles",
			old:  []Reference{{Kind: ClusterTrustBundle, SignerName: "s", Labels: "a=b"}}, now: []Reference{{Kind: ClusterTrustBundle, SignerName: "s", Labels: "a=c"}}, want: []bool{false},
		},
		{name: "another route", old: []Reference{ref("a", "db")}, now: []Reference{with(ref("a", "db"), func(r *Reference) { r.Use = UseEnvFrom })}, want: []bool{false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			MarkUnchanged(tt.now, tt.old)
			for i := range tt.now {
				if tt.now[i].Unchanged != tt.want[i] {
					t.Errorf("%s: got %v, want %v", tt.now[i].Path, tt.now[i].Unchanged, tt.want[i])
				}
			}
		})
	}
}

// markSlowly compares each reference with each other one.
func markSlowly(now, old []Reference) {
	taken := make([]bool, len(old))
	for _, samePath := range []bool{true, false} {
		for i := range now {
			for j := range old {
				a, b := now[i], old[j]
				same := a.Kind == b.Kind && a.Name == b.Name && a.SignerName == b.SignerName && a.Labels == b.Labels && a.Use == b.Use &&
					a.Optional == b.Optional && a.Unused == b.Unused &&
					slices.EqualFunc(a.Keys, b.Keys, func(k, l Key) bool { return k.Name == l.Name })
				if same && !now[i].Unchanged && !taken[j] && (!samePath || a.Path == b.Path) {
					now[i].Unchanged, taken[j] = true, true
				}
			}
		}
	}
}

func TestMarksAreThoseOfComparingEachWithEach(t *testing.T) {
	random := rand.New(rand.NewSource(1)) //nolint:gosec // random references, not keys
	list := func() []Reference {
		out := make([]Reference, random.Intn(8))
		for i := range out {
			out[i] = Reference{
				Kind: []Kind{Secret, ConfigMap}[random.Intn(2)], Name: []string{"a", "b"}[random.Intn(2)], Use: Use(random.Intn(2)),
				Optional: random.Intn(3) == 0, Unused: random.Intn(3) == 0, Path: "path" + strconv.Itoa(i),
			}
			for range random.Intn(3) {
				out[i].Keys = append(out[i].Keys, Key{Name: []string{"k", "l"}[random.Intn(2)]})
			}
		}
		random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out
	}
	marked := 0
	for range 20_000 {
		old, now := list(), list()
		want := slices.Clone(now)
		markSlowly(want, old)
		MarkUnchanged(now, old)
		for i := range now {
			if now[i].Unchanged {
				marked++
			}
			if now[i].Unchanged != want[i].Unchanged {
				t.Fatalf("%+v\nof %+v\ngot %+v", want, old, now)
			}
		}
	}
	if marked < 1_000 {
		t.Errorf("only %d references were unchanged", marked)
	}
}

// As many comparisons as pairs would take minutes.
func TestMarkingManyReferencesIsQuick(t *testing.T) {
	const references = 200_000
	list := func(name string) []Reference {
		out := make([]Reference, references)
		for i := range out {
			out[i] = Reference{Kind: Secret, Name: name + strconv.Itoa(i%(references/2)), Use: UseEnv, Path: fmt.Sprint(i)}
		}
		return out
	}
	start := time.Now()
	MarkUnchanged(list("a"), list("b"))
	now := list("a")
	MarkUnchanged(now, list("a"))
	if took := time.Since(start); took > 20*time.Second || !now[0].Unchanged || !now[references-1].Unchanged {
		t.Errorf("took %s", took)
	}
}

func TestAnEphemeralContainerMakesAnUnusedVolumeANewUse(t *testing.T) {
	yes := true
	spec := &corev1.PodSpec{
		Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "db", Optional: &yes}}}},
		Containers: []corev1.Container{{Name: "main"}},
	}
	old := OfPod("", spec)
	spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{VolumeMounts: []corev1.VolumeMount{{Name: "v"}}}}}
	now := OfPod("", spec)
	MarkUnchanged(now, old)
	if len(now) != 1 || now[0].Unchanged || now[0].Unused {
		t.Errorf("got %+v", now)
	}
}
