"""What an edge does, in memory and for real."""

from __future__ import annotations

import pytest
from rigs import EdgeRig, until, weighted

from planeshift.errors import PlaneshiftError
from planeshift.ports import quiet


def test_an_edge_that_does_not_run_says_nothing_sends_nothing_and_is_not_waited_for(edge: EdgeRig) -> None:
    edge.lay_out()
    assert edge.port.state(edge.unit) is None
    edge.port.withhold(edge.unit, "web", "one", quiet)
    edge.port.admit(edge.unit, "web", "one")
    edge.port.wait_up(edge.unit, "web", "one", quiet)
    edge.port.settle(edge.unit, quiet)


def test_a_weight_cannot_be_set_where_no_edge_runs(edge: EdgeRig) -> None:
    edge.lay_out()
    with pytest.raises(PlaneshiftError) as caught:
        edge.port.set_weights(edge.unit, {("web", "one"): 1})
    assert caught.value.problems[0].code == "PS607"


def test_a_running_edge_says_its_structure_servers_and_weights(edge: EdgeRig) -> None:
    structure = edge.start()
    state = edge.port.state(edge.unit)
    assert state is not None
    assert state.structure == structure
    assert edge.weights() == {"one": 256, "two": 64}
    assert edge.withheld() == set()
    places = {name: server.address for (_, name), server in state.servers.items()}
    assert places == {server.name: f"{server.address}:{server.port}" for server in edge.servers}


def test_a_server_is_up_while_it_answers(edge: EdgeRig) -> None:
    edge.start()
    until(lambda: edge.up() == {"one", "two"})
    edge.end(edge.servers[1])
    until(lambda: edge.up() == {"one"})
    edge.serve(edge.servers[1])
    until(lambda: edge.up() == {"one", "two"})


def test_a_server_that_is_up_has_not_to_be_waited_for_long(edge: EdgeRig) -> None:
    edge.start()
    edge.port.wait_up(edge.unit, "web", "one", quiet)
    assert "one" in edge.up()


def test_weights_are_set_at_once(edge: EdgeRig) -> None:
    edge.start()
    edge.port.set_weights(edge.unit, {("web", "two"): 0})
    assert edge.weights() == {"one": 256, "two": 0}
    edge.port.set_weights(edge.unit, {("web", "one"): 3, ("web", "two"): 5})
    assert edge.weights() == {"one": 3, "two": 5}


def test_a_server_is_withheld_and_admitted_as_often_as_one_likes(edge: EdgeRig) -> None:
    edge.start()
    for _ in range(2):
        edge.port.withhold(edge.unit, "web", "one", quiet)
        assert edge.withheld() == {"one"}
    for _ in range(2):
        edge.port.admit(edge.unit, "web", "one")
        assert edge.withheld() == set()
    assert edge.weights() == {"one": 256, "two": 64}


def test_an_order_for_a_server_that_is_not_there_is_refused(edge: EdgeRig) -> None:
    edge.start()
    for order in (
        lambda: edge.port.set_weights(edge.unit, {("web", "three"): 1}),
        lambda: edge.port.set_weights(edge.unit, {("web", "three"): 1, ("web", "two"): 64}),
        lambda: edge.port.withhold(edge.unit, "web", "three", quiet),
        lambda: edge.port.admit(edge.unit, "nowhere", "one"),
    ):
        with pytest.raises(PlaneshiftError) as caught:
            order()
        assert caught.value.problems[0].code == "PS607"


def test_a_configuration_is_checked_before_it_is_used(edge: EdgeRig) -> None:
    edge.lay_out()
    edge.port.check(edge.unit)
    edge.lay_out(text="nonsense\n")
    with pytest.raises(PlaneshiftError) as caught:
        edge.port.check(edge.unit)
    assert caught.value.problems[0].code == "PS606"
    assert "nonsense" in caught.value.problems[0].why


def test_a_certificate_that_is_not_there_is_found_by_the_check(edge: EdgeRig) -> None:
    edge.lay_out()
    runtime = f"{edge.hosts.port.paths.runtime}/{edge.unit}"
    edge.lay_out(
        text=f"global\ndefaults\n    mode http\nfrontend f\n    bind {edge.hosts.address}:1 ssl crt {runtime}/a.pem\n"
    )
    with pytest.raises(PlaneshiftError) as caught:
        edge.port.check(edge.unit)
    assert caught.value.problems[0].code == "PS606"


def test_a_reload_brings_in_another_structure_and_the_files_weights(edge: EdgeRig) -> None:
    before = edge.start()
    edge.port.set_weights(edge.unit, {("web", "one"): 7})
    edge.port.withhold(edge.unit, "web", "one", quiet)
    after = edge.reload(weighted(edge.servers[0], 100))
    assert after != before
    assert edge.weights() == {"one": 100}
    assert edge.withheld() == set()
    edge.port.settle(edge.unit, quiet)


def test_weights_are_no_part_of_the_structure(edge: EdgeRig) -> None:
    before = edge.start()
    assert edge.lay_out(weighted(edge.servers[0], 1), weighted(edge.servers[1], 2)) == before
    assert edge.weights() == {"one": 256, "two": 64}, "the file alone changes nothing"


def test_a_reload_of_a_configuration_that_is_refused_leaves_the_running_one(edge: EdgeRig) -> None:
    structure = edge.start()
    edge.lay_out(text="nonsense\n")
    edge.hosts.port.reload(edge.unit, edge.programs())
    state = edge.port.state(edge.unit)
    assert state is not None
    assert state.structure == structure
