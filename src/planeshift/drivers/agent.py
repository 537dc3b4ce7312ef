"""A host's driver at work in another place: `LocalHost` over a pipe, a line of JSON each way for each call.

It is started where the host's own namespaces are (`python -m planeshift.drivers.agent`), takes calls on its standard input
and ends with it. What is asked and answered follows the type hints of `LocalHost`, so that there is one place that says
what a call is.

Lines to the agent: first {"name", "paths", "patience", "ready_seconds"}, then {"id", "method", "arguments"}, or nothing,
which says that somebody is there; from it: {"id"} with one of "say", "result", "problems". With a patience it ends, too,
when it has heard nothing for as many seconds.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
import threading
import time
import traceback
import typing
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from planeshift.drivers.local import host as local
from planeshift.drivers.local.host import LocalHost
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render.desired import HostPaths

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


@functools.cache
def adapters(method: str) -> tuple[Mapping[str, TypeAdapter[Any]], TypeAdapter[Any]]:
    """How a method's arguments (but for `say`) and its result are written."""
    hints = typing.get_type_hints(getattr(LocalHost, method))
    result = hints.pop("return", type(None))
    hints.pop("say", None)
    return {name: _adapter(hint) for name, hint in hints.items()}, _adapter(result)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(list[hint], config=_CONFIG)  # in a list, since a dataclass alone takes no configuration


def methods() -> frozenset[str]:
    """What may be asked of an agent."""
    return frozenset(name for name, _ in inspect.getmembers(LocalHost, inspect.isfunction) if not name.startswith("_"))


def plain(adapter: TypeAdapter[Any], value: Any) -> Any:
    """A value as JSON holds it."""
    return json.loads(adapter.dump_json([value], warnings=False))[0]


def back(adapter: TypeAdapter[Any], value: Any) -> Any:
    """A value of what JSON held."""
    return adapter.validate_json(json.dumps([value]))[0]


def problems_to(problems: tuple[Problem, ...]) -> list[dict[str, str]]:
    """Problems as JSON holds them; a host's have no place in the operator's files."""
    return [{"code": p.code, "message": p.message, "why": p.why, "hint": p.hint} for p in problems]


def problems_from(found: list[dict[str, str]]) -> list[Problem]:
    """The same, back."""
    return [Problem(p["code"], p["message"], why=p["why"], hint=p["hint"]) for p in found]


class _Agent:
    def __init__(self, host: LocalHost) -> None:
        self.host, self.lock = host, threading.Lock()

    def send(self, line: dict[str, Any]) -> None:
        with self.lock:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    def call(self, asked: dict[str, Any]) -> None:
        number, method = asked["id"], asked["method"]
        try:
            arguments, result = adapters(method)
            given = {name: back(arguments[name], value) for name, value in asked["arguments"].items()}
            if "say" in inspect.signature(getattr(LocalHost, method)).parameters:
                given["say"] = lambda line: self.send({"id": number, "say": line})
            found = getattr(self.host, method)(**given)
            self.send({"id": number, "result": plain(result, found)})
        except PlaneshiftError as error:
            self.send({"id": number, "problems": problems_to(error.problems)})
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            bug = Problem("PS901", f"a bug of planeshift: {type(error).__name__} in {where.name}", why=str(error)[:500])
            self.send({"id": number, "problems": problems_to((bug,))})


def main() -> None:
    """Serve calls until the standard input ends."""
    begin = json.loads(sys.stdin.readline())
    agent = _Agent(LocalHost(begin["name"], HostPaths(**begin["paths"]), os.environ))
    local.READY_SECONDS = begin["ready_seconds"]
    heard = [time.monotonic()]
    if begin["patience"]:
        threading.Thread(target=_wait_for_word, args=(heard, begin["patience"]), daemon=True).start()
    with ThreadPoolExecutor(16) as pool:
        for line in sys.stdin:
            heard[0] = time.monotonic()
            if line.strip():
                pool.submit(agent.call, json.loads(line))
        sys.stdout.flush()
        os._exit(0)  # who asked is gone; what it had begun is known by its marker


def _wait_for_word(heard: list[float], patience: float) -> None:
    """End where nothing is heard: a network that was cut does not say so."""
    while time.monotonic() - heard[0] < patience:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
