{{/* The operator's rights on objects in the namespaces it works in. Reading Secrets is not among them: Pods mount them. */}}
{{- define "mahavishnu.rules" -}}
# What is asked for.
- apiGroups: [mahavishnu.dev]
  resources: [workerpools, scanjobs]
  verbs: [get, list, watch]
# What became of it.
- apiGroups: [mahavishnu.dev]
  resources: [workerpools/status, scanjobs/status]
  verbs: [patch]
# How many workers a pool of autoscaling mode Internal wants.
- apiGroups: [mahavishnu.dev]
  resources: [workerpools/scale]
  verbs: [patch]
# ttlSecondsAfterFinished.
- apiGroups: [mahavishnu.dev]
  resources: [scanjobs]
  verbs: [delete]
# What `kubectl describe` shows; a repeated event is counted by a patch. Listed: why a Job can make no Pod.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch, list]
# Jobs that fetch private files, with credentials that the operator cannot read; and workers for one task each.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Workers; the patch is the label of a busy one.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete, patch]
# Busy workers are not evicted.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, patch]
# Workers reach the dispatcher and DNS alone.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, patch, delete]
{{- end -}}

{{/* What no Role can give, because it is about no namespace: needed in both modes. */}}
{{- define "mahavishnu.clusterRules" -}}
# Whose token a worker shows.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
# Workers on a cordoned node get no new task.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
{{- end -}}

{{- define "mahavishnu.subjects" -}}
- kind: ServiceAccount
  name: {{ include "mahavishnu.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* The gateway's rights on objects: on our kinds alone, and as much as its tools do for anybody. */}}
{{- define "mahavishnu.gatewayRules" -}}
- apiGroups: [mahavishnu.dev]
  resources: [workerpools]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [mahavishnu.dev]
  resources: [workerpools/scale]
  verbs: [patch]
- apiGroups: [mahavishnu.dev]
  resources: [scanjobs]
  verbs: [get, list, watch, create, patch]
{{- end -}}
