"""The Helm chart of a service, from its catalogue folder and the library chart's templates. Pure.

Format: https://helm.sh/docs/topics/charts/. Reading the library is reading the program's own data, as in `catalog`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from planeshift import catalog
from planeshift.catalog.spec import Component, ServiceSpec
from planeshift.render import server
from planeshift.render.sites import fill

VERSION = "0.1.0"  # of the charts, all alike
REQUESTS = {"cpu": "100m", "memory": "256Mi"}  # of a pod, where nothing else is said
ROOT = "/etc/planeshift"  # where a pod has its files
DATA = "/var/lib/planeshift"  # where it keeps what may go with it
PROGRAMS = "/var/lib/openstack"  # as LOCI's images have it
RUN = "/run/planeshift"  # what goes with it, in memory
DIGEST = "planeshift.dev/digest"  # annotation of a chart: what tells it from another one of the same version
_TEMPLATES = (
    *("deployment", "entry", "account", "disruption", "autoscaler"),
    *("ingress", "policy", "server", "files", "job", "migrate"),
)
_TAKERS, _OTHERS = "takers", "others"  # templates of further programs, of services that have such


def config_directory(spec: ServiceSpec) -> str:
    """Where the service finds its files, below ROOT."""
    return f"home/.{spec.layout.project}"


def placeholders(spec: ServiceSpec, shipped: Mapping[str, str]) -> dict[str, str]:
    """What the catalog's placeholders are in a pod, see `catalog.spec`; Kubernetes fills in $(POD_IP)."""
    port = str(spec.components[0].port)
    return {"config": f"{ROOT}/{config_directory(spec)}", "data": DATA, "address": "$(POD_IP)", "port": port, **shipped}


def chart(spec: ServiceSpec) -> dict[str, bytes]:
    """The files of a service's chart, by path below its directory. The same catalogue gives the same bytes."""
    names = [*_TEMPLATES, *([_TAKERS] if takers(spec) else []), *([_OTHERS] if spec.others else [])]
    found = {f"templates/{name}.yaml": f'{{{{ include "planeshift.{name}" . }}}}\n'.encode() for name in names}
    found |= {f"charts/planeshift/{path}": text.encode() for path, text in _library().items()}
    found["templates/_facts.tpl"] = _facts(spec).encode()
    found["templates/NOTES.txt"] = _notes(spec).encode()
    found["values.yaml"] = _values(spec).encode()
    found["values.schema.json"] = (json.dumps(_schema(spec), indent=1) + "\n").encode()
    found |= {f"files/{name}": text.encode() for name, text in _server(spec).items()}
    found["Chart.yaml"] = _metadata(spec, found).encode()
    return dict(sorted(found.items()))


def digest(files: Mapping[str, bytes]) -> str:
    """What tells a chart from another one: a digest of its files but Chart.yaml, which holds it."""
    lines = "\n".join(f"{p} {hashlib.sha256(c).hexdigest()}" for p, c in sorted(files.items()) if p != "Chart.yaml")
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


@functools.cache
def chart_digest(service: str) -> str:
    """The digest of a service's chart."""
    return digest(chart(catalog.service(service)))


@functools.cache
def _library() -> dict[str, str]:
    root = resources.files("planeshift.render").joinpath("library")
    found = {"Chart.yaml": root.joinpath("Chart.yaml").read_text("utf-8")}
    for path in sorted(root.joinpath("templates").iterdir(), key=lambda p: p.name):
        found[f"templates/{path.name}"] = path.read_text("utf-8")
    return found


def _metadata(spec: ServiceSpec, files: Mapping[str, bytes]) -> str:
    return f"""\
apiVersion: v2
name: {spec.name}
description: OpenStack {spec.title} ({spec.name}), stateless pods on your own configuration files
type: application
version: {VERSION}
kubeVersion: ">=1.30.0-0"
keywords: [openstack, {spec.name}, {spec.type}]
dependencies: [{{name: planeshift, version: 1.0.0}}]
annotations: {{{DIGEST}: "{digest(files)}"}}
"""


def takers(spec: ServiceSpec) -> list[Component]:
    """The programs of a service that take messages, and can run as pods."""
    return [c for c in spec.components if c.topic]


