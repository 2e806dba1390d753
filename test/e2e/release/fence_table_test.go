package release

const (
	admission = "admissionregistration.k8s.io/v1"
	leases    = "coordination.k8s.io/v1"
	reports   = "openreports.io/v1alpha1"
	policies  = "tokenward.dev/v1alpha1"
	rbac      = "rbac.authorization.k8s.io/v1"
)

// legitimate is what the webhook does, and in the order in which it can.
func (f *thief) legitimate() []write {
	bundle := `[{"op":"test","path":"/webhooks/0/name","value":"validate.pods.tokenward.dev"},{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"Q0E="},` +
		`{"op":"add","path":"/webhooks/3/clientConfig/caBundle","value":"Q0E="}]`
	mutating := `[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"Q0E="}]`
	report := `{kind: Report, metadata: {name: tokenward-1, labels: {app.kubernetes.io/managed-by: tokenward}}, source: tokenward}`
	return []write{
		{"caBundle", f.webhooks(bundle)},
		{"caBundle again", f.webhooks(`[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":"Q0EK"}]`)},
		{"caBundle of the mutating webhook", f.patch(admission, "mutatingwebhookconfigurations", "", f.name, mutating)},
		{"the serving Secret", f.patch("v1", "secrets", f.own, f.name+"-serving", `{"data":{"tls.crt":"Q0E="}}`)},
		{"the signing keys", f.patch("v1", "configmaps", f.own, f.name+"-signing-keys", `{"data":{"record":"{}"}}`)},
		{"the Lease", f.patch(leases, "leases", f.own, "tokenward-leader", `{"spec":{"holderIdentity":"a"}}`)},
		{"the status of a policy", f.patch(policies, "tokenpolicies", "", "fence-"+f.own, `{"status":{"observedGeneration":1}}`, "status")},
		{"a Report", f.create(reports, "reports", f.shop, report)},
		{"a change of it", f.patch(reports, "reports", f.shop, "tokenward-1", `{"summary":{"warn":1}}`)},
		{"its label again, which somebody took", f.patch(reports, "reports", f.shop, "tokenward-1", `{"metadata":{"labels":{"app.kubernetes.io/managed-by":"tokenward"}}}`)},
		{"its deletion", f.remove(reports, "reports", f.shop, "tokenward-1")},
		{"an Event", f.create("v1", "events", f.shop, `{kind: Event, metadata: {name: e}, involvedObject: {kind: Pod, namespace: `+f.shop+`, name: held}, source: {component: tokenward}, reportingComponent: tokenward.dev/tokenward}`)},
		{"a TokenReview", f.create("authentication.k8s.io/v1", "tokenreviews", "", `{kind: TokenReview, spec: {token: a}}`)},
		{"a SubjectAccessReview", f.create("authorization.k8s.io/v1", "subjectaccessreviews", "", `{kind: SubjectAccessReview, spec: {user: a, nonResourceAttributes: {path: /metrics, verb: get}}}`)},
		{"our gate and label, taken from a pod", f.pod(`[{"op":"test","path":"/spec/schedulingGates/0/name","value":"tokenward.dev/hold"},{"op":"remove","path":"/spec/schedulingGates/0"},` +
			`{"op":"remove","path":"/metadata/labels/tokenward.dev~1held"}]`)},
		{"our gate alone", f.patch("v1", "pods", f.shop, "held-2", `[{"op":"remove","path":"/spec/schedulingGates/0"}]`)},
		{"our label alone", f.patch("v1", "pods", f.shop, "held-2", `[{"op":"remove","path":"/metadata/labels/tokenward.dev~1held"}]`)},
	}
}

// illegitimate is what a thief could think of.
func (f *thief) illegitimate() []write {
	all := f.webhookWrites()
	all = append(all, f.podWrites()...)
	all = append(all, f.ownWrites()...)
	return append(all, f.otherWrites()...)
}

