package policy

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// fieldsOf makes an object type; a name that ends in "?" need not be there.
func fieldsOf(name string, fields map[string]*apiservercel.DeclType) *apiservercel.DeclType {
	out := make(map[string]*apiservercel.DeclField, len(fields))
	for field, t := range fields {
		field, optional := strings.CutSuffix(field, "?")
		out[field] = apiservercel.NewDeclField(field, t, !optional, nil, nil)
	}
	return apiservercel.NewObjectType(name, out)
}

// requestType declares AdmissionRequest but for uid, object and oldObject.
func requestType() *apiservercel.DeclType {
	text, texts := apiservercel.StringType, apiservercel.NewListType(apiservercel.StringType, -1)
	kind := fieldsOf("kubernetes.GroupVersionKind", map[string]*apiservercel.DeclType{"group": text, "version": text, "kind": text})
	resource := fieldsOf("kubernetes.GroupVersionResource", map[string]*apiservercel.DeclType{"group": text, "version": text, "resource": text})
	user := fieldsOf("kubernetes.UserInfo", map[string]*apiservercel.DeclType{
		"username?": text, "uid?": text, "groups?": texts, "extra?": apiservercel.NewMapType(text, texts, -1),
	})
	return fieldsOf("kubernetes.AdmissionRequest", map[string]*apiservercel.DeclType{
		"kind": kind, "resource": resource, "subResource?": text,
		"requestKind": kind, "requestResource": resource, "requestSubResource?": text,
		"name": text, "namespace?": text, "operation": text, "userInfo": user,
		"dryRun?": apiservercel.BoolType, "options?": apiservercel.DynType,
	})
}

// namespaceType declares what ValidatingAdmissionPolicy shows of a Namespace.
func namespaceType() *apiservercel.DeclType {
	text, texts := apiservercel.StringType, apiservercel.NewListType(apiservercel.StringType, -1)
	pairs := apiservercel.NewMapType(text, text, -1)
	when, number := apiservercel.TimestampType, apiservercel.IntType
	condition := fieldsOf("kubernetes.NamespaceCondition", map[string]*apiservercel.DeclType{
		"status": text, "type": text, "lastTransitionTime": when, "message": text, "reason": text,
	})
	return fieldsOf("kubernetes.Namespace", map[string]*apiservercel.DeclType{
		"metadata": fieldsOf("kubernetes.NamespaceMetadata", map[string]*apiservercel.DeclType{
			"name": text, "generateName": text, "namespace": text, "labels": pairs, "annotations": pairs, "UID": text,
			"creationTimestamp": when, "deletionGracePeriodSeconds": number, "deletionTimestamp": when,
			"generation": number, "resourceVersion": text, "finalizers": texts,
		}),
		"spec": fieldsOf("kubernetes.NamespaceSpec", map[string]*apiservercel.DeclType{"finalizers": texts}),
		"status": fieldsOf("kubernetes.NamespaceStatus", map[string]*apiservercel.DeclType{
			"conditions": apiservercel.NewListType(condition, -1), "phase": text,
		}),
	})
}

// podType declares a Pod as its OpenAPI schema does, for type checking alone.
// Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating, typechecking.go.
func podType() *apiservercel.DeclType {
	return typeOf(reflect.TypeFor[corev1.Pod](), "Pod")
}

// typeOf declares a type of the API by the JSON names of its fields.
func typeOf(t reflect.Type, name string) *apiservercel.DeclType {
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return apiservercel.TimestampType
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString](), reflect.TypeFor[metav1.FieldsV1]():
		return apiservercel.DynType // more than one type in JSON, or none that is told
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeOf(t.Elem(), name)
	case reflect.String:
		return apiservercel.StringType
	case reflect.Bool:
		return apiservercel.BoolType
	case reflect.Int, reflect.Int32, reflect.Int64:
		return apiservercel.IntType
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return apiservercel.BytesType
		}
		return apiservercel.NewListType(typeOf(t.Elem(), name+".@idx"), -1)
	case reflect.Map:
		return apiservercel.NewMapType(apiservercel.StringType, typeOf(t.Elem(), name+".@elem"), -1)
	case reflect.Struct:
		fields := map[string]*apiservercel.DeclType{}
		addFields(fields, t, name)
		return fieldsOf(name, fields)
	default:
		return apiservercel.DynType
	}
}

func addFields(to map[string]*apiservercel.DeclType, t reflect.Type, name string) {
	for i := range t.NumField() {
		f := t.Field(i)
		field, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case strings.Contains(options, "inline") || (field == "" && f.Anonymous):
			addFields(to, f.Type, name)
		case field != "" && field != "-":
			to[field+"?"] = typeOf(f.Type, name+"."+field)
		}
	}
}
