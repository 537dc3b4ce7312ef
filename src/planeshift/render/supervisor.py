"""supervisord's configuration for one unit. Pure. Format: http://supervisord.org/configuration.html."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from planeshift.render.desired import Program

MARKER = "PLANESHIFT_UNIT"


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
