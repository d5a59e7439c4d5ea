{{/* Whom the policies are about. */}}
{{- define "mahavishnu.isOperator" -}}
- name: by-the-operator
  expression: request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "mahavishnu.serviceAccount" . }}'
{{- end -}}

{{/* A list: the kinds of volumes that the Pod of `variables.pod` may have. */}}
{{- define "mahavishnu.confined" -}}
- expression: >-
    has(variables.pod.automountServiceAccountToken) && !variables.pod.automountServiceAccountToken
    && (!has(variables.pod.serviceAccountName) || variables.pod.serviceAccountName in ['', 'default'])
  message: the operator may make Pods only of the account `default`, without its token
- expression: >-
    !(has(variables.pod.hostNetwork) && variables.pod.hostNetwork)
    && !(has(variables.pod.hostPID) && variables.pod.hostPID) && !(has(variables.pod.hostIPC) && variables.pod.hostIPC)
    && has(variables.pod.securityContext) && has(variables.pod.securityContext.runAsNonRoot)
    && variables.pod.securityContext.runAsNonRoot
  message: the operator may make Pods only outside the node's namespaces and not as root
- expression: >-
    (variables.pod.containers + (has(variables.pod.initContainers) ? variables.pod.initContainers : [])).all(each,
    has(each.securityContext) && has(each.securityContext.allowPrivilegeEscalation)
    && !each.securityContext.allowPrivilegeEscalation
    && !(has(each.securityContext.privileged) && each.securityContext.privileged)
    && !(has(each.securityContext.runAsNonRoot) && !each.securityContext.runAsNonRoot)
    && !(has(each.securityContext.runAsUser) && each.securityContext.runAsUser == 0)
    && has(each.securityContext.capabilities) && has(each.securityContext.capabilities.drop)
    && 'ALL' in each.securityContext.capabilities.drop && !has(each.securityContext.capabilities.add))
  message: the operator may make Pods only of containers without any privilege
- expression: >-
    (variables.pod.containers + (has(variables.pod.initContainers) ? variables.pod.initContainers : [])).all(each,
    (!has(each.env) || each.env.all(it, !has(it.valueFrom) || !has(it.valueFrom.secretKeyRef)))
    && (!has(each.envFrom) || each.envFrom.all(it, !has(it.secretRef))))
  message: the operator may give a container no variable from a Secret
- expression: >-
    !has(variables.pod.volumes) || variables.pod.volumes.all(each,
    {{ range $number, $kind := . }}{{ if $number }} || {{ end }}has(each.{{ $kind }}){{ end }})
  message: the operator may mount only {{ join ", " . }} into a Pod
- expression: >-
    !has(variables.pod.volumes) || variables.pod.volumes.all(each, !has(each.projected)
    || (has(each.projected.sources) && each.projected.sources.all(source, has(source.serviceAccountToken)
    && has(source.serviceAccountToken.audience) && source.serviceAccountToken.audience == 'dispatcher.mahavishnu.dev')))
  message: the operator may give a Pod no token but one for the dispatcher
{{- end -}}
