"""A chart as other people write them: it knows nothing of Planeshift, and has values by the usual names."""

from __future__ import annotations

NAME = "web"
_LABELS = "{app.kubernetes.io/name: web, app.kubernetes.io/instance: {{ .Release.Name }}}"
_DEPLOYMENT = f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: "{{{{ .Release.Name }}}}-web", labels: {_LABELS}}}
spec:
  replicas: {{{{ .Values.replicaCount }}}}
  selector: {{matchLabels: {_LABELS}}}
  template:
    metadata: {{labels: {_LABELS}}}
    spec:
      securityContext: {{{{ toJson .Values.podSecurityContext }}}}
      containers:
        - name: web
          image: "{{{{ .Values.image.repository }}}}:{{{{ .Values.image.tag }}}}"
          imagePullPolicy: {{{{ .Values.image.pullPolicy }}}}
          command: {{{{ toJson .Values.command }}}}
          env: {{{{ toJson .Values.env }}}}
          securityContext: {{{{ toJson .Values.securityContext }}}}
          ports: [{{name: http, containerPort: {{{{ .Values.service.port }}}}}}]
          readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
          volumeMounts: {{{{ toJson .Values.volumeMounts }}}}
      volumes: {{{{ toJson .Values.volumes }}}}
"""
_SERVICE = f"""apiVersion: v1
kind: Service
metadata: {{name: "{{{{ .Release.Name }}}}-web", labels: {_LABELS}}}
spec:
  type: {{{{ .Values.service.type }}}}
  externalTrafficPolicy: Local
  selector: {_LABELS}
  ports:
    - {{name: http, port: {{{{ .Values.service.port }}}}, targetPort: http, nodePort: {{{{ .Values.service.nodePort }}}}}}
"""
_VALUES = """replicaCount: 1
image: {repository: nginx, tag: stable, pullPolicy: IfNotPresent}
command: []
env: []
podSecurityContext: {}
securityContext: {}
service: {type: ClusterIP, port: 80}
volumes: []
volumeMounts: []
"""


def files(version: str, comment: str = "") -> dict[str, bytes]:
    """The chart, by path below its directory."""
    texts = {
        "Chart.yaml": f"apiVersion: v2\nname: {NAME}\nversion: {version}\ndescription: A web server {comment}\n",
        "values.yaml": _VALUES,
        "templates/deployment.yaml": _DEPLOYMENT,
        "templates/service.yaml": _SERVICE,
    }
    return {path: text.encode() for path, text in texts.items()}


PLACEMENT = """command:
  - /var/lib/openstack/bin/gunicorn
  - --bind=0.0.0.0:8778
  - --no-control-socket
  - placement.wsgi.api:application
env:
  - {name: HOME, value: /etc/planeshift/home}
  - {name: OS_PLACEMENT_CONFIG_DIR, value: /etc/planeshift/home/.placement}
  - {name: PYTHONPATH, value: ""}
podSecurityContext: {runAsNonRoot: true, runAsUser: 42424, fsGroup: 42424, seccompProfile: {type: RuntimeDefault}}
securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
service: {port: 8778}
"""
