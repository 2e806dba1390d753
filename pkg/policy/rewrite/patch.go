package rewrite

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/policy"
)

// Operation is one operation of a JSON Patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// draft is the pod as changed so far: what to do to the pod as it came. Copies
// of a draft do not share what is written to.
type draft struct {
	account   string
	accountBy *policy.Mutation // that set it; nil if none did
	target    *facts.Account   // what is known of it

	pullDrop int      // so many imagePullSecrets go, from the first
	pullAdd  []string // these come in their place

	automount *bool // nil: as it came

	projected     map[int]*projection // volumes, by place
	ownsProjected bool                // no other draft has that map
	removed       []int               // volumes, ascending
	removal       Change              // that they are removed by
}

func (d *draft) changed() bool {
	return d.accountBy != nil || d.automount != nil || len(d.projected) > 0 || len(d.removed) > 0
}

func (d *draft) project(i int, to *projection) {
	if !d.ownsProjected {
		d.ownsProjected, d.projected = true, maps.Clone(d.projected)
		if d.projected == nil {
			d.projected = map[int]*projection{}
		}
	}
	d.projected[i] = to
}

// operations returns the patch of a pod, always in the same order: fields,
// mounts, volumes. Where an operation goes by a position a test before it makes
// sure of what is there; in a list the last comes first, so that positions hold.
func (d *draft) operations(pod *corev1.Pod) []Operation {
	if pod == nil || !d.changed() {
		return nil
	}
	var ops []Operation
	do := func(op, path string, value any) { ops = append(ops, Operation{Op: op, Path: path, Value: value}) }
	if d.accountBy != nil {
		do("add", "/spec/serviceAccountName", d.account)
		if pod.Spec.DeprecatedServiceAccount != "" {
			do("add", "/spec/serviceAccount", d.account)
		}
		d.pullSecretOperations(pod, do)
	}
	if d.automount != nil {
		do("add", "/spec/automountServiceAccountToken", *d.automount)
	}
	gone := map[string]bool{}
	for _, i := range d.removed {
		gone[pod.Spec.Volumes[i].Name] = true
	}
	for _, c := range containersOf(pod) {
		var places []int
		for i := range c.mounts {
			if gone[c.mounts[i].Name] {
				places = append(places, i)
			}
		}
		remove("/spec/"+c.list+"/"+strconv.Itoa(c.index)+"/volumeMounts", len(c.mounts), places, func(i int) string { return c.mounts[i].Name }, do)
	}
	for _, i := range slices.Sorted(maps.Keys(d.projected)) {
		at := "/spec/volumes/" + strconv.Itoa(i)
		do("test", at+"/name", pod.Spec.Volumes[i].Name)
		do("remove", at+"/secret", nil)
		do("add", at+"/projected", d.projected[i].source)
	}
	remove("/spec/volumes", len(pod.Spec.Volumes), d.removed, func(i int) string { return pod.Spec.Volumes[i].Name }, do)
	return ops
}

func (d *draft) pullSecretOperations(pod *corev1.Pod, do func(op, path string, value any)) {
	const list = "/spec/imagePullSecrets"
	secrets := pod.Spec.ImagePullSecrets
	if d.pullDrop == len(secrets) && len(d.pullAdd) > 0 {
		all := make([]corev1.LocalObjectReference, len(d.pullAdd))
		for i, name := range d.pullAdd {
			all[i].Name = name
		}
		do("add", list, all)
		return
	}
	places := make([]int, d.pullDrop)
	for i := range places {
		places[i] = i
	}
	remove(list, len(secrets), places, func(i int) string { return secrets[i].Name }, do)
	for i, name := range d.pullAdd {
		do("add", list+"/"+strconv.Itoa(i), corev1.LocalObjectReference{Name: name})
	}
}

// remove takes elements with names out of a list; the whole list if none stays.
func remove(list string, length int, places []int, name func(int) string, do func(op, path string, value any)) {
	if len(places) == 0 {
		return
	}
	for _, i := range slices.Backward(places) {
		if name(i) != "" { // an empty name is left out of the JSON
			do("test", list+"/"+strconv.Itoa(i)+"/name", name(i))
		}
		if len(places) < length {
			do("remove", list+"/"+strconv.Itoa(i), nil)
		}
	}
	if len(places) == length {
		do("remove", list, nil)
	}
}

// stateAfter tells apart what different patches make of a pod.
func stateAfter(operations []Operation) string {
	text, err := json.Marshal(operations)
	if err != nil {
		return "" // our own types: it can't fail
	}
	return string(text)
}

// applied returns decoded JSON with the patch applied, whole numbers as such;
// nil if that fails.
func applied(object map[string]any, operations []Operation) map[string]any {
	before, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	after, err := Apply(before, operations)
	if err != nil {
		return nil
	}
	var out map[string]any
	if kjson.UnmarshalCaseSensitivePreserveInts(after, &out) != nil {
		return nil
	}
	return out
}

// Apply applies a patch to an object, as the API server does.
func Apply(object []byte, operations []Operation) ([]byte, error) {
	if len(operations) == 0 {
		return object, nil
	}
	text, err := json.Marshal(operations)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, err
	}
	return patch.Apply(object)
}
