{{- /* A binding of the webhook's account: root, kind of the role, and for a Role its namespace. */ -}}
{{- define "tokenward.binding" -}}
{{- $name := print (include "tokenward.fullname" .root) (default "" .suffix) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ $name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "tokenward.labels" .root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ .kind }}, name: {{ $name }}}
subjects:
  - {kind: ServiceAccount, namespace: {{ .root.Release.Namespace }}, name: {{ include "tokenward.fullname" .root }}}
{{- end -}}
