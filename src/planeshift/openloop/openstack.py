"""Loads of Keystone and Glance: what costs them little, and what costs them much. Pure.

Every flow but `cheap` needs a token to begin with, as `Load.kept`: {"token": …}; those issued by `dear` take its place.
"""

from __future__ import annotations

import json

from planeshift.openloop.plan import Flow, Step

_JSON = {"Content-Type": "application/json"}
_AUTH = {"X-Auth-Token": "{token}"}
_BYTES = {"Content-Type": "application/octet-stream"}
_IMAGE = json.dumps({"name": "load", "disk_format": "raw", "container_format": "bare"})
SMALL, LARGE = 1 << 20, 10 << 20
CHEAP = frozenset({"keystone-version", "glance-health"})  # the steps' names of `cheap`


def cheap(keystone: str, glance: str, rate: float) -> tuple[Flow, ...]:
    """Version documents and health, `rate` requests a second; the URLs are the services' roots."""
    steps = (
        Step(name="keystone-version", url=f"{keystone}/v3"),
        Step(name="glance-health", url=f"{glance}/healthcheck"),
    )
    return tuple(Flow(steps=(step,), rate=rate / len(steps)) for step in steps)


def dear(keystone: str, glance: str, credentials: str, rate: float) -> tuple[Flow, ...]:
    """Tokens issued and validated, images listed, sent and fetched: `rate` requests a second.

    One in twenty issues a token for `credentials`, the body of a request for one. Images have 1 MiB, and one in fifty of
    them 10 MiB; each that is fetched must be what was sent.
    """
    tokens, images = f"{keystone}/v3/auth/tokens", f"{glance}/v2/images"
    token = {"token": "header:x-subject-token"}
    issue = Step(
        name="token", method="POST", url=tokens, headers=_JSON, body=credentials, expect=(201,), keep=token, share=True
    )
    validate = Step(name="validate", url=tokens, headers=_AUTH | {"X-Subject-Token": "{token}"})
    listed = Step(name="images", url=images, headers=_AUTH)
    return (
        Flow(steps=(issue,), rate=rate * 0.05),
        Flow(steps=(validate,), rate=rate * 0.45),
        Flow(steps=(listed,), rate=rate * 0.30),
        Flow(steps=image(images, "", SMALL), rate=rate * 0.20 * 0.98 / 4),
        Flow(steps=image(images, "large-", LARGE), rate=rate * 0.20 * 0.02 / 4),
    )


def image(images: str, prefix: str, size: int) -> tuple[Step, ...]:
    """An image of so many bytes: made, sent, fetched, removed."""
    one = images + "/{image}"
    return (
        Step(
            name=f"{prefix}image",
            method="POST",
            url=images,
            headers=_AUTH | _JSON,
            body=_IMAGE,
            expect=(201,),
            keep={"image": "json:id"},
        ),
        Step(name=f"{prefix}upload", method="PUT", url=f"{one}/file", headers=_AUTH | _BYTES, size=size, expect=(204,)),
        Step(name=f"{prefix}download", url=f"{one}/file", headers=_AUTH, answer=size),
        Step(name=f"{prefix}delete", method="DELETE", url=one, headers=_AUTH, expect=(204,)),
    )
