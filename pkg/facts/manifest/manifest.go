// Package manifest takes facts from manifests instead of an API server. The
// manifests are a closed world: what they do not have is absent.
//
// Every namespace that is named exists, and so do its account "default" and its
// ConfigMap "kube-root-ca.crt", unless they are declared absent.
//
// It is pure. It imports packages facts, makers, reference, strictyaml, token and
// workload, and nothing else of ours.
package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/makers"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/strictyaml"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/workload"
)

// rootCA is the ConfigMap in which every namespace has the API server's CA.
const rootCA = "kube-root-ca.crt"

// Cluster is a cluster that manifests describe. The zero value is empty.
type Cluster struct {
	objects map[facts.Object]*object
	// namesakes are further objects of the same name, of other files.
	namesakes map[facts.Object][]*object
	// made and filled tell what will make an object, or add keys to one; in all
	// namespaces where the object has none.
	made, filled map[facts.Object]makers.Product
	// pending has yet to be looked at for programs; scanned has been.
	pending []func(*makers.Programs)
	scanned *makers.Programs
	// Namespace of objects that name none; "default" if empty.
	Namespace string
	// Given is set where the manifests are not all that there is: what they do not
	// have is absent with facts.NotGiven.
	Given bool
	// Makers is the table of what makes objects; the built-in one if nil.
	Makers *makers.Table
	// Programs is set where also the programs of pods, by Templates, make something.
	Programs  bool
	Templates workload.Templates
	// Keys are what the API server accepts tokens by; nil where that is unknown.
	Keys *token.KeySet
	// FirstMet and LastPublished are the history of key ids that are not among Keys:
	// when a token first showed them, and when the API server last published them.
	// Of an id in neither it is known that its key is gone.
	FirstMet, LastPublished map[string]time.Time
}

type object struct {
	file   string // that it was read from
	state  facts.State
	why    facts.Why // of what is unknown
	keys   map[string]struct{}
	binary []string // those in binaryData, sorted
	labels map[string]string
	names  []string       // Secrets that a SecretProviderClass makes
	signer string         // of a ClusterTrustBundle
	owner  string         // account of a token Secret
	whole  map[string]any // a Namespace

	uid      string
	deleting time.Time
	secret   *corev1.Secret
	account  *facts.Account
	ca       []byte // ca.crt of a ConfigMap
}

// Read adds the objects of a file: YAML or JSON documents, Lists included.
// Kinds that no fact comes from are passed over.
func (c *Cluster) Read(source string, data []byte) error {
	docs, err := strictyaml.Split(source, data)
	if err != nil {
		return err
	}
	var errs []error
	for i := range docs {
		if err := c.Add(docs[i].JSON); err != nil {
			errs = append(errs, docs[i].ErrorAt("", err.Error()))
		}
	}
	return errors.Join(errs...)
}

// Kinds that only tokens point at are looked up like the others.
func isBound(gvk schema.GroupVersionKind) bool {
	return gvk.Group == "" && (gvk.Kind == "Pod" || gvk.Kind == "Node")
}

// kindOf maps the kinds that facts come from to the fact's kind.
func kindOf(t *metav1.TypeMeta) (reference.Kind, bool) {
	gvk := t.GroupVersionKind()
	switch {
	case isBound(gvk),
		gvk.Group == "" && slices.Contains([]string{"Secret", "ConfigMap", "ServiceAccount", "Namespace"}, gvk.Kind),
		gvk.Group == "certificates.k8s.io" && gvk.Kind == "ClusterTrustBundle",
		gvk.Group == "secrets-store.csi.x-k8s.io" && gvk.Kind == "SecretProviderClass":
		return reference.Kind(gvk.Kind), true
	}
	return "", false
}

// content has the fields that facts come from, of all kinds.
type content struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta          `json:"metadata"`
	Items           []json.RawMessage          `json:"items"`
	Type            corev1.SecretType          `json:"type"`
	Data            map[string]json.RawMessage `json:"data"`
	StringData      map[string]json.RawMessage `json:"stringData"`
	BinaryData      map[string]json.RawMessage `json:"binaryData"`
	Spec            json.RawMessage            `json:"spec"`
	// Of a ServiceAccount.
	Automount        *bool                         `json:"automountServiceAccountToken"`
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
	Secrets          []corev1.ObjectReference      `json:"secrets"`
}

// Add adds one object, given as JSON.
func (c *Cluster) Add(manifest []byte) error { return c.AddFrom("", manifest) }

// AddFrom adds one object of a file. For what else is in the file it comes before
// its namesakes of other files.
func (c *Cluster) AddFrom(file string, manifest []byte) error {
	return c.add(file, manifest, metav1.TypeMeta{})
}

