package rollup

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// refuses reports whether Tokenward refuses the pods of a workload because of a
// check, as the status of the workload says. The other kinds say so in Events alone.
func refuses(workload metav1.Object, check string) bool {
	_, denial, found := strings.Cut(creationFailure(workload), `pods.tokenward.dev" denied the request: `)
	return found && strings.Contains(denial, check+": ")
}

// creationFailure returns why the pods of a workload can't be created; "" if they
// can be, or the status does not say.
func creationFailure(workload metav1.Object) string {
	switch o := workload.(type) {
	case *appsv1.Deployment:
		for _, c := range o.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				return c.Message
			}
		}
	case *appsv1.ReplicaSet:
		for _, c := range o.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				return c.Message
			}
		}
	}
	return ""
}
