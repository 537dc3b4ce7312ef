"""What a unit's supervisor reads. Pure. Format of supervisord's: http://supervisord.org/configuration.html."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from planeshift.render import systemd
from planeshift.render.desired import File, HostPaths, Program

MARKER = "PLANESHIFT_UNIT"
SUPERVISORD = "supervisord.conf"


def files(paths: HostPaths, directory: str, log: str, identifier: str, programs: Sequence[Program]) -> dict[str, File]:
    """The files, by path below the unit's `directory`, for the supervisor that its host has."""
    if paths.supervisor == "systemd":
        made = systemd.services(directory, paths.state, programs, root=paths.root)
        return {name: File(content) for name, content in made.items()}
    return {SUPERVISORD: File(supervisord(directory, f"{log}/supervisord.log", identifier, programs))}


def supervision(digests: Mapping[str, str]) -> str:
    """One digest of what a supervisor reads, of the digests of all files of a unit; empty where there is none."""
    return "+".join(d for path, d in sorted(digests.items()) if path == SUPERVISORD or path.endswith(systemd.SUFFIX))


def supervisord(directory: str, log: str, identifier: str, programs: Sequence[Program]) -> bytes:
    """The file's text. `directory` is the unit's own, which holds the socket and pid file."""
    parts = [
        _section(
            "supervisord",
            logfile=log,
            logfile_maxbytes="10MB",
            logfile_backups="2",
            pidfile=f"{directory}/supervisord.pid",
            identifier=identifier,
            directory=directory,
            umask="027",
            minfds="4096",
        ),
        _section("unix_http_server", file=f"{directory}/supervisor.sock", chmod="0600"),
        _section(
            "rpcinterface:supervisor",
            **{"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
    ]
    return "\n".join(parts + [_program(directory, program) for program in programs]).encode()


def _program(directory: str, program: Program) -> str:
    environment = ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(program.environment.items()))
    return _section(
        f"program:{program.name}",
        command=_escape(shlex.join(program.argv)),
        environment=environment,
        directory=directory,
        autorestart="true",
        startsecs="1",
        startretries="1000000",  # a database that is down for an hour must not leave a service stopped for good
        stopsignal=program.stop_signal,
        stopwaitsecs=str(program.stop_seconds),
        redirect_stderr="true",
        stdout_logfile=_escape(program.log),
        stdout_logfile_maxbytes="20MB",
        stdout_logfile_backups="3",
    )


def _section(name: str, **options: str) -> str:
    return "\n".join([f"[{name}]", *(f"{option} = {value}" for option, value in options.items()), ""])


def _escape(text: str) -> str:
    """supervisord expands %(name)s; and a comment begins at ` ;`."""
    if any(c in text for c in '"\n\r') or " ;" in text:
        raise ValueError(f"cannot be said in supervisord's configuration: {text!r}")
    return text.replace("%", "%%")
