"""Every command killed by every signal at many of its lines: no plaintext is left anywhere, and files are whole.

Whole means: what they were before, or what the command makes of them. PLANESHIFT_SOAK=1 tries far more lines.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fakecloud import FakeCloud
from secretrig import Key

from planeshift.secrets import work

SIGNALS = ("HUP", "INT", "QUIT", "ABRT", "TERM", "KILL")
LINES = 80 if os.environ.get("PLANESHIFT_SOAK") else 2  # of each signal and command
CANARY, NEW = (f"canary{os.urandom(9).hex()}" for _ in range(2))
TEXT = f"# c\ndb:\n    password: {CANARY}\n    user: glance\nport: 1\n"
OTHER = str(pyrage.x25519.Identity.generate().to_public())
OLD_KEY, NONCE = os.urandom(32), os.urandom(12)


@dataclass(frozen=True)
class Command:
    """A command line, and what it may make of files: by path, the texts in the clear that are right besides the old one."""

    argv: tuple[str, ...]
    stdin: str = ""
    makes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    clear: tuple[str, ...] = ()  # files that hold the canary because they were asked to, or hold it to begin with


CHANGED = TEXT.replace(CANARY, NEW)
HELM = {"HELM_BIN": "program", "KUBECTL": "program"}
COMMANDS = {
    "view": Command(("view", "s.yaml")),
    "view-path": Command(("view", "s.yaml", "--path", "db.password")),
    "dec": Command(("dec", "s.yaml")),
    "dec-in-place": Command(
        ("dec", "--in-place", "s.yaml"), makes={"s.yaml": (TEXT,)}, clear=("s.yaml", ".s.yaml.new")
    ),
    "enc": Command(("enc", "p.yaml"), makes={"p.yaml": (TEXT,)}, clear=("p.yaml",)),
    "enc-stdin": Command(("enc", "-"), stdin=TEXT),
    "set": Command(("set", "s.yaml", "db.password"), stdin=NEW, makes={"s.yaml": (CHANGED,)}),
    "unset": Command(("unset", "s.yaml", "port"), makes={"s.yaml": (TEXT.replace("port: 1\n", ""),)}),
    "edit": Command(("edit", "s.yaml"), makes={"s.yaml": (CHANGED,)}, env={"EDITOR": "editor"}),
    "diff": Command(("diff", "--show", "s.yaml", "--with", "t.yaml")),
    "keys": Command(("keys", "s.yaml")),
    "doctor": Command(("doctor", "s.yaml")),
    "rewrap": Command(("rewrap", "t.yaml"), makes={"t.yaml": (TEXT,)}),
    "rotate-key": Command(("rotate-key", "s.yaml"), makes={"s.yaml": (TEXT,)}),
    "audit": Command(("audit", "--proof")),
    "migrate": Command(("migrate", "old/s.yaml", "--age", "KEY"), makes={"old/s.yaml": (TEXT,)}),
    "key-create": Command(("key", "create", "cloud/glance")),
    "install": Command(("install", "r", "c", "-f", "s.yaml", "--set-file", "x=f.txt"), env=HELM),
    "upgrade": Command(("upgrade", "r", "c", "-fs.yaml"), env=HELM),
    "lint": Command(("lint", "c", "--values=s.yaml"), env=HELM),
    "template": Command(("template", "r", "c", "--values", "t.yaml,s.yaml"), env=HELM),
    "kubectl": Command(("kubectl", "apply", "-f", "s.yaml"), env=HELM),
    "kubectl-diff": Command(("kubectl", "diff", "-f", "s.yaml"), env=HELM),
}
# What helm and kubectl do with a file, as far as it matters here: they read it, and some write what it holds to TMPDIR.
PROGRAM = """\
#!/bin/sh
for word; do last=$word; done
case $last in x=*) last=${last#x=} ;; *,*) last=${last#*,} ;; --values=*) last=${last#*=} ;; -f*) last=${last#-f} ;; esac
test "$1" = diff || exec cat "$last"
cat "$last" >"$TMPDIR/live" && kill -$KILLED_BY $$
"""
EDITOR = f"#!/bin/sh\nsed -i 's/{CANARY[:8]}[0-9a-f]*/{NEW}/' $1\n"


@pytest.fixture(scope="module")
def rig() -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    argv = [sys.executable, str(Path(__file__).with_name("killrig.py"))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        sent, came = process.stdin, process.stdout

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            sent.write(json.dumps(request) + "\n")
            sent.flush()
            answer: dict[str, Any] = json.loads(came.readline())
            return answer

        yield ask
        sent.close()


@pytest.fixture(scope="module")
def everywhere() -> Iterator[tuple[set[Path], set[str]]]:
    """Places that tests have searched themselves, and what else is to be hidden: at the end, nothing is found elsewhere."""
    searched, hidden, begun = set[Path](), {CANARY, NEW}, time.time() - 1
    yield searched, hidden
    tops = [Path(p) for p in ("/tmp", "/dev/shm", "/var/tmp", "/run")]
    found = holders(sorted(hidden), tops, begun)
    assert {p for p in found if not searched & set(p.parents)} == set()


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    fake = FakeCloud()
    fake.secrets["old"] = "\n".join(base64.b64encode(b).decode() for b in (OLD_KEY, NONCE))
    fake.names["old"] = "old"
    yield fake
    fake.close()


@pytest.fixture
def tree(place: Path, key: Key) -> dict[str, bytes]:
    """Sealed files, one of helm-barbican's, one in the clear, an editor, a helm; their contents by path."""
    (place / "old").mkdir()
    (place / "tmp").mkdir()
    for name, text in {"editor": EDITOR, "program": PROGRAM}.items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    old = AESGCM(OLD_KEY).encrypt(NONCE, TEXT.encode(), None)
    files = {
        "s.yaml": work.encrypt("s.yaml", TEXT.encode()),
        "t.yaml": work.encrypt("t.yaml", TEXT.encode(), age=(key.public,)),
        "f.txt": work.encrypt("f.txt", CANARY.encode()),
        "old/s.yaml": base64.b64encode(old),
    }
    for name, content in files.items():
        (place / name).write_bytes(content)
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x"], check=True)
    return {**files, "p.yaml": TEXT.encode()}


def forms(text: str) -> list[bytes]:
    """A text as it is, and within base64, wherever it begins."""
    inner = [base64.b64encode(b"-" * shift + text.encode())[4 * (shift > 0) + 2 : -6] for shift in range(3)]
    return [text.encode(), *inner]


def holders(texts: list[str], tops: list[Path], since: float) -> set[Path]:
    """The files below some directories, of one file system each, changed since, that hold a text."""
    wanted = [form for text in texts for form in forms(text)]
    found = set()
    for top in tops:
        device = top.stat().st_dev if top.is_dir() else -1
        for folder, names, files in os.walk(top):
            names[:] = [n for n in names if _device(Path(folder, n)) == device]
            for name in files:
                path = Path(folder, name)
                try:
                    state = path.lstat()
                    if path.is_file() and not path.is_symlink() and state.st_ctime >= since and state.st_size < 1 << 26:
                        content = path.read_bytes()
                        found |= {path} if any(w in content for w in wanted) else set()
                except OSError:
                    continue
    return found


def _device(path: Path) -> int:
    try:
        return path.lstat().st_dev
    except OSError:
        return -1


def whole(path: Path, before: bytes, right: tuple[str, ...]) -> None:
    """A file is what it was, or what the command makes of it: sealed, or in the clear where that was asked for."""
    now = path.read_bytes()
    if now == before or now.decode("utf-8", "replace") in right:
        return
    assert work.view(str(path)) in right


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_anywhere_nothing_is_left_in_the_clear_and_files_are_whole(
    place: Path,
    tree: dict[str, bytes],
    key: Key,
    cloud: FakeCloud,
    rig: Callable[..., Any],
    everywhere: tuple[set[Path], set[str]],
    name: str,
) -> None:
    command, begun = COMMANDS[name], time.time() - 1
    everywhere[0].add(place)
    env = {**os.environ, **cloud.environment, "TMPDIR": str(place / "tmp"), "SOPS_EDITOR": "", "VISUAL": ""}
    env |= {variable: str(place / program) for variable, program in command.env.items()}
    argv = ["secrets", *(key.public if word == "KEY" else word for word in command.argv)]
    request = {"argv": argv, "env": env, "directory": str(place), "stdin": command.stdin, "hidden": [CANARY, NEW]}
    kept = {place / p for p in command.clear} | {place / "editor"}

    def run(sign: str, line: int) -> int:
        for path, content in tree.items():
            if path != "p.yaml" or name == "enc":
                (place / path).write_bytes(content)
        if name == "rewrap":
            (place / ".sops.yaml").write_text(f"creation_rules: [{{age: '{key.public},{OTHER}'}}]\n")
        env["KILLED_BY"] = sign or "KILL"
        number = signal.Signals[f"SIG{sign}"] if sign else 0
        done = rig({**request, "signal": number, "line": line})
        what = f"{sign} at line {line}: {done}"
        assert done["shown"] == [] and done["left"] == [], what
        assert sign or not os.WIFSIGNALED(done["status"]) or name == "kubectl-diff", what
        for path, right in command.makes.items():
            whole(place / path, tree[path], right)
        for path in set(tree) - set(command.makes) - {"p.yaml"}:
            assert (place / path).read_bytes() == tree[path], what
        assert holders([CANARY, NEW], [place], begun) <= kept, what
        return int(done["lines"])

    total = run("", 0)
    assert total > 20
    for at, sign in enumerate(SIGNALS):
        for number in range(LINES):
            run(sign, 1 + total * (number * len(SIGNALS) + at) // (LINES * len(SIGNALS)))
    assert not list(place.rglob("core*"))
    everywhere[1].update(json.loads(s)["key"] for s in cloud.secrets.values() if s.startswith("{"))
