package makers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

// setOf builds programs: a workload "Deployment shop/maker" that runs as maker.
func setOf(container corev1.Container, change func(*Programs, *corev1.PodSpec)) *Programs {
	p := NewPrograms(NewTable())
	pod := &corev1.PodSpec{ServiceAccountName: "maker", Containers: []corev1.Container{container}}
	change(p, pod)
	o := &Object{Namespace: "shop", Name: "maker"}
	o.Kind = "Deployment"
	p.AddWorkload(o, pod)
	return p
}

func secretRule(verbs ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: verbs}}
}

func bound(kind, name string, namespace string, rules []rbacv1.PolicyRule) func(*Programs, *corev1.PodSpec) {
	return func(p *Programs, _ *corev1.PodSpec) {
		scope := namespace
		if kind == "ClusterRole" {
			scope = ""
		}
		if rules != nil {
			p.AddRole(scope, name, rules)
		}
		p.AddBinding(namespace, rbacv1.RoleRef{Kind: kind, Name: name}, []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "maker"}})
	}
}

func TestWhatProgramsAreLikelyToMake(t *testing.T) {
	argument := func(args ...string) corev1.Container { return corev1.Container{Args: args} }
	may := bound("Role", "r", "shop", secretRule("create"))
	tests := []struct {
		name      string
		container corev1.Container
		change    func(*Programs, *corev1.PodSpec)
		likely    bool
	}{
		{"a flag's value", argument("--tls-secret=db-tls"), may, true},
		{"a flag's value in the next argument", argument("--tls-secret", "db-tls"), may, true},
		{"a variable's value", corev1.Container{Env: []corev1.EnvVar{{Name: "S", Value: "db-tls"}}}, may, true},
		{"a word of a script", argument("sh", "-c", "kubectl create secret generic db-tls --from-literal=a=b"), may, true},
		{"a word of a configuration", corev1.Container{Env: []corev1.EnvVar{{Name: "C", Value: "certs:\n- name: db-tls\n  namespace: shop\n"}}}, may, true},
		{"with namespace", argument("--secret=shop/db-tls"), may, true},
		{"part of a word", argument("--tls-secret=my-db-tls-2"), may, false},
		{"an account without any right", argument("--tls-secret=db-tls"), func(*Programs, *corev1.PodSpec) {}, false},
		{"an account that may only read", argument("--tls-secret=db-tls"), bound("Role", "r", "shop", secretRule("get", "list")), false},
		{"in another namespace", argument("--tls-secret=db-tls"), bound("Role", "r", "other", secretRule("create")), false},
		{"by a ClusterRole, everywhere", argument("--tls-secret=db-tls"), bound("ClusterRole", "r", "", secretRule("*")), true},
		{"by a ClusterRole, bound in the namespace", argument("--tls-secret=db-tls"), bound("ClusterRole", "r", "shop", secretRule("create")), true},
		{"by a ClusterRole that every cluster has", argument("--tls-secret=db-tls"), bound("ClusterRole", "cluster-admin", "", nil), true},
		{"by a role that names it", argument("run"), func(p *Programs, pod *corev1.PodSpec) {
			rules := append(secretRule("create"), secretRule("get", "update")...)
			rules[1].ResourceNames = []string{"db-tls"}
			bound("Role", "r", "shop", rules)(p, pod)
		}, true},
		{"a script in a ConfigMap", argument("/scripts/run"), func(p *Programs, pod *corev1.PodSpec) {
			may(p, pod)
			p.AddScripts("shop", "scripts", map[string]string{"run": "generate_secret db-tls 32"})
			pod.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "scripts"}}}}}
		}, true},
	}
	o := facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "db-tls"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			product, ok := setOf(tt.container, tt.change).Of(o, "Deployment shop/user")
			if ok != tt.likely || ok && (!product.Likely || product.By != "Deployment shop/maker") {
				t.Errorf("got %+v, %t", product, ok)
			}
		})
	}
}

func TestAWorkloadThatMakesWhatItWaitsForNeverStarts(t *testing.T) {
	o := facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "db-tls"}
	may := bound("Role", "r", "shop", secretRule("create"))
	named := corev1.Container{Args: []string{"--tls-secret=db-tls"}}
	if product, ok := setOf(named, may).Of(o, "Deployment shop/maker"); ok {
		t.Errorf("got %+v", product)
	}
	inInit := setOf(corev1.Container{}, func(p *Programs, pod *corev1.PodSpec) {
		may(p, pod)
		pod.InitContainers = []corev1.Container{named}
	})
	if _, ok := inInit.Of(o, "Deployment shop/maker"); !ok {
		t.Error("an init container makes it before its pod's containers need it")
	}
}

func TestAFlagThatIsNoNameIsNone(t *testing.T) {
	o := facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "tls"}
	for _, args := range [][]string{{"--tls"}, {"serve with tls please"}, {"--mode=no tls"}} {
		if product, ok := setOf(corev1.Container{Args: args}, bound("Role", "r", "shop", secretRule("create"))).Of(o, ""); ok {
			t.Errorf("%q: got %+v", args, product)
		}
	}
}
