"""Which settings tie a service to the machine it runs on. Pure.

A service that moves takes its configuration along byte for byte; what names a place of one machine then means another
thing, or nothing. These are findings to read, not mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from posixpath import basename

from planeshift.catalog.registry import Option, Registry

__all__ = ["finding"]

_LOG_PLACES = {"log_file", "log_dir", "logfile", "logdir"}
_LOG_DAEMONS = {"use_syslog", "use_journal", "use_eventlog"}
_OWN_ADDRESSES = {"bind_host", "public_bind_host", "admin_bind_host"}
_OWN_NAMES = {"host", "my_ip"}  # in [DEFAULT] only; elsewhere `host` is somebody else's
_ANY_ADDRESS = {"0.0.0.0", "::", "[::]", "*"}  # noqa: S104  recognised, not bound
_FOR_BROWSERS = {"allowed_origin", "trusted_dashboard", "allowed_source_ranges"}
_LOOPBACK = re.compile(r"(?<![\w.:-])(localhost|127(?:\.\d+){3}|::1)(?![\w.-])")
_OF_ONE_MACHINE = re.compile(r"(?:file://|sqlite:///)?(/(?:var|srv|opt|home|root|mnt|media|data|run|exports?)/\S*)")


def finding(registry: Registry, option: Option, value: str, files: Collection[str]) -> str | None:
    """Why this value of `option` means another thing on another host or in a pod, as whole sentences, or None.

    `files` are the names of the files that travel with the service.
    """
    section, name = option.to or (option.section, option.name)
    per_host = (registry.per_host or {}).get(f"{section}/{name}")
    value = value.strip()
    if not value or "$" in value:
        return None
    return per_host or _log(name, value, files) or _address(section, name, value) or _path(value)


def _log(name: str, value: str, files: Collection[str]) -> str | None:
    if name in _LOG_PLACES:
        return "A log file stays on one machine and is lost with a pod; with `use_stderr = true` the log is collected."
    if name in _LOG_DAEMONS and value.lower() in ("true", "1", "yes", "on"):
        return "There is no such log daemon in a pod; with `use_stderr = true` the log is collected everywhere."
    if name == "log_config_append" and basename(value) not in {basename(file) for file in files}:
        return "The file is not among the service's files, and without it the service does not start."
    return None


def _address(section: str, name: str, value: str) -> str | None:
    if name in _OWN_ADDRESSES or (section == "DEFAULT" and name in _OWN_NAMES):
        fixed = value not in _ANY_ADDRESS
        return "It is the address or name of one machine; Planeshift gives each backend its own." if fixed else None
    if name not in _FOR_BROWSERS and _LOOPBACK.search(value):
        return "What listens on this machine is not there on another one or in a pod."
    return None


def _path(value: str) -> str | None:
    if _OF_ONE_MACHINE.match(value):
        return "It is a place on this machine: elsewhere it must exist as well, and what it holds does not come along."
    return None