def _facts(spec: ServiceSpec) -> str:
    component = spec.components[0]
    facts: dict[str, Any] = {
        "component": component.name,
        "port": component.port,
        "health": component.health,
        "drain": component.drain,
        "config": config_directory(spec),
        "directories": list(spec.directories),
        "environment": environment(spec),
        "migrate": " && ".join(" ".join(command) for command in _migration(spec)),
    }
    if takers(spec):
        facts["takers"] = {c.name: {**_beside_facts(c), "drain": c.drain} for c in takers(spec)}
    if spec.others:
        facts["others"] = {c.name: {**_beside_facts(c), "drain": c.drain, "port": c.port} for c in spec.others}
    comment = "{{/* What the catalog says of the service. */}}"
    return f'{comment}\n{{{{- define "planeshift.facts" -}}}}\n{json.dumps(facts, indent=1)}\n{{{{- end }}}}\n'


def _beside_facts(component: Component) -> dict[str, Any]:
    """How a program besides the first is run; of an application also where it is asked whether it is well."""
    if component.command:
        return {"argv": [f"{PROGRAMS}/bin/{component.command[0]}", *component.command[1:], *component.listen]}
    threads = {"workers": component.workers, "threads": component.threads}
    return {"health": component.health, "settings": _settings(component), **threads}


def _settings(component: Component) -> str:
    return f"{component.name}.conf.py"


def environment(spec: ServiceSpec) -> dict[str, str]:
    """The variables that point the service's programs at their files in a pod."""
    values = placeholders(spec, {name: f"{PROGRAMS}/{path}" for name, path in spec.layout.shipped.items()})
    return {name: fill(value, values) for name, value in spec.layout.environment.items()}


def _migration(spec: ServiceSpec) -> Iterator[tuple[str, ...]]:
    migration = spec.migration
    yield from migration.expand if migration.expand else [migration.upgrade or migration.create]


def _server(spec: ServiceSpec) -> dict[str, str]:
    component = spec.components[0]
    shipped = {name: f"{PROGRAMS}/{path}" for name, path in spec.layout.shipped.items()}
    found = server.pod_files(component, ROOT, fill(component.wsgi, placeholders(spec, shipped)))
    for other in (c for c in spec.others if c.wsgi):
        found |= server.pod_files(other, ROOT, other.wsgi, _settings(other))
    return found


def _values(spec: ServiceSpec) -> str:
    component = spec.components[0]
    main, project = spec.layout.main, spec.layout.project
    return f"""\
# {spec.title}: {spec.name}. Everything that the service itself can be told is in its own files, below.
image: ""                        # required: name:tag, or name@digest, laid out as LOCI's images are
imagePullPolicy: IfNotPresent
imagePullSecrets: []
cloud: ""                        # label app.kubernetes.io/part-of

# The service's files, by path below ~/.{project}: a ConfigMap and a Secret that exist, with key and path (below
# {ROOT}) of each file …
existingConfig: {{name: "", items: []}}
existingSecret: {{name: "", items: []}}
# … or their text, for use of the chart alone. Seal what is in `secret`.
config: {{}}
#  {main}: |
#    [DEFAULT]
secret: {{}}
#  {project}.conf.d/90-secrets.conf: |
#    [{spec.database_section}]
#    connection = mysql+pymysql://{spec.name}:…@db.example.org/{spec.name}
environment: {{}}                  # further variables, such as REQUESTS_CA_BUNDLE

replicas: 2
workers: {component.workers}                       # processes a pod
threads: {component.threads}                       # threads a process
autoscaling: {{enabled: false, min: 2, max: 6, cpu: 80}}
{_beside(spec)}resources:
  requests: {{cpu: {REQUESTS["cpu"]}, memory: {REQUESTS["memory"]}, ephemeral-storage: 64Mi}}
  limits: {{cpu: "2", memory: 1Gi, ephemeral-storage: {_scratch(component)}}}
scratch: {_scratch(component)}                     # most that each temporary directory may hold
settle: 5                        # seconds that a pod serves on after it was told to stop

service: {{type: ClusterIP, nodePort: null}}      # ClusterIP, NodePort or LoadBalancer
ingress: {{enabled: false, className: "", host: "", tlsSecret: "", annotations: {{}}}}
networkPolicy:
  enabled: true
  from: []                       # who may reach it; empty: everybody, on its port alone
  egress: [{{}}]                   # what it may reach besides DNS; [{{}}]: everything

# Used alone, the chart brings the schema up to date before anything else, by a hook.
migrate: {{enabled: true, deadline: 1800}}
job: {{name: "", argv: [], environmentFrom: "", deadline: 1800}}  # asked for by planeshift: one command, and nothing else
"""


