package policy

import (
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
)

func configMapExists() Check {
	const id = "config-map-exists"
	applies := func(r *reference.Reference) bool { return r.Kind == reference.ConfigMap && r.Required() }
	object := existence{applies: applies, cure: configMapCure}
	keys := keyExistence{applies: applies}
	return Check{
		ID:      id,
		Title:   "a referenced ConfigMap, or a key of it, that is absent and not optional",
		Default: v1alpha1.Audit,
		Impact:  Impact{Effect: BreaksAtStart, Severity: High, Category: References, Waiting: WaitingMayHold},
		Problem: `As with Secrets: a pod with such a volume hangs in ` + "`ContainerCreating`" + `, a container with such an
environment variable waits in ` + "`CreateContainerConfigError`" + `.

` + "`kube-root-ca.crt`" + ` is one of them: every pod that gets a token in the usual way mounts it. Where it is missing, no such
pod of the namespace can start.`,
		Remedy: `Create the ConfigMap or the key, or correct the name in the field that the message shows. If the pod can do
without it, set ` + "`optional: true`" + `. ` + "`kube-root-ca.crt`" + ` is made in every namespace by kube-controller-manager
(` + "`root-ca-certificate-publisher-controller`" + `): see whether it runs and has ` + "`--root-ca-file`" + `.`,
		Needs: func(in *Input, ask func(facts.Query)) { keys.needs(in, ask) },
		Find: func(in *Input, report func(Finding)) {
			in.each(applies, func(r *reference.Reference) {
				if in.fact(r).State == facts.Present {
					keys.findOne(in, r, report)
				} else {
					object.findOne(in, r, report)
				}
			})
		},
	}
}

func configMapCure(_ *Input, r *reference.Reference, _ func(string) string) string {
	if r.Name == reference.RootCA {
		return "kube-controller-manager makes it in every namespace: see whether it runs."
	}
	return "Create it, or correct the name."
}
