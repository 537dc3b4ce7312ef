"""Planeshift: one file declares an OpenStack control plane; this package plans it, runs it and moves it.

cloud = planeshift.load("cloud.yaml")
print(cloud.plan().operations)
cloud.apply()
print(cloud.status())
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs a fifth of `planeshift --version`
if TYPE_CHECKING:
    from planeshift.app.api import Cloud

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | None = None) -> Cloud:
    """Read and check a cloud file; None finds `cloud.yaml` here or above.

    Raises `planeshift.errors.PlaneshiftError` with every problem found.
    """
    from planeshift.app.api import Cloud

    return Cloud.load(path)
