"""The cluster's API, and its errors as ours. Library: https://lightkube.readthedocs.io."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
from lightkube import Client, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.core.exceptions import ApiError, ConfigError

from planeshift.drivers.kubernetes.patience import Transport
from planeshift.errors import PlaneshiftError, Problem

SECONDS = 15.0  # for an answer
CLOUD, SERVICE, BACKEND = "planeshift.dev/cloud", "planeshift.dev/service", "planeshift.dev/backend"
# Of a Helm release: its chart's digest, and those of the objects that hold its files.
CHART, CONFIG, SECRET = "planeshift.dev/chart", "planeshift.dev/config", "planeshift.dev/secret"
ITEMS = "planeshift.dev/items"  # annotation of such an object: the path of each key


def connect(
    name: str, kubeconfig: str, context: str, namespace: str, hint: str = "", quiet: float | None = None
) -> Client:
    """A client of a cluster. An empty `kubeconfig` is KUBECONFIG, else the user's own; an empty `context` its current.

    `quiet` are seconds after which a watch breaks off if nothing comes; without, it lasts as long as the server has it.
    Raises PlaneshiftError (PS712), with `hint`, where the file does not say how to reach it.
    """
    path = Path(kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config").expanduser()
    try:
        found = KubeConfig.from_file(path).get(context_name=context or None)
    except (ConfigError, OSError, KeyError, ValueError, TypeError) as error:
        hint = hint or "Name its file by `kubeconfig:` of the cluster, or by KUBECONFIG."
        what = f"how to reach {name} is not said by {path}"
        raise PlaneshiftError(Problem("PS712", what, why=str(error), hint=hint)) from error
    if found is None or found.user is None:
        what = f"{path} has no context `{context}`" if found is None else f"{path} does not say who we are"
        raise PlaneshiftError(Problem("PS712", what, hint="kubectl config get-contexts"))
    timeout = httpx2.Timeout(SECONDS)
    return Client(
        config=found,
        namespace=namespace,
        field_manager="planeshift",
        timeout=timeout,
        trust_env=False,
        transport=Transport(verify_cluster(found.cluster, found.user, found.abs_file, trust_env=False), quiet),
    )


@contextlib.contextmanager
def answering(name: str) -> Iterator[None]:
    """Turn errors of the API into a PlaneshiftError: it does not answer (PS711), or refuses (PS712, PS713)."""
    try:
        yield
    except ApiError as error:
        code = error.status.code or 0
        if code in (401, 403):
            hint = "Renew the credentials in the kubeconfig, or let an administrator grant what is missing."
            raise PlaneshiftError(Problem("PS712", f"{name} refuses us", why=str(error), hint=hint)) from error
        if code == 429 or code >= 500:
            raise PlaneshiftError(Problem("PS711", f"{name} does not answer well", why=str(error))) from error
        raise PlaneshiftError(Problem("PS713", f"{name} refuses an object", why=str(error))) from error
    except httpx2.HTTPError as error:
        why = f"{type(error).__name__}: {error}"
        hint = "See that its API server runs and can be reached; nothing was half-done."
        raise PlaneshiftError(Problem("PS711", f"the API of {name} does not answer", why=why, hint=hint)) from error


def missing(error: ApiError) -> bool:
    """Whether an error says that there is no such object."""
    return error.status.code == 404


def exists(error: ApiError) -> bool:
    """Whether an error says that there is such an object already."""
    return error.status.code == 409
