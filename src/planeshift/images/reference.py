"""Names of images in registries. Pure. Grammar: https://github.com/distribution/reference (reference.go)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from planeshift.errors import PlaneshiftError, Problem

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry, by tag, by digest, or both."""

    host: str  # with its port
    repository: str
    tag: str
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Of `HOST[:PORT]/PATH[:TAG][@DIGEST]`; the tag is `latest` where neither is said.

        The registry must be named: no registry is taken for granted. Raises PlaneshiftError (PS464).
        """
        rest, _, digest = text.partition("@")
        host, _, path = rest.partition("/")
        repository, _, tag = path.partition(":")
        named = "." in host or ":" in host or host == "localhost"
        good = (
            named and _HOST.fullmatch(host) and _PATH.fullmatch(repository) and len(repository) <= 255
            and (not digest or _DIGEST.fullmatch(digest)) and (_TAG.fullmatch(tag) if ":" in path else not tag)
        )  # fmt: skip
        if not good:
            hint = "Such as registry.example.org/openstack/glance:2026.2; the registry is always named."
            raise PlaneshiftError(Problem("PS464", f"{text[:200]!r} is no name of an image in a registry", hint=hint))
        return cls(host, repository, tag or ("" if digest else "latest"), digest)

    @property
    def which(self) -> str:
        """What the registry is asked for: the digest where there is one."""
        return self.digest or self.tag

    @property
    def loopback(self) -> bool:
        """Whether the registry is this very machine, where nobody can listen in."""
        name = self.host.rpartition(":")[0] if re.search(r":\d+$", self.host) else self.host
        try:
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return name == "localhost"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")
