"""The keys as Barbican keeps them: opaque secrets whose payload, once written, cannot be changed.

Payload: JSON with `format`, `purpose`, `version` and `key` (base64). API: https://docs.openstack.org/api-guide/key-manager/.
"""

from __future__ import annotations

import binascii
import json

from planeshift.secrets.barbican.key import Recipient, Refused, Stanza, new_private, public_of, unwrap
from planeshift.secrets.barbican.session import Failed, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = "planeshift-age-key/v1"
_PREFIX = "planeshift age key: "


class Store:
    """Keys in Barbican. Asks it for each key once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.held: dict[str, tuple[bytes, str, int]] = {}

    def create(self, purpose: str, version: int = 1) -> Recipient:
        """Make a key and keep it in Barbican. Raises Failed, Refused."""
        if not purpose or len(purpose) > 200 or not purpose.isprintable():
            raise Refused("a purpose is a printable text, such as cloud/glance")
        private = new_private()
        payload = {
            "format": FORMAT,
            "purpose": purpose,
            "version": version,
            "key": binascii.b2a_base64(private, newline=False).decode(),
        }
        body = {
            "name": f"{_PREFIX}{purpose} v{version}",
            "secret_type": "opaque",
            "payload": json.dumps(payload),
            "payload_content_type": "text/plain",
        }
        answer = self.session.request("POST", "/v1/secrets", body)
        uuid = str(answer["secret_ref"]).rstrip("/").rpartition("/")[2]
        recipient = Recipient(uuid, public_of(private), purpose)
        self.get(uuid)  # what is not there to be read is not sealed for
        return recipient

    def rotate(self, old: Recipient) -> Recipient:
        """The next version of a key, for the same purpose. The old one stays, for files that are sealed for it."""
        _, purpose, version = self.get(old.uuid)
        return self.create(purpose, version + 1)

    def get(self, uuid: str) -> tuple[bytes, str, int]:
        """A key's private half, purpose and version. Raises Failed, Refused."""
        if uuid not in self.held:
            payload = self.session.request("GET", f"/v1/secrets/{uuid}/payload", accept="text/plain")
            self.held[uuid] = _read(payload or b"", uuid)
        return self.held[uuid]

    def list(self) -> list[dict[str, Any]]:
        """The keys of this project: uuid, purpose, version, created; by name, nothing is opened."""
        rows, path = [], "/v1/secrets?limit=100&offset={}"
        offset = 0
        while True:
            page = self.session.request("GET", path.format(offset))
            for secret in page.get("secrets", []):
                name = str(secret.get("name") or "")
                if name.startswith(_PREFIX):
                    purpose, _, version = name.removeprefix(_PREFIX).rpartition(" v")
                    uuid = str(secret["secret_ref"]).rpartition("/")[2]
                    rows.append(
                        {"uuid": uuid, "purpose": purpose, "version": version, "created": secret.get("created")}
                    )
            offset += 100
            if offset >= int(page.get("total") or 0):
                return rows

    def open(self, stanza: Stanza, allowed: str) -> bytes:
        """The file key of a stanza, for an identity that may be used for `allowed` (empty: anything).

        Raises Refused where purposes differ or the key is another's, Failed where Barbican does not give it.
        """
        if allowed and stanza.purpose != allowed:
            raise Refused(f"the file's key is for {stanza.purpose!r}, and this identity for {allowed!r}")
        try:
            private, purpose, version = self.get(stanza.uuid)
        except Failed as error:
            words = {403: "may not be read by this user", 404: "is not there, or was deleted"}.get(error.status)
            if words is None:
                raise
            raise Failed(f"the key {stanza.uuid} {words} ({error})", error.status) from None
        self.held.pop(stanza.uuid)  # kept once it is known to be the right one
        if purpose != stanza.purpose:
            raise Refused(f"the file was sealed for {stanza.purpose!r}, but its key in Barbican is for {purpose!r}")
        file_key = unwrap(stanza, private)
        self.held[stanza.uuid] = private, purpose, version
        return file_key


def _read(payload: bytes, uuid: str) -> tuple[bytes, str, int]:
    try:
        data = json.loads(payload)
        private = binascii.a2b_base64(data["key"], strict_mode=True)
        if data["format"] != FORMAT or len(private) != 32:
            raise ValueError
        return private, str(data["purpose"]), int(data["version"])
    except (ValueError, KeyError, TypeError):
        raise Refused(f"the secret {uuid} in Barbican is no age key of ours") from None
