{{/* What runs and serves: a Deployment with all that belongs to it. */}}

{{- define "planeshift.deployment" -}}
{{- if eq (include "planeshift.serves" .) "true" -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels:
    {{- include "planeshift.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ $facts.component }}
  annotations:
    # Images of a site without a registry are brought to its nodes; tags name what is in them.
    kube-score/ignore: container-image-pull-policy
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  progressDeadlineSeconds: 600
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 50%, maxUnavailable: 0}}
  selector:
    matchLabels:
      {{- include "planeshift.selector" . | nindent 6 }}
      app.kubernetes.io/component: {{ $facts.component }}
  template: {{- include "planeshift.pod" (dict "root" . "facts" $facts "component" $facts.component) | nindent 4 }}
{{- end }}
{{- end }}

{{/* What takes messages of a bus: a Deployment for each such program. */}}
{{- define "planeshift.takers" -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
{{- range $name, $replicas := .Values.takers }}
{{- $own := merge (dict "component" $name) (index $facts.takers $name) $facts }}
---
{{ include "planeshift.beside" (dict "root" $ "facts" $own "component" $name "replicas" $replicas "takes" "messages") }}
{{- end }}
{{- end }}

{{/* What is asked at a port of its own: the same, and a Service. Every node answers, since nobody says where pods are. */}}
{{- define "planeshift.others" -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
{{- range $name, $asked := .Values.others }}
{{- $own := merge (dict "component" $name) (pick $asked "workers" "threads") (index $facts.others $name) $facts }}
{{- $service := $asked.service | default dict }}
---
{{ include "planeshift.beside" (dict "root" $ "facts" $own "component" $name "replicas" $asked.replicas "takes" "requests") }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $.Release.Name }}-{{ $name }}
  labels:
    {{- include "planeshift.labels" $ | nindent 4 }}
    planeshift.dev/takes: requests
spec:
  type: {{ $service.type | default "ClusterIP" }}
  selector:
    {{- include "planeshift.selector" $ | nindent 4 }}
    app.kubernetes.io/component: {{ $name }}
  ports:
    - name: http
      port: {{ $own.port }}
      targetPort: http
      {{- with $service.nodePort }}
      nodePort: {{ . }}
      {{- end }}
{{- end }}
{{- end }}

{{/* What runs beside: root, facts, component, replicas, takes. A new pod is there before an old one goes. */}}
{{- define "planeshift.beside" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .root.Release.Name }}-{{ .component }}
  labels:
    {{- include "planeshift.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  annotations:
    kube-score/ignore: container-image-pull-policy
spec:
  replicas: {{ .replicas }}
  revisionHistoryLimit: 5
  progressDeadlineSeconds: 600
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 50%, maxUnavailable: 0}}
  selector:
    matchLabels:
      {{- include "planeshift.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template: {{- include "planeshift.pod" . | nindent 4 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .root.Release.Name }}-{{ .component }}
  labels: {{- include "planeshift.labels" .root | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "planeshift.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "planeshift.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{- define "planeshift.disruption" -}}
{{- if eq (include "planeshift.serves" .) "true" -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "planeshift.selector" . | nindent 6 }}
      app.kubernetes.io/component: {{ $facts.component }}
{{- end }}
{{- end }}

{{- define "planeshift.autoscaler" -}}
{{- if and .Values.autoscaling.enabled (eq (include "planeshift.serves" .) "true") -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .Release.Name }}}
  minReplicas: {{ .Values.autoscaling.min }}
  maxReplicas: {{ .Values.autoscaling.max }}
  metrics:  # not memory, which a Python program does not give back
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .Values.autoscaling.cpu }}}}
{{- end }}
{{- end }}
