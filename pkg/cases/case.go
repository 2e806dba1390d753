// Package cases runs decisions that are written down as data: a case file says
// what a cluster holds, which policies there are, what is requested, and what
// the verdict must be. Go tests, the command line and the end-to-end tests run
// the same files.
//
// It imports policy and policy/rewrite to judge, facts, facts/manifest and source for
// what the cluster holds, workload, reference, token and strictyaml; and no client.
package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/facts/manifest"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/strictyaml"
	"tokenward.dev/tokenward/pkg/token"
)

// PublishedTimes say when the API server first and last published a key.
type PublishedTimes struct {
	First metav1.Time `json:"first"`
	Last  metav1.Time `json:"last"`
}

// File is the case file. docs/cases.md tells it field by field.
type File struct {
	// Checks judge alone; all of them if empty.
	Checks []string `json:"checks,omitempty"`
	// Cluster has manifests of all that exists; ClusterFiles are files with more of
	// them, relative to the case file. A case that was read has all in Cluster.
	Cluster      []json.RawMessage `json:"cluster,omitempty"`
	ClusterFiles []string          `json:"clusterFiles,omitempty"`
	// Unknown objects can't be looked up; Absent ones do not exist although
	// every namespace has them.
	Unknown []UnknownObject `json:"unknown,omitempty"`
	Absent  []Object        `json:"absent,omitempty"`
	// Keys are files beside the case with what the API server accepts (PEM or
	// JWKS), or the word unknown, as where they are left out; Issuers are accepted
	// besides the legacy issuer.
	Keys json.RawMessage `json:"keys,omitempty"`
	// FirstMet and Published are the history of signing keys by their ids: when a
	// token first showed one that is not published, and when the API server published
	// one. Without them Keys are settled, and any other key was first met long ago.
	FirstMet  map[string]metav1.Time    `json:"firstMet,omitempty"`
	Published map[string]PublishedTimes `json:"published,omitempty"`
	Issuers   []string                  `json:"issuers,omitempty"`
	// Policies are TokenPolicies; the built-in one holds unless one is named default.
	// PolicyFiles are to them what ClusterFiles are to Cluster.
	Policies    []json.RawMessage `json:"policies,omitempty"`
	PolicyFiles []string          `json:"policyFiles,omitempty"`
	// DryRun is the server's --dry-run.
	DryRun bool `json:"dryRun,omitempty"`
	// Now is the time of the judgement; a fixed instant if empty.
	Now *metav1.Time `json:"now,omitempty"`
	// Phase is validate, or empty for the same; or mutate: what policies change,
	// and then the verdict on what came out.
	Phase   string  `json:"phase,omitempty"`
	Request Request `json:"request"`
	Expect  Expect  `json:"expect"`
}

// Object names an object of the cluster.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// UnknownObject can't be looked up.
type UnknownObject struct {
	Object `json:",inline"`
	// Why is "too many references" or "too many look-ups" where the caller brought it
	// about; anything else is the cluster's doing, and need not be told.
	Why facts.Why `json:"why,omitempty"`
}

// Request is what the API server asks about.
type Request struct {
	Operation   admissionv1.Operation `json:"operation,omitempty"`
	Namespace   string                `json:"namespace,omitempty"`
	SubResource string                `json:"subResource,omitempty"`
	DryRun      bool                  `json:"dryRun,omitempty"`
	// DeleteCollection says that the object is one of many that the request deletes.
	DeleteCollection bool                      `json:"deleteCollection,omitempty"`
	UserInfo         authenticationv1.UserInfo `json:"userInfo,omitempty"`
	Object           json.RawMessage           `json:"object,omitempty"`
	OldObject        json.RawMessage           `json:"oldObject,omitempty"`
}

// Expect is the verdict. What is left out is not compared.
type Expect struct {
	Allowed          *bool              `json:"allowed,omitempty"`
	Findings         *[]Finding         `json:"findings,omitempty"`
	Warnings         *[]string          `json:"warnings,omitempty"`
	AuditAnnotations *map[string]string `json:"auditAnnotations,omitempty"`
	// Patched is the object after the patch; the object itself if nothing changes.
	Patched json.RawMessage `json:"patched,omitempty"`
}

