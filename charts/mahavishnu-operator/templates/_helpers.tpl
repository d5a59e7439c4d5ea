{{- define "mahavishnu.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters: suffixes follow, and it is the first label of the dispatcher's name. */}}
{{- define "mahavishnu.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mahavishnu.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "mahavishnu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The component is also what a pool's NetworkPolicy lets its workers reach. */}}
{{- define "mahavishnu.selector" -}}
app.kubernetes.io/name: {{ include "mahavishnu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "mahavishnu.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mahavishnu.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.create is false: set serviceAccount.name to the account that is there" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "mahavishnu.tlsSecret" -}}
{{- default (printf "%s-tls" (include "mahavishnu.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/* A list: the image's values and the chart's appVersion. */}}
{{- define "mahavishnu.image" -}}
{{- $image := index . 0 -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default (index . 1) $image.tag }}{{ end -}}
{{- end -}}

{{- define "mahavishnu.restrictedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "mahavishnu.restrictedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "mahavishnu.gatewayName" -}}
{{- printf "%s-gateway" (include "mahavishnu.fullname" .) -}}
{{- end -}}

{{- define "mahavishnu.gatewaySelector" -}}
app.kubernetes.io/name: {{ include "mahavishnu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "mahavishnu.gatewayAccount" -}}
{{- if .Values.gateway.serviceAccount.create -}}
{{- default (include "mahavishnu.gatewayName" .) .Values.gateway.serviceAccount.name -}}
{{- else -}}
{{- required "gateway.serviceAccount.create is false: set gateway.serviceAccount.name to the account that is there" .Values.gateway.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The one namespace that the gateway serves; empty: all. */}}
{{- define "mahavishnu.gatewayNamespace" -}}
{{- if .Values.gateway.namespace -}}
{{- .Values.gateway.namespace -}}
{{- else if gt (len .Values.watchNamespaces) 1 -}}
{{- fail "the gateway serves all namespaces or one: set gateway.namespace to one of watchNamespaces" -}}
{{- else -}}
{{- first .Values.watchNamespaces | default "" -}}
{{- end -}}
{{- end -}}

{{- define "mahavishnu.gatewayTlsSecret" -}}
{{- default (printf "%s-tls" (include "mahavishnu.gatewayName" .)) .Values.gateway.tls.existingSecret -}}
{{- end -}}

{{/* A dictionary: root, secret, subject, names, days, keep. A certificate that is made once: `lookup` finds it again. */}}
{{- define "mahavishnu.madeCertificate" -}}
{{- $secret := .secret -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace $secret -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ $secret }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "mahavishnu.labels" .root | nindent 4 }}
  {{- if .keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
type: kubernetes.io/tls
data:
  {{- if $there }}
  {{- range list "tls.crt" "tls.key" "ca.crt" }}
  {{ . }}: {{ required (printf "Secret %s lacks %s: delete it, so that it is made anew" $secret .) (get $there.data .) }}
  {{- end }}
  {{- else }}
  {{- $days := int .days -}}
  {{- $ca := genCA (printf "%s authority" .subject) $days -}}
  {{- $certificate := genSignedCert .subject nil .names $days $ca }}
  tls.crt: {{ b64enc $certificate.Cert }}
  tls.key: {{ b64enc $certificate.Key }}
  ca.crt: {{ b64enc $ca.Cert }}
  {{- end }}
{{- end -}}
