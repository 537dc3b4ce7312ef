"""Objects of one namespace: looked up, made, removed."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from lightkube import Client
from lightkube.core.exceptions import ApiError

from planeshift.drivers.kubernetes import api


class Talk:
    """A cluster's API, for one namespace. An empty `kubeconfig` is the user's own, an empty `context` its current one."""

    def __init__(self, name: str, kubeconfig: str, context: str, namespace: str, hint: str = "") -> None:
        self.name, self.namespace = name, namespace
        self._kubeconfig, self._context, self._hint = kubeconfig, context, hint

    @cached_property
    def client(self) -> Any:  # its objects have every field optional, and we ask the API for what must be there
        """The client that all share."""
        return self.connect()

    def connect(self, quiet: float | None = None) -> Client:
        """A client of one's own, to be closed by the thread that uses it; `quiet`: see api.connect."""
        return api.connect(self.name, self._kubeconfig, self._context, self.namespace, self._hint, quiet)

    def get(self, kind: Any, name: str) -> Any:
        """An object; None where there is none, or no name."""
        if not name:
            return None
        try:
            return self.client.get(kind, name)
        except ApiError as error:
            if api.missing(error):
                return None
            raise

    def create(self, wanted: Any) -> None:
        """Make an object, unless it is there."""
        try:
            self.client.create(wanted)
        except ApiError as error:
            if not api.exists(error):
                raise

    def delete(self, kind: Any, name: str, **how: Any) -> None:
        """Remove an object, where it is there."""
        try:
            self.client.delete(kind, name, **how)
        except ApiError as error:
            if not api.missing(error):
                raise