// Finding is what a finding must be like. What is left out is not compared.
type Finding struct {
	Check   *string `json:"check,omitempty"`
	Path    *string `json:"path,omitempty"`
	Subject *string `json:"subject,omitempty"`
	Object  *string `json:"object,omitempty"`
	Action  *string `json:"action,omitempty"`
	State   *string `json:"state,omitempty"`
	Message *string `json:"message,omitempty"`
}

// The phases of admission.
const (
	phaseValidate = "validate"
	phaseMutate   = "mutate"
)

// defaultNow is the time of the judgement where a case names none.
func defaultNow() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Case is a case ready to run.
type Case struct {
	// Name is the path of its file, with "#2" for the second document in it.
	Name string
	File File

	// Warnings tell what in the policies has no effect.
	Warnings []string

	compiler *policy.Compiler
	cluster  *manifest.Cluster
	snapshot *policy.Snapshot
	review   *policy.Attributes
	guarded  *policy.GuardedRequest // nil unless it is about a Secret or an account
	now      time.Time
}

// Load reads the cases in files and, below directories, in all YAML files but those
// of manifests. The error joins what is wrong with each file.
func Load(paths ...string) ([]*Case, error) {
	var cases []*Case
	var errs []error
	compiler := policy.NewCompiler(policy.Checks())
	for _, path := range paths {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if name != path && !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)) {
				return nil
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			found, err := parse(compiler, name, data, name != path)
			cases = append(cases, found...)
			errs = append(errs, err)
			return nil
		})
		errs = append(errs, err)
	}
	return cases, errors.Join(errs...)
}

// Parse reads the cases in one file.
func Parse(name string, data []byte) ([]*Case, error) {
	return parse(policy.NewCompiler(policy.Checks()), name, data, false)
}

