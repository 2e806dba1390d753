{{- define "tokenward.webhookMetadata" -}}
labels:
  {{- include "tokenward.labels" . | nindent 2 }}
{{- if eq .Values.certificates.mode "certManager" }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "tokenward.fullname" . }}-serving
{{- end }}
{{- end -}}

{{- /*
What all webhooks have in common. There is a caBundle only where the chart knows
it: in the other modes it is written by the webhook, or by cert-manager, and a
field that no template has is one that no upgrade takes away.
*/ -}}
{{- define "tokenward.webhook" -}}
{{- $values := .root.Values -}}
admissionReviewVersions: [v1]
clientConfig:
  service: {namespace: {{ .root.Release.Namespace }}, name: {{ .fullname }}, path: {{ .path }}, port: 443}
  {{- if eq $values.certificates.mode "provided" }}
  caBundle: {{ required "certificates.caBundle: with certificates.mode=provided, give the PEM of the CA" $values.certificates.caBundle | b64enc }}
  {{- end }}
sideEffects: None
timeoutSeconds: {{ .timeoutSeconds | default $values.webhook.timeoutSeconds }}
{{- end -}}

{{- define "tokenward.notByTheCluster" -}}
# Nodes, kube-controller-manager and the controllers in kube-system: the garbage collector, the
# namespace controller, the token cleaner.
- name: not-by-the-cluster
  expression: >-
    !(has(request.userInfo.username) && (request.userInfo.username == 'system:kube-controller-manager' ||
    request.userInfo.username.startsWith('system:serviceaccount:kube-system:')) ||
    has(request.userInfo.groups) && 'system:nodes' in request.userInfo.groups)
{{- end -}}

{{- define "tokenward.notMirrorPods" -}}
# Mirror pods are the kubelet's: they run already.
- name: not-a-mirror-pod
  expression: "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))"
{{- end -}}

{{- /*
A workload is asked about when its template is new or another one. So a dead
webhook stands in the way of no finalizer, no scaling, no status and no garbage
collection. Every kind is compared by the paths of all: in other kinds they do not
exist, and what does not exist is equal. An expression that fails would refuse the
request under Fail, and let it past under Ignore; none of these can, whatever an
object holds in the place of a template.
*/ -}}
{{- define "tokenward.changedTemplates" -}}
{{- $differ := list "request.operation == 'CREATE'" -}}
{{- range list "spec.template" "spec.jobTemplate.spec.template" "template" -}}
{{- $fields := splitList "." . | join ".?" -}}
{{- $differ = append $differ (printf "object.?%s != oldObject.?%s" $fields $fields) -}}
{{- end -}}
{{- range .Values.workloadResources -}}
{{- $path := list -}}
{{- range splitList "=" . | last | splitList "." -}}
{{- if $path -}}
{{- $differ = append $differ (printf "[object, oldObject].exists(o, type(o%s.orValue({})) != map)" (join "" $path)) -}}
{{- end -}}
{{- $path = append $path (printf "[?'%s']" .) -}}
{{- end -}}
{{- $differ = append $differ (printf "object%s != oldObject%s" (join "" $path) (join "" $path)) -}}
{{- end -}}
# Scaling, pausing, labels and finalizers change no template.
- name: template-changed
  expression: >-
    {{- uniq $differ | join " ||\n" | nindent 4 }}
# The template of a Deployment was judged before its controller makes a ReplicaSet of it, and
# that of a CronJob before there is a Job. Anybody can write an ownerReference: it counts only
# where one of these two controllers asks.
- name: not-from-a-judged-template
  expression: >-
    !(has(request.userInfo.username) && request.userInfo.username in ['system:kube-controller-manager',
    'system:serviceaccount:kube-system:deployment-controller', 'system:serviceaccount:kube-system:cronjob-controller'] &&
    object.metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false) && o.kind in ['Deployment', 'CronJob']))
{{- end -}}
