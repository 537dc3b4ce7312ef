"""Keystone's round trip: issue a token, validate it, revoke it, see it refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def verify(connection: Any) -> Iterator[str]:
    """Prove Keystone through the edge.

    `connection` is an openstacksdk Connection of an administrator. Yields what was proved, a sentence a step; raises
    what the client raises, or AssertionError with the sentence that does not hold. Leaves nothing behind.
    """
    auth = connection.session.auth
    token = auth.get_token(connection.session)
    yield "a token was issued"
    identity = connection.identity
    answer = identity.get("/auth/tokens", headers={"X-Subject-Token": token})
    if answer.status_code != 200 or not answer.json()["token"]["roles"]:
        raise AssertionError("the token was not found valid")
    yield "the token was found valid"
    other = _another(connection.session, token)
    subject = {"X-Subject-Token": other.auth_token}
    if identity.delete("/auth/tokens", headers=subject).status_code != 204:
        raise AssertionError("the token was not revoked")
    answer = identity.get("/auth/tokens", headers=subject)
    if answer.status_code != 404:
        still = "is still valid" if answer.status_code == 200 else f"was answered with status {answer.status_code}"
        raise AssertionError(f"the revoked token {still}")
    yield "a revoked token was refused"


def _another(session: Any, token: str) -> Any:
    """A token of its own, to be revoked; for the first one, since each password costs Keystone a third of a second.

    By password where a site has forbidden that: `[token] allow_rescope_scoped_token`.
    """
    from keystoneauth1.exceptions import Forbidden
    from keystoneauth1.identity import v3

    auth = session.auth
    try:
        return v3.Token(auth.auth_url, token, project_id=auth.get_project_id(session)).get_auth_ref(session)
    except Forbidden:
        return auth.get_auth_ref(session)
