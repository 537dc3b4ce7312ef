"""Directories that are complete or not there at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from planeshift.drivers.local import processes


@contextlib.contextmanager
def beside(final: Path) -> Iterator[Path]:
    """A name for a new directory, which takes the place of `final` when all went well, and goes when it did not.

    What a killed run left there is removed first.
    """
    partial = final.parent / f".{final.name}.{os.getpid()}.{threading.get_ident()}.partial"
    for left in final.parent.glob(f".{final.name}.*.partial"):
        if processes.identity(int(left.name.split(".")[-3])) is None:  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
    try:
        yield partial
        if not final.is_dir():  # another run may have been quicker
            partial.replace(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
