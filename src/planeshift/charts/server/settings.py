"""What `planeshift chart serve` can be told. Names are ChartMuseum's where it has the thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from planeshift.charts.repository import Rules


@dataclass(frozen=True)
class Settings:
    """How the server behaves; who may use it is `auth`'s business."""

    depth: int | None = 0  # of tenants' paths; None: any
    context_path: str = ""
    rules: Rules = field(default_factory=Rules)
    allow_overwrite: bool = False
    allow_force: bool = True
    api: bool = True
    deletion: bool = True
    oci: bool = True
    metrics: bool = True
    max_upload: int = 20 * 1024 * 1024
    chart_field: str = "chart"
    prov_field: str = "prov"
    read_timeout: float = 30
    cors_origin: str = ""
    artifacthub: Mapping[str, str] = field(default_factory=dict)  # tenant → repository ID
    web: Path | None = None  # pages of the operator's own, instead of ours
    look_interval: float = 60  # seconds between two looks at the whole store
    log_health: bool = False
    log_json: bool = False
    version: str = ""
