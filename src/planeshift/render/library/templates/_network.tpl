{{/* How it is reached, and what it may reach. */}}

{{- define "planeshift.entry" -}}
{{- if eq (include "planeshift.serves" .) "true" -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
spec:
  type: {{ .Values.service.type }}
  {{- if ne .Values.service.type "ClusterIP" }}
  externalTrafficPolicy: Local  # the edge knows which nodes have ready pods, and services see the edge's own address
  {{- end }}
  selector:
    {{- include "planeshift.selector" . | nindent 4 }}
    app.kubernetes.io/component: {{ $facts.component }}
  ports:
    - name: http
      port: {{ $facts.port }}
      targetPort: http
      {{- with .Values.service.nodePort }}
      nodePort: {{ . }}
      {{- end }}
{{- end }}
{{- end }}

{{- define "planeshift.ingress" -}}
{{- if and .Values.ingress.enabled (eq (include "planeshift.serves" .) "true") -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
  {{- with .Values.ingress.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .Values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .Values.ingress.tlsSecret }}
  tls: [{hosts: [{{ $.Values.ingress.host | quote }}], secretName: {{ . }}}]
  {{- end }}
  rules:
    - host: {{ required "ingress.host: the name that clients use" .Values.ingress.host | quote }}
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: {{ .Release.Name }}, port: {name: http}}}}]
{{- end }}
{{- end }}

{{- define "planeshift.policy" -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $facts := fromYaml (include "planeshift.facts" .) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "planeshift.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "planeshift.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- $ports := list }}
  {{- if eq (include "planeshift.serves" .) "true" }}{{ $ports = append $ports (dict "port" $facts.port "protocol" "TCP") }}{{ end }}
  {{- range $name, $_ := .Values.others }}
  {{- $ports = append $ports (dict "port" (index $facts.others $name).port "protocol" "TCP") }}
  {{- end }}
  {{- if $ports }}
  ingress:
    - ports: {{ toJson $ports }}
      {{- with .Values.networkPolicy.from }}
      from: {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    {{- with .Values.networkPolicy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