// parse passes over a file of manifests where mayBeManifests allows it.
func parse(compiler *policy.Compiler, name string, data []byte, mayBeManifests bool) ([]*Case, error) {
	docs, err := strictyaml.Split(name, data)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s: the file has no case", name)
	}
	if mayBeManifests && areManifests(docs) {
		return nil, nil
	}
	var cases []*Case
	var errs []error
	for i := range docs {
		c, err := compile(compiler, &docs[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		cases = append(cases, c)
	}
	return cases, errors.Join(errs...)
}

func compile(compiler *policy.Compiler, d *strictyaml.Document) (*Case, error) {
	c := &Case{Name: d.Source, compiler: compiler, now: defaultNow()}
	if d.Index > 1 {
		c.Name += fmt.Sprintf("#%d", d.Index)
	}
	if err := d.Decode(&c.File); err != nil {
		return nil, err
	}
	if c.File.Now != nil {
		c.now = c.File.Now.Time
	}
	for _, step := range []func(*strictyaml.Document) error{c.checkExpect, c.useCluster, c.useKeys, c.usePolicies, c.useRequest, c.useGuarded} {
		if err := step(d); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Case) checkExpect(d *strictyaml.Document) error {
	e := &c.File.Expect
	var raw struct {
		Expect map[string]json.RawMessage `json:"expect"`
	}
	if err := d.Peek(&raw); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(raw.Expect)) {
		if string(raw.Expect[name]) == "null" {
			return d.ErrorAt("expect."+name, "has no value: write [] or {} for none, or leave it out")
		}
	}
	switch {
	case c.File.Phase != "" && c.File.Phase != phaseValidate && c.File.Phase != phaseMutate:
		return d.ErrorAt("phase", fmt.Sprintf("%q is neither validate nor mutate", c.File.Phase))
	case e.Patched != nil && c.File.Phase != phaseMutate:
		return d.ErrorAt("expect.patched", "only with phase: mutate are pods changed")
	case e.Allowed == nil && e.Findings == nil && e.Warnings == nil && e.AuditAnnotations == nil && e.Patched == nil:
		return d.ErrorAt("expect", "a case must expect something: allowed, findings, warnings, auditAnnotations or patched")
	}
	return nil
}

func (c *Case) useCluster(d *strictyaml.Document) error {
	c.cluster = &manifest.Cluster{}
	parts, all, err := c.parts(d, "cluster", c.File.Cluster, "clusterFiles", c.File.ClusterFiles)
	if err != nil {
		return err
	}
	for i := range parts {
		if err := parts[i].Peek(&metav1.PartialObjectMetadata{}); err != nil {
			return parts[i].place(err)
		}
		if err := c.cluster.Add(all[i]); err != nil {
			return parts[i].place(parts[i].ErrorAt("", err.Error()))
		}
	}
	c.File.Cluster = all
	for i, o := range c.File.Unknown {
		at := fmt.Sprintf("unknown[%d]", i)
		if o.Why == "" {
			o.Why = facts.Declared
		} else if !o.Why.IsCallersDoing() {
			return d.ErrorAt(at+".why", fmt.Sprintf("%q is neither %q nor %q; leave it out for any other reason", o.Why, facts.TooManyReferences, facts.TooManyLookups))
		}
		if err := c.declare(d, at, o.Object, facts.Unknown, o.Why); err != nil {
			return err
		}
	}
	for i, o := range c.File.Absent {
		if err := c.declare(d, fmt.Sprintf("absent[%d]", i), o, facts.Absent, facts.NoReason); err != nil {
			return err
		}
	}
	return nil
}

// useKeys reads what the API server accepts. Without keys that is unknown.
func (c *Case) useKeys(d *strictyaml.Document) error {
	if empty(c.File.Keys) || string(c.File.Keys) == `"unknown"` {
		c.cluster.Keys = token.NewKeySet(token.KeySetOptions{Unavailable: true, Issuers: c.File.Issuers})
		return nil
	}
	var files []string
	if err := json.Unmarshal(c.File.Keys, &files); err != nil {
		return d.ErrorAt("keys", "want a list of files, or the word unknown")
	}
	options := token.KeySetOptions{Issuers: c.File.Issuers}
	for i, file := range files {
		at := fmt.Sprintf("keys[%d]", i)
		data, err := os.ReadFile(filepath.Join(filepath.Dir(d.Source), file))
		if err != nil {
			return d.ErrorAt(at, err.Error())
		}
		keys, err := token.ParseKeys(data)
		if err != nil {
			return d.ErrorAt(at, file+": "+err.Error())
		}
		options.Keys = append(options.Keys, keys...)
	}
	c.useHistory()
	options.Keys = slices.DeleteFunc(options.Keys, func(k token.Key) bool {
		last, ok := c.cluster.LastPublished[k.ID]
		return ok && c.now.Sub(last) >= manifest.Settle
	})
	c.cluster.Keys = token.NewKeySet(options)
	return nil
}

// useHistory takes over when key ids were first met, and last published.
func (c *Case) useHistory() {
	c.cluster.FirstMet, c.cluster.LastPublished = map[string]time.Time{}, map[string]time.Time{}
	for id, first := range c.File.FirstMet {
		c.cluster.FirstMet[id] = first.Time
	}
	for id, p := range c.File.Published {
		c.cluster.LastPublished[id] = p.Last.Time
	}
}

func (c *Case) declare(d *strictyaml.Document, at string, o Object, state facts.State, why facts.Why) error {
	kinds := []string{"Secret", "ConfigMap", "ServiceAccount", "Namespace", "ClusterTrustBundle", "SecretProviderClass", "Pod", "Node"}
	switch {
	case !slices.Contains(kinds, o.Kind):
		return d.ErrorAt(at+".kind", fmt.Sprintf("%q is none of %s", o.Kind, strings.Join(kinds, ", ")))
	case o.Name == "":
		return d.ErrorAt(at, "name must be given")
	}
	id := facts.Object{Kind: reference.Kind(o.Kind), Namespace: o.Namespace, Name: o.Name}
	switch clusterScoped := o.Kind == "Namespace" || o.Kind == "ClusterTrustBundle" || o.Kind == "Node"; {
	case clusterScoped && o.Namespace != "":
		return d.ErrorAt(at+".namespace", "a "+o.Kind+" is in no namespace")
	case !clusterScoped && o.Namespace == "":
		return d.ErrorAt(at, "namespace must be given for a "+o.Kind)
	}
	c.cluster.Declare(id, state, why)
	return nil
}
