{{/* Files: those of the server, always the chart's; configuration and secrets, unless they exist already. */}}

{{- define "planeshift.server" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-server
  labels: {{- include "planeshift.labels" . | nindent 4 }}
data:
  {{- range $path, $content := .Files.Glob "files/*" }}
  {{ base $path }}: {{ toString $content | toJson }}
  {{- end }}
{{- end }}

{{/* kind, name, files, annotations, root */}}
{{- define "planeshift.own" -}}
apiVersion: v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  labels: {{- include "planeshift.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{ if eq .kind "Secret" }}stringData{{ else }}data{{ end }}:
  {{- range $path, $content := .files }}
  {{ include "planeshift.key" $path }}: {{ $content | toJson }}
  {{- end }}
{{- end }}

{{- define "planeshift.files" -}}
{{- if and .Values.config (not .Values.existingConfig.name) }}
{{ include "planeshift.own" (dict "kind" "ConfigMap" "name" (printf "%s-config" .Release.Name) "files" .Values.config "root" .) }}
---
{{- end }}
{{- if and .Values.secret (not .Values.existingSecret.name) }}
{{ include "planeshift.own" (dict "kind" "Secret" "name" (printf "%s-secret" .Release.Name) "files" .Values.secret "root" .) }}
{{- end }}
{{- end }}
