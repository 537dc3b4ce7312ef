{{/* Names and labels. A chart defines "planeshift.facts": YAML of what the catalog says of its service. */}}

{{- define "planeshift.labels" -}}
{{ include "planeshift.selector" . }}
app.kubernetes.io/part-of: {{ .Values.cloud | default "openstack" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "planeshift.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Whether what serves HTTP runs: a release may be of nothing but programs that take messages. */}}
{{- define "planeshift.serves" -}}
{{- if hasKey .Values "serve" }}{{ .Values.serve }}{{ else }}true{{ end }}
{{- end }}

{{/* A path as the key of a ConfigMap or Secret. */}}
{{- define "planeshift.key" -}}
{{ regexReplaceAll "[^-._a-zA-Z0-9]" . "_" }}
{{- end }}

{{/* Where a projected volume puts a chart's own files: their paths are below the service's configuration directory. */}}
{{- define "planeshift.items" -}}
{{- $items := list -}}
{{- range $path, $_ := .files -}}
{{- $items = append $items (dict "key" (include "planeshift.key" $path) "path" (printf "%s/%s" $.directory $path)) -}}
{{- end -}}
{{- toJson $items -}}
{{- end }}
