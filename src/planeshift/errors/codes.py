"""The stable problem codes and what `planeshift explain CODE` says of them. One entry a code; codes are never reused.

PS1xx reading the cloud file · PS2xx rules across it · PS3xx the services' own configuration · PS4xx hosts and
environments · PS5xx databases · PS6xx processes and the edge · PS7xx Keystone's content and verification ·
PS8xx control: lease, journal, plans · PS9xx bugs.
"""

from __future__ import annotations

CODES: dict[str, tuple[str, str]] = {
    # --- PS1xx: reading the cloud file
    "PS101": (
        "not valid YAML",
        "The file could not be read as YAML 1.2. The place is where the parser lost its way; the cause is often a line "
        "or two above: a missing colon, a quote that is not closed, an indent by tab.",
    ),
    "PS102": (
        "the file is too large",
        "A cloud file may have 2 MiB, 200,000 values and 32 levels, aliases expanded. Ranges such as `vm-{1..200}` say "
        "many things in one line.",
    ),
    "PS103": (
        "control characters",
        "Names and values of a cloud file are printable text. Control characters could make a terminal lie about what "
        "a plan will do, so they are refused everywhere.",
    ),
    "PS104": (
        "a YAML feature that a cloud file has no need of",
        "Tags, merge keys, keys that are not text and keys that stand twice are refused: what the file says must be "
        "what its reader sees.",
    ),
    "PS105": (
        "a file cannot be read",
        "The file does not exist, is not a regular file or may not be read by this user. `planeshift init` writes a "
        "first cloud file; `-f FILE` names another one.",
    ),
    "PS106": (
        "unknown key",
        "The cloud file knows no such key at this place. Unknown keys are errors, since a misspelt one would otherwise "
        "be a setting that is silently not made.",
    ),
    "PS107": ("a value that cannot be", "The value is of the wrong type, form or range for its key."),
    "PS108": ("a key is missing", "The key has no default and must be given."),
    "PS109": (
        "a range that cannot be",
        "`{1..3}` counts up, `{01..10}` keeps its zeros, a range has at most 10,000 members, and ranges that stand "
        "together in one entry must be of one length.",
    ),
    "PS110": (
        "not yet supported",
        "The key belongs to the cloud file's shape, which is fixed, but this version cannot carry it out. "
        "It is refused by name rather than ignored.",
    ),
    # --- PS2xx: rules across the cloud file
    "PS201": ("no such host", "A backend or an edge names a host that `hosts` does not declare."),
    "PS202": (
        "weights that are not possible",
        "The weights of a service's backends are shares of its traffic in percent. One alone backend has 100; else "
        "each states its own, and together they make 100.",
    ),
    "PS203": (
        "two things on one address and port",
        "Only one program can listen on an address and port. Give one of them another `port`, or its host another "
        "`address`.",
    ),
    "PS204": (
        "a service that another one needs is absent",
        "The catalog states what each service needs: all need Keystone. Add the service, or, where somebody else runs "
        "it, `keystone: {endpoint: https://…/v3}`.",
    ),
    "PS205": ("unknown service", "The catalog has no folder for a service of this name."),
    "PS206": ("unknown component", "The service has no such component; the catalog lists them."),
    "PS207": ("unknown zone", "A host names a zone that `zones` does not declare."),
    "PS208": ("a name that stands twice", "Hosts, and edges, are told apart by their names."),
    "PS209": ("no such database or cache", "A service names a database or cache that the cloud file does not declare."),
    "PS210": (
        "unknown release",
        "Releases are locked: each service has its requirements, options and schema recorded for the OpenStack series "
        "that this version of Planeshift knows.",
    ),
    "PS211": (
        "releases that cannot share one database",
        "All backends of a service use one database, whose schema is that of the newest release. An older release may "
        "stay beside it only where it is known to live with that schema; the catalog says so.",
    ),
    "PS212": (
        "backends that do not share what they must",
        "Two backends of one service answer the same clients, so they need the same database, keys and store. SQLite "
        "files and Glance's `file` store are seen by one machine only.",
    ),
    "PS213": (
        "a service that nobody runs",
        "A service needs backends with hosts, or `endpoint:` where somebody else runs it, and not both.",
    ),
    "PS214": ("endpoints that exclude each other", "Public and internal endpoints on one address share one TLS."),
    "PS215": (
        "a declared file is not there",
        "The cloud file names a file or directory of the operator's tree that does not exist or leads out of the tree.",
    ),
    "PS216": ("an extra that is not pinned", "`pip` extras are pinned (name==version), so that hosts are alike."),
    "PS217": (
        "an external host where we would have to act",
        "Somebody else runs external hosts: they can take traffic, but we install and start nothing on them.",
    ),
    # --- PS3xx: the services' own configuration
    "PS301": (
        "unknown option in a service's configuration",
        "The option is not one that this release of the service knows, so the service would ignore it silently. "
        "Correct the name, move it to the right section, or, for an option of a local patch, list it under "
        "`allow-options` of the service in the cloud file.",
    ),
}
