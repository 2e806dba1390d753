package check

import (
	"bytes"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/workload"
)

// misspelled warns of fields of the pod that nearly have the name of one that
// there is: the API server leaves them out, as kubectl tells before it sends them.
func (o *Options) misspelled(ob *object, pod *workload.Pod) {
	path := strings.TrimSuffix(pod.Prefix, ".")
	content := ob.JSON
	for step := range strings.SplitSeq(path, ".") {
		if step == "" {
			break
		}
		var fields map[string]json.RawMessage
		if json.Unmarshal(content, &fields) != nil {
			return
		}
		content = fields[step]
	}
	if !bytes.Contains(content, []byte("{")) {
		return
	}
	part := ob.Part(path, content)
	var err error
	if path == "" {
		err = part.DecodeLenient(&corev1.Pod{})
	} else {
		err = part.DecodeLenient(&corev1.PodTemplateSpec{})
	}
	if err == nil {
		return
	}
	for _, one := range leaves(err) {
		o.Warn(one.Error())
	}
}
