"""HashiCorp Vault's and OpenBao's transit engine, in SOPS's own `hc_vault` entries.

API: https://developer.hashicorp.com/vault/api-docs/secret/transit (encrypt, decrypt); VAULT_TOKEN or ~/.vault-token.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from planeshift.errors import PlaneshiftError, Problem

_URI = re.compile(r"(?P<address>https?://[^/]+)/v1/(?P<engine>.+)/keys/(?P<key>[^/]+)/?")


def unwrap(entries: Sequence[Mapping[str, str]], environment: Mapping[str, str], said: list[str]) -> bytes | None:
    """The data key that one of the entries holds, or None; what went wrong is added to `said`."""
    for entry in entries:
        try:
            path = f"{entry['engine_path']}/decrypt/{entry['key_name']}"
            data = _post(entry["vault_address"], path, {"ciphertext": entry["enc"]}, environment)
            return base64.b64decode(data["plaintext"])
        except PlaneshiftError as error:
            said.extend(p.message for p in error.problems)
        except (KeyError, ValueError):
            said.append("an hc_vault entry is not as it must be")
    return None


def wrap(key: bytes, uri: str, environment: Mapping[str, str]) -> dict[str, str]:
    """An `hc_vault` entry of the data key, for a transit key named by its URI. Raises PlaneshiftError (PS1010)."""
    found = _URI.fullmatch(uri)
    if not found:
        hint = "It is written https://vault.example.org/v1/ENGINE/keys/NAME."
        raise PlaneshiftError(Problem("PS1010", f"{uri} is no transit key", hint=hint))
    address, engine, name = found.group("address", "engine", "key")
    body = {"plaintext": base64.b64encode(key).decode()}
    sealed = _post(address, f"{engine}/encrypt/{name}", body, environment)["ciphertext"]
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"vault_address": address, "engine_path": engine, "key_name": name, "created_at": created, "enc": sealed}


def _token(environment: Mapping[str, str]) -> str:
    token = environment.get("VAULT_TOKEN", "")
    file = Path(environment.get("HOME", "/root")) / ".vault-token"
    if not token and file.is_file():
        token = file.read_text("utf-8").strip()
    if not token:
        hint = "VAULT_TOKEN holds it, or `vault login` writes ~/.vault-token."
        raise PlaneshiftError(Problem("PS1009", "there is no token for Vault", hint=hint))
    return token


def _post(address: str, path: str, body: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    import urllib3

    # An address that a file states is not sent a token in the clear, but to this machine itself.
    host = urlsplit(address).hostname or ""
    if not address.startswith("https://") and host not in ("127.0.0.1", "localhost", "::1"):
        raise PlaneshiftError(Problem("PS1009", f"{address} is not https: no token is sent there"))
    headers = {"X-Vault-Token": _token(environment), "Content-Type": "application/json"}
    if environment.get("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = environment["VAULT_NAMESPACE"]
    pool = urllib3.PoolManager(ca_certs=environment.get("VAULT_CACERT"), retries=urllib3.Retry(2, redirect=0))
    try:
        answer = pool.request("POST", f"{address}/v1/{path}", body=json.dumps(body), headers=headers, timeout=10)
        data = json.loads(answer.data or b"{}")
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise PlaneshiftError(Problem("PS1009", f"Vault at {address} does not answer as it must")) from error
    if answer.status != 200:
        words = "; ".join(str(e) for e in data.get("errors", []))[:300]
        raise PlaneshiftError(Problem("PS1009", f"Vault at {address} refuses {path}: {answer.status} {words}"))
    return dict(data["data"])
