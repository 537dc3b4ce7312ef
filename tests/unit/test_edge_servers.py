"""What the edge is told of its servers."""

from __future__ import annotations

import pytest
from worlds import cloud, paths

from planeshift.drivers.haproxy import _busy
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


@pytest.mark.parametrize(
    "rate, now, ttime, rtime, busy",
    [
        (20, 0, 650, 40, 0.8),  # clients that keep their connections, and ask once in a while
        (20, 0, 40, 40, 0.8),
        (2, 6, 3000, 10, 6.0),  # long downloads, under way after their first byte
        (2, 40, 50, 40, 0.1),  # all of them at once, for a moment
        (0, 3, 900, 10, 0.0),
    ],
)
def test_what_is_served_at_a_time_is_no_client_that_thinks(
    rate: int, now: int, ttime: int, rtime: int, busy: float
) -> None:
    head = "# pxname,svname,rate,scur,ttime,qtime,ctime,rtime\n"
    row = f"{rate},{now},{ttime},0,0,{rtime}\n"
    assert _busy(f"{head}web,FRONTEND,9,9,9,,,\nweb,one,{row}web,BACKEND,{row}") == {"web": pytest.approx(busy)}
