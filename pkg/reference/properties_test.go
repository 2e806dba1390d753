package reference

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/randfill"
)

// randomPods are filled by reflection, so that new fields are covered as soon as
// the Kubernetes API has them. They are made once, and not to be written to.
var randomPods = sync.OnceValue(func() []*corev1.PodSpec {
	filler := randfill.NewWithSeed(1).NilChance(.4).NumElements(1, 4).MaxDepth(12)
	random := rand.New(rand.NewSource(2)) //nolint:gosec // random pods, not keys
	pods := make([]*corev1.PodSpec, 400)
	for i := range pods {
		spec := &corev1.PodSpec{}
		filler.Fill(spec)
		for v := range spec.Volumes {
			keepOneSource(random, &spec.Volumes[v].VolumeSource)
			// Else hardly any container mounts a volume that there is.
			spec.Volumes[v].Name = "v" + strconv.Itoa(random.Intn(5))
			if p := spec.Volumes[v].Projected; p != nil {
				for s := range p.Sources {
					keepOneSource(random, &p.Sources[s])
				}
			}
		}
		EachContainer(spec, func(_ string, c *corev1.Container) {
			for m := range c.VolumeMounts {
				c.VolumeMounts[m].Name = "v" + strconv.Itoa(random.Intn(5))
			}
		})
		pods[i] = spec
	}
	return pods
})

func eachRandomPod(t *testing.T, visit func(t *testing.T, spec *corev1.PodSpec, references []Reference)) {
	t.Helper()
	found := 0
	for i, spec := range randomPods() {
		references := OfPod("", spec)
		found += len(references)
		visit(t, spec, references)
		if t.Failed() {
			t.Fatalf("pod %d", i)
		}
	}
	if found < 3_000 {
		t.Errorf("the pods had only %d references: they show nothing", found)
	}
}

// keepOneSource leaves one member of a union, as the API server demands.
func keepOneSource(random *rand.Rand, union any) {
	fields := reflect.ValueOf(union).Elem()
	var set []int
	for i := range fields.NumField() {
		if !fields.Field(i).IsNil() {
			set = append(set, i)
		}
	}
	if len(set) == 0 {
		return
	}
	keep := set[random.Intn(len(set))]
	for _, i := range set {
		if i != keep {
			fields.Field(i).SetZero()
		}
	}
}

