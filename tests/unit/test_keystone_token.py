"""Keystone's round trip where a site forbids that a token is made of another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from keystoneauth1.exceptions import Forbidden
from keystoneauth1.identity import v3

from planeshift.catalog.keystone.verify import verify


class Identity:
    """Keystone's answers to a token that is looked at and revoked."""

    def __init__(self) -> None:
        self.revoked: list[str] = []

    def get(self, path: str, headers: dict[str, str]) -> Any:
        found = headers["X-Subject-Token"] not in self.revoked
        return SimpleNamespace(status_code=200 if found else 404, json=lambda: {"token": {"roles": ["admin"]}})

    def delete(self, path: str, headers: dict[str, str]) -> Any:
        self.revoked.append(headers["X-Subject-Token"])
        return SimpleNamespace(status_code=204)


@pytest.mark.parametrize("forbidden", [False, True])
def test_the_token_to_be_revoked_is_another_one_however_it_is_had(
    forbidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_token(plugin: v3.Token, session: object) -> Any:
        if forbidden:
            raise Forbidden
        return SimpleNamespace(auth_token="of the first")

    monkeypatch.setattr(v3.Token, "get_auth_ref", of_token)
    auth = SimpleNamespace(
        auth_url="http://192.0.2.1/v3",
        get_token=lambda session: "the first",
        get_project_id=lambda session: "p",
        get_auth_ref=lambda session: SimpleNamespace(auth_token="by password"),
    )
    identity = Identity()
    said = list(verify(SimpleNamespace(session=SimpleNamespace(auth=auth), identity=identity)))
    assert said[-1] == "a revoked token was refused"
    assert identity.revoked == ["by password" if forbidden else "of the first"]
