// Package upstream compares our walk over a PodSpec with Kubernetes' own
// visitors. It lives in this module because k8s.io/kubernetes does.
package upstream

import (
	"maps"
	"math/rand"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"sigs.k8s.io/randfill"

	"tokenward.dev/tokenward/pkg/reference"
)

const pods = 30_000

// A field with a Secret or ConfigMap that upstream visits and we don't, or the
// other way round, makes this fail: pods are filled by reflection. Upstream visits
// the Secret of an iSCSI volume also where the kubelet does not read it, and no
// empty names.
func TestReferencesAreThoseOfUpstreamsVisitors(t *testing.T) {
	filler := randfill.NewWithSeed(1).NilChance(.4).NumElements(0, 3).MaxDepth(12)
	random := rand.New(rand.NewSource(2))
	secrets, configMaps := 0, 0
	for i := range pods {
		pod := &corev1.Pod{}
		filler.Fill(&pod.Spec)
		for v := range pod.Spec.Volumes {
			keepOne(random, &pod.Spec.Volumes[v].VolumeSource)
			if i := pod.Spec.Volumes[v].ISCSI; i != nil && !i.DiscoveryCHAPAuth && !i.SessionCHAPAuth {
				i.SecretRef = nil
			}
			if p := pod.Spec.Volumes[v].Projected; p != nil {
				for s := range p.Sources {
					keepOne(random, &p.Sources[s])
				}
			}
		}
		want := map[reference.Kind]sets.Set[string]{reference.Secret: {}, reference.ConfigMap: {}}
		podutil.VisitPodSecretNames(pod, func(name string) bool { want[reference.Secret].Insert(name); return true })
		podutil.VisitPodConfigmapNames(pod, func(name string) bool { want[reference.ConfigMap].Insert(name); return true })
		got := map[reference.Kind]sets.Set[string]{reference.Secret: {}, reference.ConfigMap: {}}
		for _, r := range reference.OfPod("", &pod.Spec) {
			if names, ok := got[r.Kind]; ok && r.Name != "" {
				names.Insert(r.Name)
			}
		}
		for kind := range maps.Keys(want) {
			if !got[kind].Equal(want[kind]) {
				t.Fatalf("pod %d, %s: missed %q, invented %q", i, kind,
					slices.Sorted(maps.Keys(want[kind].Difference(got[kind]))), slices.Sorted(maps.Keys(got[kind].Difference(want[kind]))))
			}
		}
		secrets += len(want[reference.Secret])
		configMaps += len(want[reference.ConfigMap])
	}
	// Pods without references would show nothing.
	if secrets < pods || configMaps < pods {
		t.Errorf("the pods had only %d Secrets and %d ConfigMaps", secrets, configMaps)
	}
}

// keepOne leaves one member of a union, as the API server demands.
func keepOne(random *rand.Rand, union any) {
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

// Every route is drawn: a walk that forgot one would be noticed.
func TestRandomPodsTakeEveryRoute(t *testing.T) {
	filler := randfill.NewWithSeed(1).NilChance(.4).NumElements(0, 3).MaxDepth(12)
	random := rand.New(rand.NewSource(2))
	drawn := map[string]bool{}
	for range 3_000 {
		var spec corev1.PodSpec
		filler.Fill(&spec)
		for v := range spec.Volumes {
			source := &spec.Volumes[v].VolumeSource
			keepOne(random, source)
			fields := reflect.ValueOf(source).Elem()
			for i := range fields.NumField() {
				if !fields.Field(i).IsNil() {
					drawn[fields.Type().Field(i).Name] = true
				}
			}
		}
	}
	for _, name := range []string{"Secret", "ConfigMap", "Projected", "AzureFile", "CephFS", "Cinder", "FlexVolume", "RBD", "ScaleIO", "ISCSI", "StorageOS", "CSI"} {
		if !drawn[name] {
			t.Errorf("no random pod has a volume of type %s", name)
		}
	}
}
