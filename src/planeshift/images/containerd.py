"""Images into containerd, by its own ctr, from a pipe: nothing is written twice."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from typing import BinaryIO, cast

from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.images.debian import need
from planeshift.images.store import Store


def load(store: Store, names: Sequence[str], *, namespace: str, address: str) -> None:
    """Import images. Raises PlaneshiftError: PS424 without ctr, PS446 with containerd's words where it refuses."""
    place = ["--address", address, "--connect-timeout", "5s", "--namespace", namespace]
    command = [need("ctr", "containerd"), *place, "images", "import", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=False
    ) as process:
        said: list[bytes] = []
        assert process.stdin and process.stdout  # noqa: S101 - they are pipes
        reader = threading.Thread(target=lambda out=process.stdout: said.append(out.read()))
        reader.start()
        try:
            store.write_archive(names, cast(BinaryIO, process.stdin))
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early, and says why
        finally:
            if process.stdin and not process.stdin.closed:
                process.kill()
        reader.join()
    if process.returncode:
        why = control_free(b"".join(said).decode("utf-8", "replace").strip()[-1000:].replace("\n", " "))
        hint = f"Is containerd running, and is {address} its socket? `--address` names another."
        raise PlaneshiftError(Problem("PS446", "containerd did not take the images", why=why, hint=hint))
