"""What the edge is told of its servers."""

from __future__ import annotations

from worlds import cloud, paths

from planeshift.render.build import build
from planeshift.render.desired import ClusterView

SPEC = """
hosts: [{name: here, via: local}, {name: theirs, via: external, address: 192.0.2.3}]
edges: [{name: lb, address: 192.0.2.1}]
clusters: [{name: k1, registry: registry.example.org/site}]
databases: {main: {engine: mysql, host: 192.0.2.9}}
services:
  keystone: {endpoint: "https://keystone.example.org/v3"}
  placement:
    backends:
      vms: {hosts: [here], components: {placement-api: {workers: 3, threads: 5}}, weight: 20}
      one: {hosts: [here], port: 18779, components: {placement-api: {workers: 1, threads: 1}}, weight: 20}
      puppet: {hosts: [theirs], weight: 20}
      pods: {cluster: k1, replicas: 3, weight: 20}
      more: {cluster: k1, port: 30999, autoscale: {min: 2, max: 4}, weight: 20}
"""


def test_a_server_is_given_as_many_requests_as_it_has_threads_but_for_one_that_health_checks_find_free() -> None:
    views = {"k1": ClusterView(nodes={"n1": "192.0.2.11", "n2": "192.0.2.12"})}
    edge = build(cloud(SPEC), {}, {}, {"here": paths()}, views).edges["lb"]
    limits = {server.name: server.at_once for frontend in edge.frontends for server in frontend.servers}
    pods = {f"{name}-{node}": n * (2 * 4 - 1) for name, n in (("pods", 3), ("more", 4)) for node in ("n1", "n2")}
    assert limits == {"vms-here": 3 * 5 - 1, "one-here": 1, "puppet-theirs": 0} | pods
    text = edge.files["haproxy.cfg"].content.decode()
    assert "server vms-here 127.0.0.1:18778 maxconn 14 weight" in text
    assert "server puppet-theirs 192.0.2.3:8778 weight" in text
