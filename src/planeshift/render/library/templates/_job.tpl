{{/* Commands of the service. Planeshift asks for one by `job`; used alone, the chart brings the schema up to date itself:
     before anything else of a release, by a hook, so that no pod waits for what comes after it. */}}

{{- define "planeshift.job" -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
{{- if .Values.job.argv -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Values.job.name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
  annotations: {kube-score/ignore: container-image-pull-policy}
spec:
  backoffLimit: 0
  activeDeadlineSeconds: {{ .Values.job.deadline }}
  ttlSecondsAfterFinished: 3600
  template: {{- include "planeshift.pod" (dict "root" . "facts" $facts "component" "command" "argv" .Values.job.argv "environmentFrom" .Values.job.environmentFrom) | nindent 4 }}
{{- end }}
{{- end }}

{{- define "planeshift.migrate" -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
{{- if and .Values.migrate.enabled (not .Values.job.argv) -}}
{{- $hook := dict "helm.sh/hook" "pre-install,pre-upgrade" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- $first := merge (dict "helm.sh/hook-weight" "-10") $hook -}}
{{- $name := printf "%s-migrate" .Release.Name -}}
{{- if and .Values.config (not .Values.existingConfig.name) }}
{{ include "planeshift.own" (dict "kind" "ConfigMap" "name" (printf "%s-config" $name) "files" .Values.config "annotations" $first "root" .) }}
---
{{- end }}
{{- if and .Values.secret (not .Values.existingSecret.name) }}
{{ include "planeshift.own" (dict "kind" "Secret" "name" (printf "%s-secret" $name) "files" .Values.secret "annotations" $first "root" .) }}
---
{{- end }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
  annotations:
    {{- toYaml $hook | nindent 4 }}
    kube-score/ignore: container-image-pull-policy
spec:
  backoffLimit: 2
  activeDeadlineSeconds: {{ .Values.migrate.deadline }}
  template: {{- include "planeshift.pod" (dict "root" . "facts" $facts "component" "migrate" "argv" (list "/bin/sh" "-ec" $facts.migrate) "suffix" "-migrate") | nindent 4 }}
{{- end }}
{{- end }}
