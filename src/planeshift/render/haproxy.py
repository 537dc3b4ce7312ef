"""HAProxy's configuration. Pure. Manual: https://docs.haproxy.org/2.6/configuration.html."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence

from planeshift.render.desired import Bind, Frontend, Server

# Every spelling of a header that a WSGI service could take for the proxy's own word is the client's no longer.
_FORGED = "^(x[-_]forwarded[-_].*|forwarded|x[-_]real[-_]ip|x[-_]planeshift[-_].*)$"
# `traffic.lines` reads it. When a request ended comes first, since %tr is in local time.
_LOG = (
    '"%[date(0,ms)] %ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %ac/%fc/%bc/%sc/%rc %{+Q}r'
    ' %ID %[capture.req.hdr(0)]"'
)

# Requests' log lines once more, kept in HAProxy's memory for whoever asks for them by the runtime socket: `drivers.traffic`.
# A datagram socket holds no more than net.unix.max_dgram_qlen lines, 10 by default, while its reader is not running.
RING = "traffic"
HOP = "ingress"  # a server behind a server of the edge
_RING = f"""\
ring {RING}
    format raw
    maxlen 2048
    size 4194304
"""


def haproxy(directory: str, frontends: Sequence[Frontend], statistics: Bind) -> tuple[str, str]:
    """The file's text and its structure: a digest of all but the weights, which the running HAProxy tells us back."""
    body = "\n".join([_RING, _defaults(), _statistics(statistics), *(_service(f, directory) for f in frontends)])
    unweighted = "\n".join(_service(f, directory, weights=False) for f in frontends)
    shape = "\n".join([_global(directory, ""), _RING, _defaults(), _statistics(statistics), unweighted])
    structure = hashlib.sha256(shape.encode()).hexdigest()[:16]
    return f"{_global(directory, structure)}\n{body}", structure


def _global(directory: str, structure: str) -> str:
    return f"""\
# Written by planeshift. Changes made here are overwritten by the next `planeshift up`.
global
    description planeshift {structure}
    log stdout format raw daemon info
    stats socket {directory}/admin.sock mode 600 level admin expose-fd listeners
    maxconn 8192
    stats timeout 1h
    hard-stop-after 15m
    ssl-default-bind-options ssl-min-ver TLSv1.2
"""


def _defaults() -> str:
    # `http-buffer-request` waits for a request's first 16 kB, so that slow clients do not hold a service's threads.
    # A connection of its own for each request to a server: no request is sent on a connection that a worker is about
    # to close, so reloads lose nothing. `retry-on conn-failure` repeats only what no server has seen.
    return """\
defaults
    mode http
    log global
    option dontlognull
    option http-server-close
    option http-buffer-request
    option http-restrict-req-hdr-names delete
    option redispatch
    retries 3
    retry-on conn-failure
    timeout connect 5s
    timeout client 2m
    timeout server 10m
    timeout http-request 30s
    timeout http-keep-alive 1m
    timeout queue 1m
    timeout check 5s
"""


def _statistics(bind: Bind) -> str:
    return f"""\
frontend statistics
    bind {_address(bind.address)}:{bind.port}
    option dontlog-normal
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
    stats uri /
    stats refresh 5s
    stats hide-version
"""


def _service(frontend: Frontend, directory: str, *, weights: bool = True) -> str:
    name = frontend.service
    lines = [f"frontend {name}"]
    lines += [f"    bind {_address(b.address)}:{b.port}{_tls(b, directory)}" for b in frontend.binds]
    lines += [
        f"    log ring@{RING} len 2048 format raw daemon info",
        f"    log-format {_LOG}",
        "    unique-id-format req-%[uuid()]",
        f"    http-request del-header {_FORGED} -m reg",
        "    http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        "    http-request set-header X-Forwarded-Proto http unless { ssl_fc }",
        "    http-request set-header X-Forwarded-For %[src]",
        "    http-request set-header X-Forwarded-Host %[req.hdr(host)] if { req.hdr(host) -m found }",
        # OpenStack's global request id: a client's own is kept, so that a request can be followed across services.
        "    http-request set-header X-Openstack-Request-Id %[unique-id]"
        " unless { req.hdr(x-openstack-request-id) -m found }",
        "    http-request capture req.hdr(x-openstack-request-id) len 40",
        f"    default_backend {name}",
        "",
        f"backend {name}",
        "    balance roundrobin",
        "    option httpchk",
        f"    http-check send meth GET uri {frontend.health} ver HTTP/1.1 hdr Host planeshift-check",
        "    http-check expect status 200",
        # A failed check is confirmed twice within a second; a server whose real answers fail is checked at once.
        "    default-server check inter 2s fastinter 300ms downinter 500ms fall 3 rise 1"
        " observe layer7 error-limit 10 on-error fastinter",
    ]
    lines += [_server(server, weights) for server in frontend.servers]
    return "\n".join(lines) + "\n" + "".join(_hop(frontend, server) for server in frontend.servers)


def _hop(frontend: Frontend, server: Server) -> str:
    """An ingress controller tells services apart by the requests' Host; the client's own is in X-Forwarded-Host by then."""
    if server.hop is None:
        return ""
    return f"""
listen {frontend.service}-{server.name}
    bind {_address(server.address)}:{server.port}
    no log
    http-request set-header Host {server.hop.host}
    server {HOP} {_address(server.hop.address)}:{server.hop.port}
"""


def _server(server: Server, weights: bool) -> str:
    weight = f" weight {server.weight}" if weights else ""
    limit = f" maxconn {server.at_once}" if server.at_once else ""
    return f"    server {server.name} {_address(server.address)}:{server.port}{limit}{weight}"


def _tls(bind: Bind, directory: str) -> str:
    return f" ssl crt {directory}/{bind.tls} alpn h2,http/1.1" if bind.tls else ""


def _address(address: str) -> str:
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return address
    return f"[{address}]" if version == 6 else address
