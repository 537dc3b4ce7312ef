"""Runs inside a service's venv: what the real oslo.config says. JSON in on stdin, JSON out on the last line of stdout."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile

from oslo_config import cfg, iniparser

sys.argv[1:] = []  # some services parse the command line when imported


def listed():
    """(section, option) of every listed option; a package whose optional library is missing has none."""
    for point in importlib.metadata.entry_points(group="oslo.config.opts"):
        try:
            groups = point.load()() if ".tests." not in point.value else []
        except ImportError:
            continue
        for group, options in groups.items() if isinstance(groups, dict) else groups:
            name = "DEFAULT" if group is None else str(getattr(group, "name", group))
            for option in options:
                if option.dest not in ("config_file", "config_dir"):  # the command line's
                    yield name, option


def accepts(option, value):
    try:
        option.type(value)
    except ValueError:
        return False
    return True


def read_back(text):
    """Registers every listed option, reads `text` as a file, and asks for every value; what fails is returned."""
    conf, failed = cfg.ConfigOpts(), []
    names = set()
    for section, option in listed():
        try:
            conf.register_opt(option, group=None if section == "DEFAULT" else section)
            names.add((section, option.dest))
        except cfg.DuplicateOptError:
            pass
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        conf(["--config-file", file.name], project="probe", default_config_dirs=[])
        for section, name in sorted(names):
            try:
                getattr(conf if section == "DEFAULT" else conf[section], name)
            except cfg.ConfigFileValueError as error:
                failed.append([section, name, str(error)])
    return failed


def parsed(text):
    """What the real parser makes of `text`: its entries, or None where it refuses the file."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf", newline="") as file:
        file.write(text)
        file.flush()
        sections = {}
        try:
            cfg.ConfigParser(file.name, sections).parse()
        except (iniparser.ParseError, cfg.ConfigFileParseError):
            return None
    return sections


asked = json.load(sys.stdin)
answers = [[s, o.dest, [accepts(o, value) for value in asked["values"]]] for s, o in listed()]
answer = {"options": answers, "failed": read_back(asked["file"]), "parsed": [parsed(text) for text in asked["texts"]]}
print()
print(json.dumps(answer))
sys.stdout.flush()
os._exit(0)
