"""The stable problem codes and what `planeshift explain CODE` says of them. One entry a code; codes are never reused.

PS1xx reading the cloud file · PS2xx rules across it · PS3xx the services' own configuration · PS4xx hosts and
environments · PS5xx databases · PS6xx processes and the edge · PS7xx Keystone's content and verification ·
PS8xx control: lease, journal, plans · PS9xx bugs.
"""

from __future__ import annotations

CODES: dict[str, tuple[str, str]] = {
    # --- PS1xx: reading the cloud file
    # --- PS3xx: the services' own configuration
    "PS301": (
        "unknown option in a service's configuration",
        "The option is not one that this release of the service knows, so the service would ignore it silently. "
        "Correct the name, move it to the right section, or, for an option of a local patch, list it under "
        "`allow-options` of the service in the cloud file.",
    ),
}
