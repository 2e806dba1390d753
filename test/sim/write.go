package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// write answers what changes objects: ConfigMaps and Leases of our own, say. It
// knows create, update, apply and merge patches, and delete. A status is taken and dropped.
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
	var in struct {
		Metadata struct {
			Name, UID, ResourceVersion string
			Labels, Annotations        map[string]string
		}
		Data map[string]*string
	}
	if json.Unmarshal(c.body, &in) != nil || c.resource != "configmaps" {
		return status(http.StatusBadRequest, "BadRequest", "the simulator can't write this", nil)
	}
	if c.name == "" {
		c.name = in.Metadata.Name
	}
	i := id{c.resource, c.namespace, c.name}
	old := st.get(i)
	switch patch := c.method == http.MethodPatch; {
	case c.method == http.MethodPost && old != nil:
		return status(http.StatusConflict, "AlreadyExists", fmt.Sprintf("%s %q already exists", c.resource, c.name), &metav1.StatusDetails{Name: c.name, Kind: c.resource})
	case c.method == http.MethodPut && old == nil, patch && old == nil && !strings.Contains(string(c.body), "apiVersion"):
		return notFound(c)
	case old != nil && in.Metadata.ResourceVersion != "" && in.Metadata.ResourceVersion != fmt.Sprint(old.version):
		return status(http.StatusConflict, "Conflict", "the object has been modified", &metav1.StatusDetails{Name: c.name, Kind: c.resource})
	}
	fresh := &object{id: i, uid: s.world.newUID(), labels: in.Metadata.Labels, annotations: in.Metadata.Annotations, data: map[string][]byte{}}
	if old != nil {
		fresh.uid = old.uid
		if c.method == http.MethodPatch {
			for key, value := range old.data {
				fresh.data[key] = value
			}
		}
	}
	for key, value := range in.Data {
		if delete(fresh.data, key); value != nil {
			fresh.data[key] = []byte(*value)
		}
	}
	st.put(fresh)
	return answer{code: http.StatusOK, body: c.form(fresh)}
}
