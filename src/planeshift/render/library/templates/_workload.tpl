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

{{/* What takes messages of a bus: a Deployment for each such program. A new pod is there before an old one goes. */}}
{{- define "planeshift.takers" -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
{{- range $name, $replicas := .Values.takers }}
{{- $taker := index $facts.takers $name }}
{{- $component := merge (dict "component" $name "drain" $taker.drain) $facts }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $.Release.Name }}-{{ $name }}
  labels:
    {{- include "planeshift.labels" $ | nindent 4 }}
    app.kubernetes.io/component: {{ $name }}
  annotations:
    kube-score/ignore: container-image-pull-policy
spec:
  replicas: {{ $replicas }}
  revisionHistoryLimit: 5
  progressDeadlineSeconds: 600
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 50%, maxUnavailable: 0}}
  selector:
    matchLabels:
      {{- include "planeshift.selector" $ | nindent 6 }}
      app.kubernetes.io/component: {{ $name }}
  template: {{- include "planeshift.pod" (dict "root" $ "facts" $component "component" $name "taker" $taker.argv) | nindent 4 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $.Release.Name }}-{{ $name }}
  labels: {{- include "planeshift.labels" $ | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "planeshift.selector" $ | nindent 6 }}
      app.kubernetes.io/component: {{ $name }}
{{- end }}
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