func (f *thief) webhookWrites() []write {
	return []write{
		{"failurePolicy", f.webhooks(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"}]`)},
		{"another URL", f.webhooks(`[{"op":"remove","path":"/webhooks/0/clientConfig/service"},{"op":"add","path":"/webhooks/0/clientConfig/url","value":"https://evil.example.com/"}]`)},
		{"another Service", f.webhooks(`[{"op":"replace","path":"/webhooks/0/clientConfig/service/namespace","value":"` + f.shop + `"}]`)},
		{"rules", f.webhooks(`[{"op":"add","path":"/webhooks/0/rules/-","value":{"apiGroups":["*"],"apiVersions":["*"],"operations":["*"],"resources":["secrets"]}}]`)},
		{"namespaces", f.webhooks(`[{"op":"remove","path":"/webhooks/0/namespaceSelector"}]`)},
		{"objects", f.webhooks(`[{"op":"add","path":"/webhooks/0/objectSelector","value":{"matchLabels":{"a":"b"}}}]`)},
		{"conditions", f.webhooks(`[{"op":"add","path":"/webhooks/0/matchConditions/-","value":{"name":"never","expression":"false"}}]`)},
		{"a condition less", f.webhooks(`[{"op":"remove","path":"/webhooks/0/matchConditions"}]`)},
		{"the time-out", f.webhooks(`[{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":30}]`)},
		{"a webhook less", f.webhooks(`[{"op":"remove","path":"/webhooks/0"}]`)},
		{"no webhook", f.webhooks(`{"webhooks":null}`)},
		{"a webhook twice", f.webhooks(`[{"op":"copy","from":"/webhooks/0","path":"/webhooks/-"},{"op":"replace","path":"/webhooks/8/name","value":"more.tokenward.dev"}]`)},
		{"another order", f.webhooks(`[{"op":"move","from":"/webhooks/0","path":"/webhooks/3"}]`)},
		{"another name", f.webhooks(`[{"op":"replace","path":"/webhooks/0/name","value":"other.tokenward.dev"}]`)},
		{"a label", f.webhooks(`{"metadata":{"labels":{"a":"b"}}}`)},
		{"an annotation by which somebody else writes the CA", f.webhooks(`{"metadata":{"annotations":{"cert-manager.io/inject-ca-from":"a/b"}}}`)},
		{"reinvocation", f.patch(admission, "mutatingwebhookconfigurations", "", f.name, `[{"op":"replace","path":"/webhooks/0/reinvocationPolicy","value":"Never"}]`)},
		{"the configuration's deletion", f.remove(admission, "validatingwebhookconfigurations", "", f.name)},
		{"a new configuration", f.create(admission, "mutatingwebhookconfigurations", "", `{kind: MutatingWebhookConfiguration, metadata: {name: evil}}`)},
		{"somebody else's configuration", f.patch(admission, "validatingwebhookconfigurations", "", "other-"+f.own, `{"webhooks":[]}`)},
		{"somebody else's configuration's label", f.patch(admission, "validatingwebhookconfigurations", "", "other-"+f.own, `{"metadata":{"labels":{"a":"b"}}}`)},
	}
}

func (f *thief) podWrites() []write {
	return []write{
		{"a pod", f.create("v1", "pods", f.shop, `{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}`)},
		{"a pod in its own namespace", f.create("v1", "pods", f.own, `{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}`)},
		{"the deletion of a pod", f.remove("v1", "pods", f.shop, "held-2")},
		{"an eviction", f.create("v1", "pods", f.shop, `{kind: Eviction, apiVersion: policy/v1, metadata: {name: held-2}}`, "eviction")},
		{"an image", f.pod(`[{"op":"replace","path":"/spec/containers/0/image","value":"evil"}]`)},
		{"somebody else's gate", f.pod(`[{"op":"remove","path":"/spec/schedulingGates/1"}]`)},
		{"all gates", f.pod(`[{"op":"remove","path":"/spec/schedulingGates"}]`)},
		{"our gate and a toleration", f.pod(`[{"op":"remove","path":"/spec/schedulingGates/0"},{"op":"add","path":"/spec/tolerations/-","value":{"key":"a","operator":"Exists"}}]`)},
		{"our gate and a node selector", f.pod(`[{"op":"remove","path":"/spec/schedulingGates/0"},{"op":"add","path":"/spec/nodeSelector","value":{"a":"b"}}]`)},
		{"our label with another value", f.pod(`{"metadata":{"labels":{"tokenward.dev/held":"no"}}}`)},
		{"a label", f.pod(`{"metadata":{"labels":{"a":"b"}}}`)},
		{"another value of a label", f.pod(`{"metadata":{"labels":{"app":"b"}}}`)},
		{"somebody else's label", f.pod(`{"metadata":{"labels":{"app":null}}}`)},
		{"all labels", f.pod(`{"metadata":{"labels":null}}`)},
		{"an annotation", f.pod(`{"metadata":{"annotations":{"a":"c"}}}`)},
		{"all annotations", f.pod(`{"metadata":{"annotations":null}}`)},
		{"a finalizer", f.pod(`{"metadata":{"finalizers":null}}`)},
		{"an owner", f.pod(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"a","uid":"b"}]}}`)},
		{"the status of a pod", f.pod(`{"status":{"phase":"Failed"}}`, "status")},
		{"an ephemeral container", f.pod(`{"spec":{"ephemeralContainers":[{"name":"debug","image":"evil"}]}}`, "ephemeralcontainers")},
		{"a binding", f.create("v1", "pods", f.shop, `{kind: Binding, metadata: {name: held}, target: {kind: Node, name: node}}`, "binding")},
	}
}

func (f *thief) ownWrites() []write {
	return []write{
		{"a Secret", f.create("v1", "secrets", f.own, `{kind: Secret, metadata: {name: new}}`)},
		{"another Secret of its namespace", f.patch("v1", "secrets", f.own, "other", `{"data":{"a":"Q0E="}}`)},
		{"a namesake of its Secret elsewhere", f.patch("v1", "secrets", f.shop, f.name+"-serving", `{"data":{"a":"Q0E="}}`)},
		{"a Secret elsewhere", f.patch("v1", "secrets", f.shop, "db", `{"data":{"a":"Q0E="}}`)},
		{"the deletion of its Secret", f.remove("v1", "secrets", f.own, f.name+"-serving")},
		{"the deletion of a Secret elsewhere", f.remove("v1", "secrets", f.shop, "db")},
		{"a label of its Secret", f.patch("v1", "secrets", f.own, f.name+"-serving", `{"metadata":{"labels":{"a":"b"}}}`)},
		{"an owner of its Secret", f.patch("v1", "secrets", f.own, f.name+"-serving", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"a","uid":"b"}]}}`)},
		{"the label by which a token lives on", f.patch("v1", "secrets", f.shop, "db", `{"metadata":{"labels":{"kubernetes.io/legacy-token-last-used":"2026-01-01"}}}`)},
		{"a ConfigMap", f.create("v1", "configmaps", f.own, `{kind: ConfigMap, metadata: {name: new}}`)},
		{"another ConfigMap", f.patch("v1", "configmaps", f.own, "other", `{"data":{"a":"b"}}`)},
		{"the cluster's CA", f.patch("v1", "configmaps", f.shop, "kube-root-ca.crt", `{"data":{"ca.crt":"b"}}`)},
		{"another Lease", f.patch(leases, "leases", f.own, "other", `{"spec":{"holderIdentity":"a"}}`)},
		{"a new Lease", f.create(leases, "leases", f.own, `{kind: Lease, metadata: {name: new}}`)},
		{"its Lease elsewhere", f.create(leases, "leases", f.shop, `{kind: Lease, metadata: {name: tokenward-leader}}`)},
		{"a Lease of the control plane", f.create(leases, "leases", "kube-system", `{kind: Lease, metadata: {name: tokenward-leader}}`)},
		{"the deletion of its Lease", f.remove(leases, "leases", f.own, "tokenward-leader")},
	}
}

