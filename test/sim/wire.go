package sim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// message is what can be sent as protobuf.
type message interface{ Marshal() ([]byte, error) }

// forms are those in which an object is sent: whole or its metadata alone, as JSON
// or as protobuf. Each is made once.
type forms struct {
	typed         func() any // the object as client-go has it
	meta          metav1.PartialObjectMetadata
	json, partial func() []byte
	binary        func() []byte
	binaryPartial func() []byte
}

func newForms(o *object) *forms {
	k := kinds()[o.resource]
	f := &forms{meta: metav1.PartialObjectMetadata{TypeMeta: partialType(""), ObjectMeta: o.metadata()}}
	f.typed = sync.OnceValue(func() any { return o.typed(f.meta.ObjectMeta) })
	f.json = sync.OnceValue(func() []byte { return encode(f.typed()) })
	f.partial = sync.OnceValue(func() []byte { return encode(&f.meta) })
	f.binary = sync.OnceValue(func() []byte { return envelope(k.typeMeta(""), f.typed().(message)) })
	f.binaryPartial = sync.OnceValue(func() []byte { return envelope(f.meta.TypeMeta, &f.meta) })
	return f
}

func (k kind) typeMeta(suffix string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: k.apiVersion, Kind: k.kind + suffix}
}

func partialType(suffix string) metav1.TypeMeta {
	return kind{apiVersion: "meta.k8s.io/v1", kind: "PartialObjectMetadata"}.typeMeta(suffix)
}

func (o *object) metadata() metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Name: o.name, Namespace: o.namespace, UID: types.UID(o.uid), ResourceVersion: fmt.Sprint(o.version),
		CreationTimestamp: metav1.NewTime(o.created), Labels: o.labels, Annotations: o.annotations,
	}
	if !o.deleting.IsZero() {
		m.DeletionTimestamp = &metav1.Time{Time: o.deleting}
	}
	return m
}

// typed returns the object as client-go has it; one of another kind as a map.
func (o *object) typed(meta metav1.ObjectMeta) any {
	k := kinds()[o.resource]
	switch o.resource {
	case "secrets":
		return &corev1.Secret{TypeMeta: k.typeMeta(""), ObjectMeta: meta, Type: corev1.SecretType(o.typ), Data: o.data}
	case "configmaps":
		data := make(map[string]string, len(o.data))
		for key, value := range o.data {
			data[key] = string(value)
		}
		return &corev1.ConfigMap{TypeMeta: k.typeMeta(""), ObjectMeta: meta, Data: data, BinaryData: o.binaryData}
	case "serviceaccounts":
		return &corev1.ServiceAccount{TypeMeta: k.typeMeta(""), ObjectMeta: meta}
	case "namespaces":
		return &corev1.Namespace{TypeMeta: k.typeMeta(""), ObjectMeta: meta}
	}
	all := map[string]any{"apiVersion": k.apiVersion, "kind": k.kind, "metadata": meta}
	for name, value := range o.fields {
		all[name] = value
	}
	return all
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// protobufMark is what protobuf of Kubernetes begins with.
const protobufMark = "k8s\x00"

// envelope is how an API server sends protobuf.
func envelope(typ metav1.TypeMeta, m message) []byte {
	raw, err := m.Marshal()
	if err != nil {
		panic(err)
	}
	text, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: typ.APIVersion, Kind: typ.Kind}, Raw: raw}).Marshal()
	if err != nil {
		panic(err)
	}
	return append([]byte(protobufMark), text...)
}

// form returns an object as the call wants it.
func (c *call) form(o *object) []byte {
	switch {
	case c.partial && c.binary:
		return o.forms.binaryPartial()
	case c.partial:
		return o.forms.partial()
	case c.binary:
		return o.forms.binary()
	}
	return o.forms.json()
}

// items returns a list of objects as the call wants it.
func (c *call) items(objects []*object, meta metav1.ListMeta) []byte {
	k := kinds()[c.resource]
	var list message
	typ := k.typeMeta("List")
	switch {
	case c.partial:
		typ = partialType("List")
		l := &metav1.PartialObjectMetadataList{TypeMeta: typ, ListMeta: meta, Items: make([]metav1.PartialObjectMetadata, len(objects))}
		for i, o := range objects {
			l.Items[i] = o.forms.meta
		}
		list = l
	case c.resource == "secrets":
		l := &corev1.SecretList{TypeMeta: typ, ListMeta: meta, Items: make([]corev1.Secret, len(objects))}
		for i, o := range objects {
			l.Items[i] = *o.forms.typed().(*corev1.Secret)
		}
		list = l
	default: // of the rest nobody lists but as JSON
		all := make([]any, len(objects))
		for i, o := range objects {
			all[i] = o.forms.typed()
		}
		return encode(map[string]any{"apiVersion": typ.APIVersion, "kind": typ.Kind, "metadata": meta, "items": all})
	}
	if c.binary {
		return envelope(typ, list)
	}
	return encode(list)
}

// event returns an event of a watch as the call wants it.
func (c *call) event(happened string, object []byte) []byte {
	if !c.binary {
		return fmt.Appendf(nil, `{"type":%q,"object":%s}`+"\n", happened, object)
	}
	raw, err := (&metav1.WatchEvent{Type: happened, Object: runtime.RawExtension{Raw: object}}).Marshal()
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...) //nolint:gosec // some hundred bytes
}

// bookmark returns the object of a bookmark.
func (c *call) bookmark(version int64, annotations map[string]string) []byte {
	o := &object{id: id{resource: c.resource}, annotations: annotations, version: version}
	o.forms = newForms(o)
	return c.form(o)
}

// status is an answer that says why there is no other.
func status(code int, reason metav1.StatusReason, message string, details *metav1.StatusDetails) answer {
	return answer{code: code, status: &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: message, Details: details, //nolint:gosec // an HTTP status
	}}
}

// cause is the details of a status.
func cause(reason metav1.CauseType, field, message string) *metav1.StatusDetails {
	return &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: reason, Field: field, Message: message}}}
}

// statusBody puts a status into words as the call wants it.
func (c *call) statusBody(s *metav1.Status) []byte {
	if c.binary {
		return envelope(s.TypeMeta, s)
	}
	return encode(s)
}

// contentType is that of what the functions above return.
func (c *call) contentType() string {
	if c.binary {
		return runtime.ContentTypeProtobuf
	}
	return runtime.ContentTypeJSON
}

func notFound(c *call) answer {
	return status(http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", c.resource, c.name), &metav1.StatusDetails{Name: c.name, Kind: c.resource})
}

// plainNotFound is what a proxy, or an API server that does not know the path, says.
func plainNotFound() answer {
	return answer{code: http.StatusNotFound, body: []byte("404 page not found\n"), header: map[string]string{"Content-Type": "text/plain"}}
}

func expired() answer {
	return status(http.StatusGone, metav1.StatusReasonExpired, "too old resource version", nil)
}
