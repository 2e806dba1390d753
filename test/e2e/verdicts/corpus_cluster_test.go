package verdicts

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/servingcert"
	"tokenward.dev/tokenward/test/e2e/harness"
)

var resources = map[string]string{
	"Secret": "secrets", "ConfigMap": "configmaps", "ServiceAccount": "serviceaccounts",
	"Pod": "pods", "Node": "nodes", "ClusterTrustBundle": "clustertrustbundles", "SecretProviderClass": "secretproviderclasses",
}

// installClasses makes SecretProviderClass known, as the Secrets Store CSI
// driver's own CRD does.
func installClasses(t *testing.T) {
	t.Helper()
	anything := true
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "secretproviderclasses.secrets-store.csi.x-k8s.io"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "secrets-store.csi.x-k8s.io", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Kind: "SecretProviderClass", ListKind: "SecretProviderClassList", Plural: "secretproviderclasses", Singular: "secretproviderclass",
			},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: &anything,
				}},
			}},
		},
	}
	if _, err := envtest.InstallCRDs(env.Plane.Config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}}); err != nil {
		t.Fatal(err)
	}
}

func bundlesServed(t *testing.T) bool {
	t.Helper()
	for _, v := range []string{"v1", "v1beta1"} {
		list, err := env.Client.Discovery().ServerResourcesForGroupVersion("certificates.k8s.io/" + v)
		if err != nil {
			continue
		}
		for _, r := range list.APIResources {
			if r.Kind == "ClusterTrustBundle" {
				bundleVersion = v
				return true
			}
		}
	}
	return false
}

// bundleVersion is the version in which ClusterTrustBundles are served.
var bundleVersion string

// makeCluster makes a namespace with the objects of a case, until owner ends.
func makeCluster(t, owner *testing.T, namespace string, manifests []json.RawMessage) {
	t.Helper()
	about := metav1.ObjectMeta{}
	objects := make([]*unstructured.Unstructured, 0, len(manifests))
	for _, m := range manifests {
		o := &unstructured.Unstructured{}
		if err := json.Unmarshal(m, &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.GetKind() == "Namespace" {
			about.Labels, about.Annotations = o.GetLabels(), o.GetAnnotations()
			continue
		}
		objects = append(objects, o)
	}
	// Accounts first: a token Secret whose account is not there is deleted.
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		rank := map[bool]int{true: 0, false: 1}
		return rank[a.GetKind() == "ServiceAccount"] - rank[b.GetKind() == "ServiceAccount"]
	})
	about.Name = namespace
	makeNamespace(t, owner, about)
	d, err := dynamic.NewForConfig(env.Plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if other := o.GetNamespace(); other != "" && other != namespace {
			_, err := env.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}}, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
		}
		gvk := o.GroupVersionKind()
		if gvk.Kind == "ClusterTrustBundle" {
			gvk.Version = bundleVersion
			o.SetGroupVersionKind(gvk)
			if err := unstructured.SetNestedField(o.Object, somePEM(t), "spec", "trustBundle"); err != nil {
				t.Fatal(err)
			}
		}
		if annotations := o.GetAnnotations(); annotations[corev1.ServiceAccountUIDKey] != "" {
			// The account has another uid here, and the Secret would be deleted.
			delete(annotations, corev1.ServiceAccountUIDKey)
			o.SetAnnotations(annotations)
		}
		resource := schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: resources[gvk.Kind]}
		_, err := d.Resource(resource).Namespace(o.GetNamespace()).Create(t.Context(), o, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

func somePEM(t *testing.T) string {
	t.Helper()
	own, err := servingcert.NewSelfSigned(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return string(own.CA())
}

func makeNamespace(t, owner *testing.T, about metav1.ObjectMeta) {
	t.Helper()
	metav1.SetMetaDataLabel(&about, "corpus", "true")
	if _, err := env.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: about}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	owner.Cleanup(func() {
		_ = env.Client.CoreV1().Namespaces().Delete(context.Background(), about.Name, metav1.DeleteOptions{})
	})
	env.WaitForAccount(t, about.Name)
}

// readAuditLog returns our annotations of requests, by "verb resource
// namespace"; the last request counts. It waits until the log has all of them.
func readAuditLog(t *testing.T, runs []*corpusRun) map[string]map[string]string {
	t.Helper()
	events := map[string]map[string]string{}
	harness.WaitUntil(t, func() error {
		if err := env.EachEvent(collectInto(events)); err != nil {
			return err
		}
		for _, r := range runs {
			if _, ok := events[r.event()]; r.done && !ok {
				return fmt.Errorf("the audit log has no event %q", r.event())
			}
		}
		return nil
	})
	return events
}

func collectInto(events map[string]map[string]string) func(harness.AuditEvent) {
	return func(e harness.AuditEvent) {
		ours := map[string]string{}
		for k, v := range e.Annotations {
			for _, webhook := range []string{"validate.pods.tokenward.dev/", "validate.workloads.tokenward.dev/"} {
				if key, ok := strings.CutPrefix(k, webhook); ok {
					ours[key] = v
				}
			}
		}
		events[e.Verb+" "+e.ObjectRef.Resource+" "+e.ObjectRef.Namespace] = ours
	}
}

func actionOf(s string) v1alpha1.Action { return v1alpha1.Action(s) }

// objectOf reads an object as findings name it: "Secret shop/db".
func objectOf(s string) facts.Object {
	kind, name, _ := strings.Cut(s, " ")
	o := facts.Object{Kind: reference.Kind(kind), Name: name}
	if signer, ok := strings.CutPrefix(name, "of signer "); ok {
		return facts.Object{Kind: o.Kind, SignerName: signer}
	}
	if ns, name, ok := strings.Cut(name, "/"); ok {
		o.Namespace, o.Name = ns, name
	}
	return o
}
