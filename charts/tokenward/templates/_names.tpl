{{- /* The name of everything. Cluster-scoped objects have it, too, so it has the release's name in it. */ -}}
{{- define "tokenward.fullname" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if regexMatch "^[0-9]" $release -}}
{{- fail (printf "the name of a Service can't begin with a digit, as that of the release %q does: give fullnameOverride" .Release.Name) -}}
{{- else if contains "tokenward" $release -}}
{{- $release | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-tokenward" ($release | trunc 40 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "tokenward.selector" -}}
app.kubernetes.io/name: tokenward
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tokenward.labels" -}}
{{ include "tokenward.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* metadata of an object in the namespace of the release, but for the name. */ -}}
{{- define "tokenward.namespaced" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "tokenward.labels" . | nindent 2 }}
{{- end -}}

{{- /* The Secret of the serving certificate: another name for each owner, so that the mode can be changed. */ -}}
{{- define "tokenward.servingSecret" -}}
{{- if eq .Values.certificates.mode "provided" -}}
{{- required "certificates.secretName: with certificates.mode=provided, give the name of a Secret with tls.crt and tls.key" .Values.certificates.secretName -}}
{{- else if eq .Values.certificates.mode "certManager" -}}
{{- include "tokenward.fullname" . }}-tls
{{- else -}}
{{- include "tokenward.fullname" . }}-serving
{{- end -}}
{{- end -}}

{{- /* Where nothing is refused or changed. */ -}}
{{- define "tokenward.warnOnly" -}}
{{- concat (list "kube-system") .Values.webhook.warnOnlyNamespaces | uniq | toJson -}}
{{- end -}}
