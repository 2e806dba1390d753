package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// write answers what changes objects: ConfigMaps and Leases of our own, say. It
// knows create, update, patches that add, and delete. A status is taken and dropped.
func (s *server) write(c *call) answer {
	st := s.world.store
	if c.subresource == "status" {
		if o := st.get(id{c.resource, c.namespace, c.name}); o != nil {
			return answer{code: http.StatusOK, body: c.form(o)}
		}
		return notFound(c)
	}
	if c.method == http.MethodDelete {
		if !st.remove(id{c.resource, c.namespace, c.name}) {
			return notFound(c)
		}
		s.world.observe()
		return status(http.StatusOK, "", "deleted", nil)
	}
	in, err := c.written()
	if err != nil || c.resource != "configmaps" {
		return status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "the simulator can't write this", nil)
	}
	if c.name == "" {
		c.name = in.Name
	}
	i := id{c.resource, c.namespace, c.name}
	old := st.get(i)
	switch patch := c.method == http.MethodPatch; {
	case c.method == http.MethodPost && old != nil:
		return status(http.StatusConflict, "AlreadyExists", fmt.Sprintf("%s %q already exists", c.resource, c.name), &metav1.StatusDetails{Name: c.name, Kind: c.resource})
	case c.method == http.MethodPut && old == nil, patch && old == nil && in.APIVersion == "":
		return notFound(c)
	case old != nil && in.ResourceVersion != "" && in.ResourceVersion != fmt.Sprint(old.version):
		return status(http.StatusConflict, "Conflict", "the object has been modified", &metav1.StatusDetails{Name: c.name, Kind: c.resource})
	}
	fresh := &object{id: i, uid: s.world.newUID(), labels: in.Labels, annotations: in.Annotations, data: map[string][]byte{}}
	if old != nil {
		fresh.uid = old.uid
		if c.method == http.MethodPatch {
			for key, value := range old.data {
				fresh.data[key] = value
			}
		}
	}
	for key, value := range in.Data {
		fresh.data[key] = []byte(value)
	}
	st.put(fresh)
	return answer{code: http.StatusOK, body: c.form(fresh)}
}

// written is what a call writes.
func (c *call) written() (*corev1.ConfigMap, error) {
	in := &corev1.ConfigMap{}
	raw, isBinary := bytes.CutPrefix(c.body, []byte(protobufMark))
	if !isBinary {
		return in, json.Unmarshal(c.body, in)
	}
	var all runtime.Unknown
	if err := all.Unmarshal(raw); err != nil {
		return nil, err
	}
	in.TypeMeta = metav1.TypeMeta{APIVersion: all.APIVersion, Kind: all.Kind}
	return in, in.Unmarshal(all.Raw)
}
