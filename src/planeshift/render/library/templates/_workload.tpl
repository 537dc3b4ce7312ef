{{/* What runs and serves: a Deployment with all that belongs to it. */}}

{{- define "planeshift.deployment" -}}
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

{{- define "planeshift.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{- define "planeshift.disruption" -}}
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

{{- define "planeshift.autoscaler" -}}
{{- if .Values.autoscaling.enabled -}}
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
