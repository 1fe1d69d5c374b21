{{/*
Names are fixed, and not the release's: a node's kernel holds one enforcement, so that a cluster has one enforcer.
*/}}

{{- define "enforcer.labels" -}}
app.kubernetes.io/name: enforcer
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "enforcer.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The enforcer's configuration. */}}
{{- define "enforcer.config" -}}
{{- $pods := dict -}}
{{- if not (kindIs "invalid" .Values.excludedNamespaces) -}}
{{- $_ := set $pods "excludedNamespaces" .Values.excludedNamespaces -}}
{{- end -}}
{{- $config := dict "registry" (dict "kubernetes" dict) "mode" .Values.mode "pods" $pods -}}
{{- with .Values.monitoring.metrics -}}
{{- if .enabled -}}
{{- $_ := set $config "metrics" (dict "listen" (printf "%s:%v" .address .port)) -}}
{{- end -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end }}

{{/* Whether a field says which AppArmor profile a container has; before 1.30, annotations do. */}}
{{- define "enforcer.since130" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end }}

{{/* Annotations of the pod, whose containers are .containers. */}}
{{- define "enforcer.podAnnotations" -}}
{{- $annotations := deepCopy .root.Values.podAnnotations -}}
{{- if not (include "enforcer.since130" .root) -}}
{{- range .containers -}}
{{- $_ := set $annotations (printf "container.apparmor.security.beta.kubernetes.io/%s" .) "unconfined" -}}
{{- end -}}
{{- end -}}
{{- if .checksum -}}
{{- $_ := set $annotations "checksum/config" .checksum -}}
{{- end -}}
{{- if $annotations -}}
annotations:
{{- toYaml $annotations | nindent 2 }}
{{- end -}}
{{- end }}

{{/* What the pods that enforce and those that detach have in common, of their spec. */}}
{{- define "enforcer.placement" -}}
serviceAccountName: enforcer
priorityClassName: {{ .Values.priorityClassName }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
enableServiceLinks: false
{{- if include "enforcer.since130" . }}
securityContext:
  appArmorProfile:
    type: Unconfined
{{- end }}
terminationGracePeriodSeconds: 10
{{- end }}

{{/* The security context of a container with the capabilities .add, which may be none. */}}
{{- define "enforcer.securityContext" -}}
securityContext:
  runAsUser: 0
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
    {{- with .add }}
    add:
    {{- toYaml . | nindent 4 }}
    {{- end }}
  seccompProfile:
    type: RuntimeDefault
  seLinuxOptions:
    type: spc_t
{{- end }}

{{/* What a container that only prepares something may use, up to .memory. */}}
{{- define "enforcer.smallResources" -}}
resources:
  requests:
    cpu: 10m
    memory: 16Mi
  limits:
    memory: {{ .memory }}
{{- end }}

{{- define "enforcer.hostPath" -}}
- name: {{ .name }}
  hostPath:
    path: {{ .path }}
    type: {{ .type }}
{{- end }}

{{/* The API server's address within the cluster, which needs no DNS; its name where there is no cluster to ask. */}}
{{- define "enforcer.apiServer" -}}
{{- $service := lookup "v1" "Service" "default" "kubernetes" -}}
{{- $address := dig "spec" "clusterIP" "" $service -}}
{{- if not $address -}}
kubernetes.default.svc
{{- else if contains ":" $address -}}
[{{ $address }}]
{{- else -}}
{{ $address }}
{{- end -}}
{{- end }}
