"""What a host does, in memory and for real."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from rigs import KEY, PORT, SUPERVISION, HostRig

from planeshift.drivers.local import host as local
from planeshift.drivers.local import processes
from planeshift.drivers.local.supervisord import Supervisord
from planeshift.errors import PlaneshiftError
from planeshift.plan.observed import Process
from planeshift.ports import quiet
from planeshift.render.desired import LEAVES, File, HostPaths
from planeshift.render.supervisor import MARKER

UNIT, OTHER = "here/web/vms", "here/web/vms2"


def test_nothing_is_there_at_first(host: HostRig) -> None:
    assert dict(host.port.units(KEY)) == {}
    assert host.port.listener(host.bind) is None
    assert host.port.environments() == {"web-1"}


# --- files


def test_what_is_laid_out_is_seen_by_digest_and_nothing_else_is_there(host: HostRig) -> None:
    files = host.files(UNIT) | {"home/.web/secret": File(b"s", 0o600, secret=True), "home/other": File(b"o")}
    host.port.lay_out(UNIT, files)
    assert host.state(UNIT).files == {path: file.digest(KEY) for path, file in files.items()}
    changed = {"page.txt": File(b"other"), "home/other": File(b"a file now"), "home/.web/secret": File(b"s", 0o644)}
    host.port.lay_out(UNIT, changed)
    assert host.state(UNIT).files == {path: file.digest(KEY) for path, file in changed.items()}


def test_secret_files_are_seen_by_a_keyed_digest(host: HostRig) -> None:
    host.port.lay_out(UNIT, {"secret": File(b"s", 0o600, secret=True), "plain": File(b"s")})
    one, two = (host.port.units(key)[UNIT].files for key in (b"one", b"two"))
    assert one["plain"] == two["plain"]
    assert one["secret"] != two["secret"]


def test_removing_is_complete_and_may_be_repeated(host: HostRig) -> None:
    host.port.lay_out(UNIT, host.files(UNIT))
    host.port.lay_out(OTHER, host.files(OTHER))
    for _ in range(2):
        host.port.remove(UNIT)
        assert set(host.port.units(KEY)) == {OTHER}


def test_what_its_programs_leave_elsewhere_goes_with_a_unit(directory: Path) -> None:
    paths = HostPaths(runtime=str(directory / "run"), state=str(directory / "state"))
    port, elsewhere = local.LocalHost("here", paths, {}), directory / "elsewhere"
    elsewhere.mkdir()
    for name in ("a-1_conductor_q", "a-1_scheduler_q", "b-1_conductor_q"):
        (elsewhere / name).touch()
    port.lay_out(UNIT, {LEAVES: File(f"{elsewhere}/a-1_*_q\n".encode())})
    port.lay_out(OTHER, {"page": File(b"leaves nothing")})
    port.remove(OTHER)
    assert len(list(elsewhere.iterdir())) == 3
    port.remove(UNIT)
    assert [p.name for p in elsewhere.iterdir()] == ["b-1_conductor_q"]


def test_directories_may_be_made_again(host: HostRig) -> None:
    for _ in range(2):
        host.port.make_directories([f"{host.port.paths.state}/data/web"])


# --- starting


def test_a_unit_without_files_does_not_start(host: HostRig) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        host.port.start(UNIT, host.programs(UNIT))
    assert caught.value.problems[0].code == "PS602"


def test_what_is_started_runs_under_its_supervisor_and_serves(host: HostRig) -> None:
    host.start(UNIT)
    assert host.page() == "first"
    state = host.state(UNIT)
    assert state.supervised
    assert set(state.running) == {"web"}
    assert state.orphans == ()
    assert state.supervision == host.files(UNIT)[SUPERVISION].digest(b"")
    assert host.port.listener(host.bind) == ""


def test_starting_what_runs_changes_nothing(host: HostRig) -> None:
    host.start(UNIT)
    before = host.state(UNIT)
    host.port.start(UNIT, host.programs(UNIT))
    assert host.state(UNIT) == before


def test_a_program_that_is_not_installed_is_not_ready(host: HostRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "READY_SECONDS", 1)
    host.lay_out(UNIT, environment="absent")
    with pytest.raises(PlaneshiftError) as caught:
        host.port.start(UNIT, host.programs(UNIT, environment="absent"))
        host.port.wait_ready(host.url, UNIT, quiet)
    assert caught.value.problems[0].code in ("PS602", "PS604")
    assert not host.state(UNIT).running


def test_starting_brings_in_programs_that_changed_while_they_did_not_run(host: HostRig) -> None:
    host.lay_out(UNIT, environment="absent")
    host.port.start(UNIT, host.programs(UNIT, environment="absent"))
    host.lay_out(UNIT)
    host.port.start(UNIT, host.programs(UNIT))
    host.port.wait_ready(host.url, UNIT, quiet)
    assert host.page() == "first"


def test_a_stranger_in_its_place_is_named_and_is_not_taken_for_the_unit(
    host: HostRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "READY_SECONDS", 1)
    name = host.stranger()
    assert name in (host.port.listener(host.bind) or "")
    host.lay_out(UNIT)
    host.port.start(UNIT, host.programs(UNIT))
    with pytest.raises(PlaneshiftError) as caught:
        host.port.wait_ready(host.url, UNIT, quiet)
    assert caught.value.problems[0].code == "PS604"


def test_another_unit_in_its_place_is_not_taken_for_the_unit(host: HostRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "READY_SECONDS", 1)
    host.start(OTHER)
    host.lay_out(UNIT)
    host.port.start(UNIT, host.programs(UNIT))
    with pytest.raises(PlaneshiftError):
        host.port.wait_ready(host.url, UNIT, quiet)


# --- files that change under what runs


def test_new_files_are_served_after_a_reload_and_not_before(host: HostRig) -> None:
    host.start(UNIT)
    pids = host.state(UNIT).running
    host.lay_out(UNIT, "second")
    assert host.page() == "first"
    host.port.reload(UNIT, host.programs(UNIT))
    host.serves("second")
    assert host.state(UNIT).running == pids


def test_a_restart_brings_in_new_files_and_new_programs(host: HostRig) -> None:
    host.start(UNIT)
    before = host.state(UNIT)
    host.lay_out(UNIT, "second", setting="2")
    assert host.state(UNIT).supervision == before.supervision
    host.port.restart(UNIT, host.programs(UNIT, setting="2"))
    host.port.wait_ready(host.url, UNIT, quiet)
    after = host.state(UNIT)
    assert host.page() == "second"
    assert after.running["web"] != before.running["web"]
    assert after.supervision == host.files(UNIT, setting="2")[SUPERVISION].digest(b"")


def test_a_restart_starts_programs_again_that_have_not_changed(host: HostRig) -> None:
    host.start(UNIT)
    before = host.state(UNIT)
    host.lay_out(UNIT, "second")
    host.port.restart(UNIT, host.programs(UNIT))
    host.port.wait_ready(host.url, UNIT, quiet)
    assert host.state(UNIT).running["web"] != before.running["web"]
    host.serves("second")


def test_a_restart_starts_a_supervisor_that_is_gone(host: HostRig) -> None:
    host.lay_out(UNIT)
    host.port.restart(UNIT, host.programs(UNIT))
    host.port.wait_ready(host.url, UNIT, quiet)
    assert host.state(UNIT).supervised


def test_what_was_loaded_is_noted_and_kept_while_it_runs(host: HostRig) -> None:
    host.start(UNIT)
    host.port.mark_loaded(UNIT, "digest")
    host.lay_out(UNIT, "second")
    assert host.state(UNIT).loaded == "digest"
    host.port.stop(UNIT)
    host.port.remove(UNIT)
    host.lay_out(UNIT)
    assert host.state(UNIT).loaded == ""


# --- orphans


def test_what_lost_its_supervisor_serves_on_and_is_seen_as_orphaned(host: HostRig) -> None:
    host.start(UNIT)
    running = host.state(UNIT).running
    host.kill_supervisor(UNIT)
    state = host.state(UNIT)
    assert not state.supervised
    assert not state.running
    assert {o.pid for o in state.orphans} == set(running.values())
    assert host.page() == "first"


def test_orphans_are_ended_those_alone_and_the_unit_starts_anew(host: HostRig) -> None:
    host.start(UNIT)
    host.start(OTHER, port=PORT + 1)
    host.kill_supervisor(UNIT)
    host.port.end(UNIT, host.state(UNIT).orphans)
    assert host.state(UNIT).orphans == ()
    assert host.page() == ""
    assert set(host.state(OTHER).running) == {"web"}
    host.start(UNIT)
    assert host.page() == "first"


def test_a_process_of_the_same_number_but_another_start_is_left_alone(host: HostRig) -> None:
    host.start(UNIT)
    host.kill_supervisor(UNIT)
    (orphan,) = host.state(UNIT).orphans
    host.port.end(UNIT, [Process(orphan.pid, orphan.started + 1), Process(2**21, 1)])
    assert host.state(UNIT).orphans == (orphan,)


# --- stopping


def test_stopping_ends_all_of_a_unit_frees_its_place_and_may_be_repeated(host: HostRig) -> None:
    host.start(UNIT)
    for _ in range(2):
        host.port.stop(UNIT)
        state = host.state(UNIT)
        assert (state.supervised, dict(state.running), state.orphans) == (False, {}, ())
        assert host.port.listener(host.bind) is None


def test_what_ends_while_it_is_looked_at_is_no_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old worker that ends after a reload: listed, but gone when its descent is asked for."""
    found = local.LocalHost("here", HostPaths(runtime=str(tmp_path), state=str(tmp_path / "state")), os.environ)
    marker = {**os.environ, MARKER: f"{tmp_path}/{UNIT}#web"}
    with subprocess.Popen(["sleep", "600"], env=marker) as worker:
        try:
            until_marked(worker.pid, str(tmp_path))
            monkeypatch.setattr(Supervisord, "programs", lambda _: {})
            monkeypatch.setattr(Supervisord, "pid", lambda _: 1)
            assert [o.pid for o in found.units(KEY)[UNIT].orphans] == [worker.pid]

            def ends(_: Supervisord) -> int:
                worker.kill()
                worker.wait()
                return 1

            monkeypatch.setattr(Supervisord, "pid", ends)
            assert found.units(KEY)[UNIT].orphans == ()
        finally:
            worker.kill()


