package workload

import (
	"errors"
	"strings"
	"testing"
)

func TestFromJSON(t *testing.T) {
	tests := []struct {
		name, object    string
		prefix, account string
		wantErr         string
		noPod           bool
	}{
		{name: "a Pod stands for itself, and runs as default", object: `{"apiVersion":"v1","kind":"Pod","spec":{}}`, account: "default"},
		{name: "the deprecated name of the account counts", object: `{"apiVersion":"v1","kind":"Pod","spec":{"serviceAccount":"runner"}}`, account: "runner"},
		{name: "no kind", object: `{"apiVersion":"v1"}`, wantErr: "apiVersion and kind must be given"},
		{name: "a Deployment for the pod of its template", object: `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":{"serviceAccountName":"runner"}}}}`, prefix: "spec.template.", account: "runner"},
		{name: "a template without an account runs as default", object: `{"apiVersion":"apps/v1","kind":"DaemonSet","spec":{"template":{"spec":{}}}}`, prefix: "spec.template.", account: "default"},
		{name: "a CronJob nests two templates", object: `{"apiVersion":"batch/v1","kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":{"spec":{}}}}}}`, prefix: "spec.jobTemplate.spec.template.", account: "default"},
		{name: "a workload without a template stands for no pod", object: `{"apiVersion":"apps/v1","kind":"Deployment","spec":{}}`, noPod: true},
		{name: "a null spec stands for no pod", object: `{"apiVersion":"apps/v1","kind":"Deployment","spec":null}`, noPod: true},
		{name: "another kind stands for no pod", object: `{"apiVersion":"v1","kind":"Service"}`, noPod: true},
		{name: "a kind of the same name in another group stands for no pod", object: `{"apiVersion":"example.test/v1","kind":"Deployment","spec":{"template":{}}}`, noPod: true},
		{name: "no JSON", object: `<pod/>`, wantErr: "not an object"},
		{name: "a spec that is none", object: `{"apiVersion":"apps/v1","kind":"Deployment","spec":[]}`, wantErr: "spec.template"},
		{name: "a pod that is none", object: `{"apiVersion":"v1","kind":"Pod","spec":{"containers":1}}`, wantErr: "not a Pod"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod, err := BuiltinTemplates().FromJSON([]byte(tt.object))
			switch {
			case tt.noPod:
				if !errors.Is(err, ErrNoPod) {
					t.Errorf("got %v, want ErrNoPod", err)
				}
			case tt.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("got %v, want %s", err, tt.wantErr)
				}
			case err != nil:
				t.Fatal(err)
			case pod.Prefix != tt.prefix || pod.Spec.ServiceAccountName != tt.account || pod.Template != (tt.prefix != ""):
				t.Errorf("got %+v", pod)
			}
		})
	}
}

func TestTheTemplatesPodIsOfTheObjectsNamespace(t *testing.T) {
	pod, err := BuiltinTemplates().FromJSON([]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"w","namespace":"shop","labels":{"a":"outer"}},
		"spec":{"template":{"metadata":{"labels":{"a":"inner"}},"spec":{}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if pod.Namespace != "shop" || pod.Name != "" || pod.Labels["a"] != "inner" {
		t.Errorf("got %+v", pod.ObjectMeta)
	}
}