// at returns what stands at the path of a field in decoded JSON.
func at(object any, path string) any {
	path = strings.NewReplacer("[", ".", "]", "").Replace(path)
	for step := range strings.SplitSeq(path, ".") {
		switch o := object.(type) {
		case map[string]any:
			object = o[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(o) {
				return nil
			}
			object = o[i]
		default:
			return nil
		}
	}
	return object
}

func decoded(t *testing.T, spec *corev1.PodSpec) map[string]any {
	t.Helper()
	text, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestEveryPathLeadsToTheNameThatItStandsFor(t *testing.T) {
	eachRandomPod(t, func(t *testing.T, spec *corev1.PodSpec, references []Reference) {
		object := decoded(t, spec)
		for _, r := range references {
			got := at(object, r.Path)
			if r.Nameless() && got == nil {
				got = "" // an empty name is left out of the JSON
			}
			if got != r.Name+r.SignerName {
				t.Errorf("%s has %v, want %q", r.Path, got, r.Name+r.SignerName)
			}
			for _, k := range r.Keys {
				if got := at(object, k.Path); got != k.Name {
					t.Errorf("%s has %v, want %q", k.Path, got, k.Name)
				}
			}
		}
	})
}

func TestNoFieldIsListedTwice(t *testing.T) {
	eachRandomPod(t, func(t *testing.T, _ *corev1.PodSpec, references []Reference) {
		seen := map[string]bool{}
		for _, r := range references {
			if seen[r.Path] {
				t.Errorf("%s is there twice", r.Path)
			}
			seen[r.Path] = true
		}
	})
}

func TestThePrefixComesBeforeEveryPath(t *testing.T) {
	const prefix = "spec.jobTemplate.spec.template."
	eachRandomPod(t, func(t *testing.T, spec *corev1.PodSpec, references []Reference) {
		for i, r := range OfPod(prefix, spec) {
			if r.Path != prefix+references[i].Path {
				t.Errorf("got %s, want %s before %s", r.Path, prefix, references[i].Path)
			}
			for j, k := range r.Keys {
				if k.Path != prefix+references[i].Keys[j].Path {
					t.Errorf("got %s, want %s before %s", k.Path, prefix, references[i].Keys[j].Path)
				}
			}
		}
	})
}

var pathStep = regexp.MustCompile(`[A-Za-z]+|\d+`)

// place makes paths comparable: the order of the lists, then the indexes.
func place(path string) []int {
	fields := []string{"spec", "volumes", "initContainers", "containers", "ephemeralContainers", "serviceAccountName", "imagePullSecrets", "envFrom", "env", "projected", "sources"}
	var out []int
	for _, step := range pathStep.FindAllString(path, -1) {
		if i, err := strconv.Atoi(step); err == nil {
			out = append(out, i)
		} else if i := slices.Index(fields, step); i >= 0 {
			out = append(out, i)
		}
	}
	return out
}

func TestReferencesStandInTheOrderOfTheirFields(t *testing.T) {
	eachRandomPod(t, func(t *testing.T, _ *corev1.PodSpec, references []Reference) {
		for i := 1; i < len(references); i++ {
			if before, after := references[i-1].Path, references[i].Path; slices.Compare(place(before), place(after)) > 0 {
				t.Errorf("%s comes before %s", before, after)
			}
		}
	})
}

func TestVolumesThatNoContainerMountsAreUnused(t *testing.T) {
	unused, used := 0, 0
	eachRandomPod(t, func(t *testing.T, spec *corev1.PodSpec, references []Reference) {
		object, mounted := decoded(t, spec), map[any]bool{}
		for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
			containers, _ := at(object, "spec."+list).([]any)
			for _, c := range containers {
				for _, mounts := range []string{"volumeMounts", "volumeDevices"} {
					all, _ := at(c, mounts).([]any)
					for _, m := range all {
						mounted[at(m, "name")] = true
					}
				}
			}
		}
		for _, r := range references {
			inVolume := strings.HasPrefix(r.Path, "spec.volumes[")
			volume := r.Path[:strings.Index(r.Path, "]")+1]
			if want := inVolume && !mounted[at(object, volume+".name")]; r.Unused != want {
				t.Errorf("%s: unused is %v, want %v", r.Path, r.Unused, want)
			}
			if inVolume && r.Unused {
				unused++
			} else if inVolume {
				used++
			}
		}
	})
	if unused < 50 || used < 50 {
		t.Errorf("only %d references are unused and %d used: they show nothing", unused, used)
	}
}

// elsewhere are the fields that name an object, and are no reference of a pod.
// claims and files: package reference is not about them.
var elsewhere = regexp.MustCompile(`resourceClaimName|persistentVolumeClaim|dataSource|fileKeyRef|\.objectMeta|ephemeral\.volumeClaimTemplate`)

// A new version of the Kubernetes API may bring a new way to name an object.
func TestEveryFieldThatNamesASecretOrConfigMapIsWalked(t *testing.T) {
	naming := []reflect.Type{
		reflect.TypeFor[corev1.LocalObjectReference](), reflect.TypeFor[corev1.SecretReference](), reflect.TypeFor[corev1.ObjectReference](),
		reflect.TypeFor[corev1.TypedLocalObjectReference](), reflect.TypeFor[corev1.TypedObjectReference](),
	}
	walked := map[string]bool{}
	indexes := regexp.MustCompile(`\[\d+\]`)
	eachRandomPod(t, func(_ *testing.T, _ *corev1.PodSpec, references []Reference) {
		for _, r := range references {
			walked[indexes.ReplaceAllString(r.Path, "")] = true
		}
	})
	var visit func(path string, t reflect.Type)
	count := 0
	visit = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if slices.Contains(naming, typ) {
			count++
			if path += ".name"; !walked[path] && !elsewhere.MatchString(path) {
				t.Errorf("%s names an object, and is not walked", path)
			}
			return
		}
		if typ.Kind() != reflect.Struct || elsewhere.MatchString(path) {
			return
		}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			next := path
			if name != "" {
				next += "." + name
			}
			if name == "secretName" || name == "configMapName" {
				count++
				if !walked[next] {
					t.Errorf("%s names an object, and is not walked", next)
				}
			}
			visit(next, f.Type)
		}
	}
	visit("spec", reflect.TypeFor[corev1.PodSpec]())
	if count < 20 {
		t.Errorf("only %d fields name an object: the search is broken", count)
	}
}