func (f *thief) otherWrites() []write {
	return []write{
		{"a policy", f.create(policies, "tokenpolicies", "", `{kind: TokenPolicy, metadata: {name: evil}, spec: {checks: [{name: secret-exists, action: Deny}]}}`)},
		{"the spec of a policy", f.patch(policies, "tokenpolicies", "", "fence-"+f.own, `{"spec":{"mode":"DryRun"}}`)},
		{"the deletion of a policy", f.remove(policies, "tokenpolicies", "", "fence-"+f.own)},
		{"a Report in another's name", f.create(reports, "reports", f.shop, `{kind: Report, metadata: {name: evil, labels: {app.kubernetes.io/managed-by: tokenward}}, source: tokenward}`)},
		{"a Report without its label", f.create(reports, "reports", f.shop, `{kind: Report, metadata: {name: tokenward-2}, source: tokenward}`)},
		{"somebody else's Report", f.patch(reports, "reports", f.shop, "of-others", `{"summary":{"warn":1}}`)},
		{"the deletion of it", f.remove(reports, "reports", f.shop, "of-others")},
		{"the deletion of one that is only called as ours", f.remove(reports, "reports", f.shop, "tokenward-like")},
		{"an Event in another's name", f.create("v1", "events", f.shop, `{kind: Event, metadata: {name: e}, involvedObject: {kind: Pod, namespace: `+f.shop+`, name: held}, reportingComponent: kubelet}`)},
		{"a token of an account", f.create("v1", "serviceaccounts", f.shop, `{kind: TokenRequest, apiVersion: authentication.k8s.io/v1, metadata: {name: default}, spec: {audiences: []}}`, "token")},
		{"an account", f.create("v1", "serviceaccounts", f.shop, `{kind: ServiceAccount, metadata: {name: evil}}`)},
		{"a role", f.create(rbac, "clusterroles", "", `{kind: ClusterRole, metadata: {name: evil}}`)},
		{"a binding of cluster-admin", f.create(rbac, "clusterrolebindings", "", `{kind: ClusterRoleBinding, metadata: {name: evil}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}`)},
		{"a label of a namespace", f.patch("v1", "namespaces", "", f.shop, `{"metadata":{"labels":{"a":"b"}}}`)},
		{"the deletion of a namespace", f.remove("v1", "namespaces", "", f.shop)},
		{"a node", f.create("v1", "nodes", "", `{kind: Node, metadata: {name: evil}}`)},
		{"a Deployment", f.create("apps/v1", "deployments", f.own, `{kind: Deployment, metadata: {name: evil}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}`)},
		{"the CRD's deletion", f.remove("apiextensions.k8s.io/v1", "customresourcedefinitions", "", "tokenpolicies.tokenward.dev")},
	}
}