func (c *Cluster) add(file string, manifest []byte, otherwise metav1.TypeMeta) error {
	in := content{TypeMeta: otherwise}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(manifest, &in); err != nil {
		return fmt.Errorf("not a manifest: %w", err)
	}
	if in.APIVersion == "" || in.Kind == "" {
		return errors.New("apiVersion and kind must be given")
	}
	if strings.HasSuffix(in.Kind, "List") && in.Metadata.Name == "" {
		for i, item := range in.Items {
			if err := c.add(file, item, typeOf(&in)); err != nil {
				return itemError(i, err)
			}
		}
		return nil
	}
	c.provide(&in, manifest)
	kind, ok := kindOf(&in.TypeMeta)
	if !ok {
		return nil
	}
	if in.Metadata.Name == "" && in.Metadata.GenerateName != "" {
		return nil // nothing can point at it
	}
	if in.Metadata.Name == "" {
		return fmt.Errorf("%s: metadata.name must be given", kind)
	}
	id := facts.Object{Kind: kind, Name: in.Metadata.Name}
	if namespaced(kind) {
		id.Namespace = c.namespaceOf(&in)
	}
	o, err := in.object(kind)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	if kind == facts.Namespace {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(manifest, &o.whole); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	o.file = file
	c.put(id, o)
	return nil
}

func (c *Cluster) namespaceOf(in *content) string {
	return cmp.Or(in.Metadata.Namespace, c.Namespace, metav1.NamespaceDefault)
}

// Namespaced reports whether a kind that facts come from has a namespace.
func Namespaced(t *metav1.TypeMeta) bool {
	kind, ok := kindOf(t)
	return ok && namespaced(kind)
}

func namespaced(kind reference.Kind) bool {
	return kind != facts.Namespace && kind != reference.ClusterTrustBundle && kind != facts.Node
}

func (in *content) object(kind reference.Kind) (*object, error) {
	o := &object{state: facts.Present, labels: in.Metadata.Labels, uid: string(in.Metadata.UID)}
	if d := in.Metadata.DeletionTimestamp; d != nil {
		o.deleting = d.Time
	}
	switch kind {
	case reference.Secret, reference.ConfigMap:
		o.keys, o.binary = map[string]struct{}{}, slices.Sorted(maps.Keys(in.BinaryData))
		for _, data := range []map[string]json.RawMessage{in.Data, in.StringData, in.BinaryData} {
			for key := range data {
				o.keys[key] = struct{}{}
			}
		}
		if in.toBeFilled() {
			for _, key := range []string{corev1.ServiceAccountTokenKey, corev1.ServiceAccountRootCAKey, corev1.ServiceAccountNamespaceKey} {
				o.keys[key] = struct{}{}
			}
		}
		if kind == reference.Secret {
			o.secret = in.secret()
		} else if err := json.Unmarshal(orNull(in.Data[corev1.ServiceAccountRootCAKey]), (*text)(&o.ca)); err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		if in.Type == corev1.SecretTypeServiceAccountToken {
			o.owner = in.Metadata.Annotations[corev1.ServiceAccountNameKey]
		}
	case reference.SecretProviderClass:
		var spec struct {
			SecretObjects []struct {
				SecretName string `json:"secretName"`
			} `json:"secretObjects"`
		}
		if err := json.Unmarshal(orNull(in.Spec), &spec); err != nil {
			return nil, fmt.Errorf("spec: %w", err)
		}
		for _, s := range spec.SecretObjects {
			o.names = append(o.names, s.SecretName)
		}
	case reference.ClusterTrustBundle:
		var spec struct {
			SignerName string `json:"signerName"`
		}
		if err := json.Unmarshal(orNull(in.Spec), &spec); err != nil {
			return nil, fmt.Errorf("spec: %w", err)
		}
		o.signer = spec.SignerName
	case reference.ServiceAccount:
		o.account = facts.ReadAccount(&corev1.ServiceAccount{
			ObjectMeta: in.Metadata, AutomountServiceAccountToken: in.Automount, ImagePullSecrets: in.ImagePullSecrets, Secrets: in.Secrets,
		})
	default: // metadata is all that counts
	}
	return o, nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func (c *Cluster) put(id facts.Object, o *object) {
	if c.objects == nil {
		c.objects = map[facts.Object]*object{}
	}
	if known := c.objects[id]; known != nil && known.file != o.file {
		if c.namesakes == nil {
			c.namesakes = map[facts.Object][]*object{}
		}
		c.namesakes[id] = append(c.namesakes[id], known)
	}
	c.objects[id] = o
}

// Declare sets the state of an object by hand: absent, against what is implied,
// or unknown for a reason.
func (c *Cluster) Declare(id facts.Object, state facts.State, why facts.Why) {
	c.put(id, &object{state: state, why: why})
}
