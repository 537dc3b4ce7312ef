"""The catalog's registries against the real oslo.config of installed services.

PLANESHIFT_TEST_VENVS names venvs that have a release installed: `keystone/2026.2=PATH,glance/2026.1=PATH,…`
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from planeshift.catalog.inifile import parse, render
from planeshift.catalog.options import check
from planeshift.catalog.optiontypes import fault
from planeshift.catalog.registry import Registry

CATALOG = Path(__file__).parents[2] / "src" / "planeshift" / "catalog"
PROBE = Path(__file__).with_name("registry_probe.py")
VENVS = dict(item.split("=", 1) for item in os.environ.get("PLANESHIFT_TEST_VENVS", "").split(",") if "=" in item)
VALUES = [
    "", " ", "true", "Yes", "maybe", "0", "1", "-1", "07", " 5 ", "1.5", "1e3", "99999", "70000", "many", "a,b", "a:b",
    "a:b,c:d", "a:b,a:c", "a:1", "a:", ":a", "a:b,c", "[a,b]", "[]", "[a", "{a:b}", "'a'", "'a", "1,", ",", "192.0.2.1",
    "192.0.2", "::1", "fe80::1%eth0", "localhost", "a_b", "-a", "a.example.org.", "1.2.3.4.5", "http://h", "https://u:p@h:1/x?y#z",
    "http://", "h:80", "file:///x", "rabbit://h1,h2/", "http://a_b/c d", "http://[::1]:9/", "sql", "SQL", "basic", "Seconds",
    "interval", "qcow2", "ENCRYPT", "encrypt", "x" * 300, "1-5", "web-download", "[web-download]", "['web-download']",
]  # fmt: skip


@pytest.fixture(params=sorted(VENVS) or [None])
def release(request: pytest.FixtureRequest) -> str:
    if request.param is None:
        pytest.skip("PLANESHIFT_TEST_VENVS names no venvs of installed services")
    return str(request.param)


@cache
def registry(release: str) -> Registry:
    service, series = release.split("/")
    return Registry.load((CATALOG / service / "releases" / series / "options.json").read_text())


@cache
def answers(release: str) -> Any:
    asked = {"values": VALUES, "file": every_option(registry(release)), "texts": texts()}
    python = Path(VENVS[release]) / "bin" / "python"
    run = subprocess.run([python, PROBE], input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def every_option(known: Registry) -> str:
    """A file with every option, old names too, each with a value that its registered type takes."""
    sections: dict[str, list[tuple[str, str]]] = {}
    view = known.known(())
    for section, specs in known.sections.items():
        for name in specs:
            option = view.option(section, name)
            assert option
            good = (value for value in [*choices(option.spec), *VALUES] if value and fault(option.spec, value) is None)
            sections.setdefault(section, []).append((name, next(good).strip("'")))
    return render(sections)


def choices(spec: Any) -> list[str]:
    """Values worth trying for a type, from its choices."""
    if isinstance(spec, str):
        return ["http://h"] if spec == "any" else []
    given = [str(choice) for choice in spec.get("choices", ()) if choice]
    return given + [f"[{choice}]" for choice in choices(spec.get("item", "str"))] + choices(spec.get("item", "str"))


@cache
def texts() -> list[str]:
    """Files, most of them broken somewhere, that try the parser."""
    dice = random.Random(20260202)
    pieces = [
        "[a]",
        "[DEFAULT]",
        "[",
        "]",
        "key",
        "k2",
        "=",
        ":",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\n ",
        "#",
        ";",
        "'",
        '"',
        "v w",
        "\u2028",
    ]
    made = ["".join(dice.choices(pieces, k=dice.randint(1, 14))) for _ in range(3000)]
    return made + [f"[a]\n{text}" for text in made]


def test_every_listed_option_is_in_the_registry(release: str) -> None:
    view = registry(release).known(())
    drivers = {name.partition("/")[2].lower() for name in registry(release).templates if name.startswith("store/")}
    missing = []
    for section, name, _ in answers(release)["options"]:
        option = view.option(section, name)
        sample = section.lower() in drivers or ".store." in section.lower()  # a store under its driver's name
        if option.to if option else not sample:
            missing.append(f"{section}/{name}")
    assert missing == []


def test_the_real_oslo_config_reads_a_file_with_every_option(release: str) -> None:
    assert answers(release)["failed"] == []
    assert [
        str(p) for p in check({"all.conf": every_option(registry(release))}, registry(release)) if not p.warning
    ] == []


def test_values_are_judged_as_oslo_config_does(release: str) -> None:
    view = registry(release).known(())
    real: dict[tuple[str, str], list[list[bool]]] = {}
    for section, name, accepted in answers(release)["options"]:
        real.setdefault((section, name), []).append(accepted)
    differ = []
    for (section, name), judgements in real.items():
        option = view.option(section, name)
        if option and option.spec != "any":  # a type of the service's own
            mine = [fault(option.spec, value) is None for value in VALUES]
            if mine not in judgements:  # libraries may define one option differently; ours is one of them
                wrong = [value for value, i, they in zip(VALUES, mine, judgements[0], strict=True) if i != they]
                differ.append(f"{section}/{name} {option.spec}: {wrong}")
    assert differ == []


def test_files_are_parsed_as_oslo_config_does(release: str) -> None:
    for text, real in zip(texts(), answers(release)["parsed"], strict=True):
        file = parse(text, "n")
        if real is None:
            assert file.problems, repr(text)
            continue
        mine: dict[str, dict[str, list[str]]] = {header.name: {} for header in file.headers}
        for entry in file.entries:
            mine[entry.section].setdefault(entry.key, []).append(entry.value)
        assert (mine, file.problems) == (real, ()), repr(text)