def _beside(spec: ServiceSpec) -> str:
    """The values of what runs besides the first program; nothing where a service has no more."""
    found = ""
    if takers(spec) or spec.others:
        found += f"serve: true                      # whether {spec.components[0].name} runs\n"
    if takers(spec):
        found += f"""\
takers: {{}}                       # pods of each program that takes messages, as {takers(spec)[0].name}: 2
buses: [5672]                    # ports of the message bus: who is connected to one of them is ready
"""
    if spec.others:
        found += f"""\
others: {{}}                       # programs with a Service of their own, as
#  {spec.others[0].name}: {{replicas: 2, service: {{type: NodePort, nodePort: 30000}}}}
"""
    return found


def _scratch(component: Component) -> str:
    return "8Gi" if component.streams else "1Gi"


def _schema(spec: ServiceSpec) -> dict[str, Any]:
    """JSON schema of the values; Helm checks them with it."""
    text, number, switch = {"type": "string"}, {"type": "integer", "minimum": 1}, {"type": "boolean"}
    texts = {"type": "object", "additionalProperties": text}
    items = {"type": "array", "items": _object({"key": text, "path": text}, ["key", "path"])}
    existing = _object({"name": text, "items": items})
    cpu = {"type": "integer", "minimum": 1, "maximum": 100}
    port = {"type": ["integer", "null"], "minimum": 30000, "maximum": 32767}
    service = _object({"type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, "nodePort": port})
    anything = {"type": "array", "items": {"type": "object"}}
    found = _object(
        {
            "image": text,
            "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
            "imagePullSecrets": anything,
            "cloud": text,
            "existingConfig": existing,
            "existingSecret": existing,
            "config": texts,
            "secret": texts,
            "environment": texts,
            "replicas": number,
            **_beside_schema(spec, number, service),
            "workers": number,
            "threads": number,
            "autoscaling": _object({"enabled": switch, "min": number, "max": number, "cpu": cpu}),
            "resources": _object({"requests": texts, "limits": texts}),
            "scratch": text,
            "settle": {"type": "integer", "minimum": 0},
            "service": service,
            "ingress": _object(
                {"enabled": switch, "className": text, "host": text, "tlsSecret": text, "annotations": texts}
            ),
            "networkPolicy": _object({"enabled": switch, "from": anything, "egress": anything}),
            "migrate": _object({"enabled": switch, "deadline": number}),
            "job": _object(
                {
                    "name": text,
                    "argv": {"type": "array", "items": text},
                    "environmentFrom": text,
                    "deadline": number,
                }
            ),
            "global": {"type": "object"},  # Helm's own
            "planeshift": {"type": "object"},  # Helm's, of the library
        },
        ["image"],
    )
    return {"$schema": "https://json-schema.org/draft-07/schema#", "title": f"Values of {spec.name}", **found}


def _beside_schema(spec: ServiceSpec, number: Mapping[str, Any], service: Mapping[str, Any]) -> dict[str, Any]:
    count, port = {"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1, "maximum": 65535}
    found: dict[str, Any] = {"serve": {"type": "boolean"}} if takers(spec) or spec.others else {}
    if takers(spec):
        found["takers"] = _object({c.name: count for c in takers(spec)})
        found["buses"] = {"type": "array", "items": port, "minItems": 1}
    if spec.others:
        own, threads = {"replicas": number, "service": service}, {"workers": number, "threads": number}
        found["others"] = _object(
            {c.name: _object(own | (threads if c.wsgi else {}), ["replicas"]) for c in spec.others}
        )
    return found


def _object(properties: Mapping[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": dict(properties)}
    return found | ({"required": required} if required else {})


def _notes(spec: ServiceSpec) -> str:
    url = f"http://{{{{ .Release.Name }}}}.{{{{ .Release.Namespace }}}}:{spec.components[0].port}{spec.path}"
    selector = "-l app.kubernetes.io/instance={{ .Release.Name }}"
    return f"""\
{spec.title} ({spec.name}) answers inside the cluster at {url}
See its pods: kubectl -n {{{{ .Release.Namespace }}}} get pods {selector}
"""
