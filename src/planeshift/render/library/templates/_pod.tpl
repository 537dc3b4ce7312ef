{{/* A pod of the service: root, facts, suffix of its own files, component; where it is a command's: argv, environmentFrom;
     where no edge sends it anything: takes, which is messages or requests. Facts are then its own, with argv or settings. */}}

{{- define "planeshift.pod" -}}
{{- $root := .root }}{{ $facts := .facts }}{{ $values := .root.Values }}{{ $own := printf "%s%s" .root.Release.Name (.suffix | default "") -}}
metadata:
  labels:
    {{- include "planeshift.selector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with .takes }}
    planeshift.dev/takes: {{ . }}
    {{- end }}
  annotations:
    planeshift.dev/server: {{ $root.Files.Glob "files/*" | toString | sha256sum | trunc 12 | quote }}
    {{- if not $values.existingConfig.name }}
    planeshift.dev/config: {{ toJson $values.config | sha256sum | trunc 12 | quote }}
    {{- end }}
    {{- if not $values.existingSecret.name }}
    planeshift.dev/secret: {{ toJson $values.secret | sha256sum | trunc 12 | quote }}
    {{- end }}
spec:
  serviceAccountName: {{ if .argv }}default{{ else }}{{ $root.Release.Name }}{{ end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 42424
    runAsGroup: 42424
    fsGroup: 42424
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- if .argv }}
  restartPolicy: Never
  {{- else }}
  terminationGracePeriodSeconds: {{ add $facts.drain $values.settle 15 }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "planeshift.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $facts.component }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ required "image: which image to run" $values.image | quote }}
      imagePullPolicy: {{ $values.imagePullPolicy }}
      command: {{ .argv | default $facts.argv | default (list "/var/lib/openstack/bin/gunicorn") | toJson }}
      workingDir: /etc/planeshift
      env:
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: HOME, value: /etc/planeshift/home}
        - {name: PATH, value: "/var/lib/openstack/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        - {name: LC_ALL, value: C.UTF-8}
        - {name: PYTHONUNBUFFERED, value: "1"}
        {{- if not (or .argv $facts.argv) }}
        - {name: GUNICORN_CMD_ARGS, value: "{{ with $facts.settings }}--config={{ . }} {{ end }}--bind=0.0.0.0:{{ $facts.port }} --workers={{ $facts.workers | default $values.workers }} --threads={{ $facts.threads | default $values.threads }}"}
        {{- end }}
        {{- range $name, $value := merge (dict) $values.environment $facts.environment }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      {{- with .environmentFrom }}
      envFrom: [{secretRef: {name: {{ . }}}}]
      {{- end }}
      {{- if eq (.takes | default "") "messages" }}
      {{- $connected := printf "grep -Eq ':(%s) 01 ' /proc/net/tcp /proc/net/tcp6" (include "planeshift.buses" $root) }}
      startupProbe:
        exec: {command: [/bin/sh, -c, {{ $connected | quote }}]}
        periodSeconds: 1
        timeoutSeconds: 5
        failureThreshold: 180
      readinessProbe:  # connected to the message bus; one that has lost it waits for it by itself, and is not to be killed
        exec: {command: [/bin/sh, -c, {{ $connected | quote }}]}
        periodSeconds: 5
        timeoutSeconds: 10
        failureThreshold: 3
      {{- else if not .argv }}
      {{- $asked := ternary "tcpSocket: {port: http}" (printf "httpGet: {path: %s, port: http}" $facts.health) (hasKey $facts "argv") }}
      ports: [{name: http, containerPort: {{ $facts.port }}}]
      startupProbe:
        {{ $asked }}
        periodSeconds: 1
        timeoutSeconds: 5
        failureThreshold: 180
      readinessProbe:
        {{ $asked }}
        periodSeconds: 5
        timeoutSeconds: 10
        failureThreshold: 3
      {{- if not $facts.argv }}
      livenessProbe:  # whether it listens at all: one that is busy, or whose database is away, is not to be killed
        tcpSocket: {port: http}
        periodSeconds: 20
        timeoutSeconds: 10
        failureThreshold: 6
      {{- end }}
      lifecycle:
        preStop: {sleep: {seconds: {{ $values.settle }}}}  # serves on until nobody sends it anything
      {{- end }}
      resources: {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: files, mountPath: /etc/planeshift, readOnly: true}
        - {name: run, mountPath: /run/planeshift}
        - {name: tmp, mountPath: /tmp}
        {{- range $facts.directories }}
        - {name: data-{{ . }}, mountPath: /var/lib/planeshift/{{ . }}}
        {{- end }}
  volumes:
    - name: files
      projected:
        defaultMode: 0440
        sources:
          {{- if not .argv }}
          - configMap: {name: {{ $root.Release.Name }}-server}
          {{- end }}
          {{- if $values.existingConfig.name }}
          - configMap: {name: {{ $values.existingConfig.name }}, items: {{ toJson $values.existingConfig.items }}}
          {{- else if $values.config }}
          - configMap: {name: {{ $own }}-config, items: {{ include "planeshift.items" (dict "files" $values.config "directory" $facts.config) }}}
          {{- end }}
          {{- if $values.existingSecret.name }}
          - secret: {name: {{ $values.existingSecret.name }}, items: {{ toJson $values.existingSecret.items }}}
          {{- else if $values.secret }}
          - secret: {name: {{ $own }}-secret, items: {{ include "planeshift.items" (dict "files" $values.secret "directory" $facts.config) }}}
          {{- end }}
    - {name: run, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
    - {name: tmp, emptyDir: {sizeLimit: {{ $values.scratch }}}}
    {{- range $facts.directories }}
    - {name: data-{{ . }}, emptyDir: {sizeLimit: {{ $values.scratch }}}}
    {{- end }}
{{- end }}

{{/* The ports of the message bus as /proc/net/tcp has them. */}}
{{- define "planeshift.buses" -}}
{{- $ports := list }}{{ range .Values.buses }}{{ $ports = append $ports (printf "%04X" (int .)) }}{{ end }}{{ join "|" $ports }}
{{- end }}