def until_marked(pid: int, prefix: str) -> None:
    """Wait until a child has become its program: before, it has our environment."""
    while pid not in {p.pid for p in processes.marked(prefix)}:
        time.sleep(0.01)


def test_stopping_ends_orphans_too(host: HostRig) -> None:
    host.start(UNIT)
    host.kill_supervisor(UNIT)
    host.port.stop(UNIT)
    assert host.state(UNIT).orphans == ()


@pytest.mark.parametrize("orphaned", [False, True])
def test_a_unit_whose_name_begins_with_that_of_the_stopped_one_runs_on(host: HostRig, orphaned: bool) -> None:
    host.start(UNIT, port=PORT + 1)
    host.start(OTHER)
    if orphaned:
        host.kill_supervisor(OTHER)
    host.port.stop(UNIT)
    assert host.page() == "first"
    assert len(host.state(OTHER).orphans) == orphaned


# --- commands and words


def test_a_command_of_an_environment_that_is_not_there_fails(host: HostRig) -> None:
    host.lay_out(UNIT)
    program = f"{host.port.paths.state}/environments/absent/bin/tool"
    with pytest.raises(PlaneshiftError) as caught:
        host.port.run([program], {}, f"{host.port.paths.runtime}/{UNIT}", quiet)
    assert caught.value.problems[0].code == "PS603"


def test_there_is_nothing_to_settle_where_nothing_was_begun(host: HostRig) -> None:
    said: list[str] = []
    host.port.settle(said.append)
    assert said == []


def test_the_last_lines_are_those_that_were_asked_for(host: HostRig) -> None:
    host.start(UNIT)
    assert len(host.port.tail(UNIT, 1)) <= 1
    assert host.port.tail("here/web/absent", 5) == []
