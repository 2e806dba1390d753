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
timeoutSeconds: {{ $values.webhook.timeoutSeconds }}
{{- end -}}

{{- define "tokenward.notMirrorPods" -}}
# Mirror pods are the kubelet's: they run already.
- name: not-a-mirror-pod
  expression: "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))"
{{- end -}}
