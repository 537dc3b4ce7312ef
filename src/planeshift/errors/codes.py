"""The stable problem codes and what `planeshift explain CODE` says of them. One entry a code; codes are never reused.

PS1xx reading the cloud file · PS2xx rules across it · PS3xx the services' own configuration · PS4xx hosts,
environments, images and charts · PS5xx databases · PS6xx processes and the edge · PS7xx Keystone's content and
verification · PS8xx control: lease, journal, plans · PS9xx bugs · PS10xx sealed files.
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
    "PS209": (
        "no such database, message bus or cache",
        "A service or a cell names a database, message bus or cache that the cloud file does not declare.",
    ),
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
    "PS218": (
        "a backend that is neither of hosts nor of a cluster",
        "A backend runs on `hosts`, or as pods in a `cluster`; pods have `replicas`, `image` and `autoscale`, hosts none. "
        "Its name is part of those of a Helm release and its Services, which have limits of 53 and 63 letters.",
    ),
    "PS219": (
        "an address that pods cannot reach",
        "127.0.0.1 of a pod is the pod itself. Keystone, the database and the caches must be told by an address that the "
        "cluster's nodes can reach.",
    ),
    "PS220": (
        "files that pods cannot have",
        "A service's files reach its pods as one ConfigMap, which holds at most a million bytes, and in which two files "
        "whose names differ by special characters alone would be one.",
    ),
    "PS221": (
        "a database or message bus that nobody runs",
        "One of somebody else's has an address: `host`, of a message bus `hosts`. One of ours says `manage: true`, and "
        "`host` names the host that runs it.",
    ),
    "PS222": ("no such cell", "A host, a node or a backend names a cell that `cells` does not declare."),
    "PS223": ("a compute node in two cells", "Nova maps each compute node to one cell; its servers are found by that."),
    "PS224": (
        "two cells on one database",
        "Each cell has its instances, and each Nova its API, in a schema of its own. Two on one schema would take each "
        "other's records for theirs. Several schemas may be on one server.",
    ),
    "PS225": (
        "two cells on one vhost",
        "Services find each other by the names of queues, which are the same in each cell. On one vhost calls would go "
        "to another cell. Several vhosts may be on one message bus.",
    ),
    "PS226": (
        "a cloud that does not start by itself",
        "A machine that the control plane runs on is a server of this very cloud (`cell:` of a host or node), and that "
        "cell cannot start servers without what runs there. While all is up nothing is wrong with it. After a loss of "
        "power a person starts the named servers on their hypervisors (`virsh start`), in the order that is said.",
    ),
    "PS227": (
        "nothing of that name can be lost",
        "`--without` takes zone:, host:, node:CLUSTER/NAME, cell:, cluster:, edge:, database:, messaging: or cache: with "
        "a name of the cloud file, and may be given several times.",
    ),
    "PS228": (
        "a chart that cannot be released",
        "A backend's `chart` is one of the cloud's `charts: {repository: …}`, at one exact version. Its `adapter` tells the "
        "chart what only Planeshift knows, by placeholders; docs/kubernetes.md has them all.",
    ),
    "PS229": (
        "a backend that would change its chart",
        "An upgrade makes the new chart's objects before it removes the old one's, and both want the same port, or the "
        "same Deployment with other selectors. Two backends, of which one takes the traffic over, lose no request.",
    ),
    "PS230": (
        "a service without a message bus",
        "Its programs speak to each other over RabbitMQ: `messaging` declares it, one of ours (`manage: true`) or another.",
    ),
    "PS231": (
        "cells without a database server",
        "A service that is divided in cells keeps its state in MariaDB or MySQL: a schema for each cell, and one above.",
    ),
    "PS232": (
        "a component in the wrong place",
        "Some programs run above all cells, some in each: a backend with `cell` is part of that cell's controller.",
    ),
    "PS233": (
        "consumers that cannot take each other's place",
        "Weights of backends that serve no HTTP share out the messages of one bus, so each must run the same programs. "
        "Without weights all of them run.",
    ),
    "PS234": (
        "a database that cannot be spoken to by TLS",
        "`tls: true` takes the authorities of its certificate, the cloud's `trust: FILE`, and a server of somebody else's. "
        "Nova hands the URLs of its cells' databases to all machines alike: no file of authorities can be named in them.",
    ),
    # --- PS4xx: hosts and environments
    "PS401": ("a file cannot be written or read", "The system refused; its word is in the message. State is unharmed."),
    "PS402": (
        "a directory that is not ours alone",
        "Planeshift keeps keys and passwords in directories of its own, mode 0700. A symbolic link, another user's "
        "directory or a file in that place could lead them astray, so it is refused.",
    ),
    "PS403": ("a path too long", "A UNIX socket's path has at most 108 bytes."),
    "PS404": (
        "the disk is full",
        "Files are written beside and renamed, so the old ones are whole. Free space, go on.",
    ),
    "PS405": (
        "packages cannot be downloaded",
        "Services are installed from PyPI, or the index that uv is set up for, with locked hashes. What was downloaded "
        "stays in uv's cache, and the next run goes on from there.",
    ),
    "PS406": (
        "a package does not match its lock",
        "Each package's hash is locked. Another file under the same name is not installed, whoever serves it.",
    ),
    "PS407": ("a distribution package is missing", "`dist` extras are packages of the system's own distribution."),
    "PS408": ("installing packages failed", "uv's last lines say why."),
    "PS409": (
        "a host does not answer any more",
        "It ended, or the way to it was cut, while something was asked of it. What was begun there comes to an end by "
        "itself; the next run looks at what is there and goes on. `planeshift lab up` boots a host of a lab again.",
    ),
    # --- PS41x: tools
    "PS410": ("unknown tool", "The tools that are pinned are listed by `planeshift tools list`."),
    "PS411": (
        "a tool that is not built yet",
        "Tools are built from source, once a machine, by `planeshift tools build`. No program of a fitting version is "
        "on PATH.",
    ),
    "PS412": (
        "a tool cannot be downloaded",
        "Sources come from the Go module proxy (GOPROXY), and Go itself, where it is missing, from PyPI. What was got "
        "stays in the caches of both, and the next run goes on from there.",
    ),
    "PS413": (
        "a module does not match its pin",
        "Each tool's go.sum pins every byte of its sources. Something else under the same name is not built.",
    ),
    "PS414": ("a tool cannot be built", "The compiler's last lines say why."),
    # PS42x, PS43x: images and registries
    "PS421": (
        "an image that cannot be read",
        "Every manifest, config and layer is proved by its digest, and must be as the OCI image specification has it. "
        "What is damaged or forged is refused as a whole; build or pull the image again.",
    ),
    "PS422": (
        "a layer that cannot be written",
        "A layer holds each name once, none that leads out of the image, and files that stay as they are while they are "
        "read.",
    ),
    "PS423": ("no such image", "`planeshift image list` shows the images that were built or pulled on this machine."),
    "PS424": (
        "a program that making images needs is missing",
        "Images are made without a daemon, by the distribution's own programs: mmdebstrap for the base, git for patches "
        "and sources, unshare for compiling in the image.",
    ),
    "PS425": (
        "a locked distribution package that cannot be had",
        "The base's packages are locked by hash. What was fetched or built once is kept; otherwise the archive must still "
        "have that very version, and another one is never taken in its place.",
    ),
    "PS426": (
        "the base of an image cannot be made",
        "The base is a minimal Debian, of packages of this machine's apt sources, or any image by `--from`.",
    ),
    "PS427": (
        "a patch that does not apply",
        "The site's patches are applied in the order of their names, each exactly as `git apply` takes it. A patch that "
        "does not fit would make another program than its author meant, so that nothing is built.",
    ),
    "PS428": (
        "an input of an image that cannot be used",
        "A lock, source, wheelhouse or patch directory is not as needed.",
    ),
    "PS429": (
        "a program cannot be run in an image",
        "Python's files are compiled by the image's own Python, in namespaces of its own on this machine.",
    ),
    # --- PS44x: the lab
    "PS440": (
        "a machine that cannot have a lab",
        "Hosts are made of Linux namespaces, overlays and control groups, which takes root and a kernel that gives them.",
    ),
    "PS441": (
        "programs of the distribution are missing for a lab",
        "containerd, runc, CNI plugins, nftables and a few small programs come from the distribution's packages.",
    ),
    "PS442": ("a part of a lab cannot be made or removed", "The system's own words are in the message."),
    "PS443": (
        "a network that is taken",
        "A lab's networks must not overlap those that the machine has, since its hosts could not be reached.",
    ),
    "PS444": ("a fault that cannot be made", "What it needs is missing: a disk of a size, or a feature of the kernel."),
    "PS445": ("no such host or zone, or it does not run", "`planeshift lab status` shows what there is."),
    "PS446": ("images cannot be imported", "containerd's own words are in the message."),
    "PS447": (
        "kubeadm failed",
        "Its last lines, and those of the node's kubelet, say why. The next `lab up` begins anew.",
    ),
    "PS448": ("a cluster of the lab does not answer or become ready", "kubectl's own words are in the message."),
    "PS449": ("somebody else is changing this lab", "One run at a time may; the lease of a dead run is free."),
    "PS452": (
        "a server of the lab does not serve",
        "`runs` of a host is what somebody else runs in earnest: a database, a store, a cache. Its log is on the host.",
    ),
    # --- PS47x: hosts that are reached by ssh
    "PS470": ("ssh is not there", "Hosts `via: ssh` are reached by OpenSSH's own client, `ssh`."),
    "PS471": (
        "a host's key is not known, or another one",
        "What is sent to a host are passwords and keys, so that its own key must be in ssh's known_hosts file, or the one "
        "that the cloud file names. It is never taken on trust: compare its fingerprint with the host's own "
        "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there). A key that changed without a reason that you know "
        "may be somebody else's machine.",
    ),
    "PS472": (
        "a host refuses us",
        "Its sshd took none of our keys. Nothing is asked at a terminal: a key with a passphrase is used by the agent "
        "(`ssh-add`). `ssh USER@HOST true` must work.",
    ),
    "PS473": ("a host cannot be reached", "ssh's own words say how far it came: name, address, port, jump host."),
    "PS474": (
        "a host cannot be worked on",
        "A host `via: ssh` needs Python 3.11 or later, a shell with tar and gzip, and systemd (for a user other than root "
        "their own, which `loginctl enable-linger USER` starts) or `supervisor: supervisord`.",
    ),
    # --- PS43x: charts
    "PS430": (
        "not a chart",
        "A chart is a directory or a .tgz archive with a valid Chart.yaml, within Helm's limits, and nothing in it that "
        "leads out of it: no absolute paths, no `..`, no links, no devices.",
    ),
    "PS431": (
        "a chart repository cannot be used",
        "It does not answer, refuses, or answers with something that is no chart repository. Nothing was changed.",
    ),
    "PS432": (
        "the provenance is not good",
        "A provenance file states a chart's digest and is signed. It must be there, be of this very archive, and be "
        "signed by a key of the keyring.",
    ),
    "PS433": ("the charts' store cannot be used", "The directory or bucket cannot be read or written."),
    "PS434": ("no such chart or version", "The repository has none that fits."),
    "PS435": (
        "a server that anybody could write to",
        "Without authentication the chart server listens on loopback addresses only, unless `--auth none` says that "
        "everybody who reaches it may write.",
    ),
    "PS436": (
        "the version is there already",
        "A chart's version is not written over: who installed it would have something else. Give it a new version.",
    ),
    "PS437": (
        "a chart is not what its lock says",
        "The lock file holds the digest of each mirrored chart. Upstream serves other bytes under the same version: "
        "find out why before you take them.",
    ),
    "PS438": (
        "a chart is not what it was",
        "`charts.lock`, beside the cloud file, holds the digest of each chart that was released. The repository has other "
        "bytes under the same version: find out why. To take them, remove the chart's line.",
    ),
    # --- PS46x: registries
    "PS461": (
        "a registry does not answer, or refuses",
        "Whatever breaks off is tried again, and goes on from where it was. A registry that stays away is named, and the "
        "same command, run later, moves only what is missing.",
    ),
    "PS462": (
        "a registry does not take our credentials",
        "They are looked for where Docker and Podman keep them: config.json, auth.json, credential helpers. A registry "
        "that knows them no longer, or for another repository only, is not asked again and again.",
    ),
    "PS463": (
        "a registry serves another content than was asked for",
        "Every manifest and blob is proved by its digest as it arrives. What is not the right one is not kept.",
    ),
    "PS464": (
        "no name of an image in a registry",
        "`HOST[:PORT]/PATH[:TAG]` or `…@sha256:…`. No registry is taken for granted, so the host is always said.",
    ),
    # --- PS5xx: databases and secret files
    "PS501": (
        "a database cannot be used",
        "It does not answer, does not know the user or password, or has no such schema. Nothing was changed in it.",
    ),
    "PS502": (
        "a secret is missing that cannot be made up",
        "Passwords of users that somebody else made (a database's, an existing Keystone's) must be in the secret file.",
    ),
    "PS503": ("a secret file that others can read", "Secret files are mode 0600, their owner's alone."),
    "PS504": (
        "a secret file of another form",
        "A secret file is a YAML mapping of names to secrets, and nothing else.",
    ),
    "PS505": (
        "the database is newer than the release",
        "Schemas only go forward. Code of an older release must not use one that a newer release made.",
    ),
    "PS506": (
        "no backup, or none that can be restored",
        "A migration is preceded by a backup whose restore is tried. Without one the migration is not begun.",
    ),
    "PS507": ("a database client program is missing", "Backups of MariaDB and MySQL are made by its own dump program."),
    # --- PS6xx: processes and the edge
    "PS508": (
        "a message bus that cannot be used",
        "The service's user must be able to log in and open its vhost; otherwise its programs would start, and wait.",
    ),
    "PS509": (
        "a cell that is mapped otherwise",
        "Nova's own records of its cells contradict the cloud file: two of them speak of one cell, or a compute node "
        "is mapped to another one.",
    ),
    "PS601": (
        "a port is taken",
        "Another program listens where a service or the edge should. It is never ended by us.",
    ),
    "PS602": ("a supervisor did not start", "supervisord looks after each unit's processes; its own words say why."),
    "PS603": (
        "a command failed",
        "A command of the service's own programs ended with an error; its last lines say why.",
    ),
    "PS604": (
        "a service does not become ready",
        "Its programs were started, but its health address did not answer 200. The last lines of its log say why; "
        "`planeshift logs SERVICE` shows more.",
    ),
    "PS605": ("HAProxy is not installed", "The edge is HAProxy, from the distribution: `apt-get install haproxy`."),
    "PS606": (
        "HAProxy refuses its configuration",
        "It was checked by `haproxy -c` before anything running was touched; the running HAProxy goes on as it was.",
    ),
    "PS607": (
        "HAProxy cannot be ordered",
        "Its runtime socket does not answer, or refuses; traffic stays where it is.",
    ),
    "PS610": (
        "a shift was sent back by its gates",
        "What moved did worse than what stayed, or nothing could be told of it; so all traffic went back in one move. "
        "A hold keeps the next `up` from trying again, until `planeshift shift SERVICE --resume` or a changed file.",
    ),
    "PS613": (
        "shares that the edge cannot give",
        "HAProxy's weights are whole numbers up to 256. A share that they miss by more than a tenth is refused.",
    ),
    "PS615": (
        "a server that an edge does not have",
        "An edge of somebody else's is driven by its runtime socket: the servers that we name must be in its configuration, "
        "which is not ours to change.",
    ),
    "PS614": (
        "a backend too small for its traffic",
        "Before a shift begins, what the edge measures (requests a second, and how long each takes) is held against the "
        "threads of the side that gets more. Traffic that it could not serve is not sent to it.",
    ),
    # --- PS7xx: Keystone's content, verification
    "PS619": (
        "a compute node does not join its cell",
        "It must reach its cell's conductor over the message bus, and Placement and Keystone through the edge. The last "
        "lines of its log say what it waits for.",
    ),
    "PS701": (
        "Keystone does not take the administrator's password",
        "The secret file's `admin_password` is its one truth for us, but not what Keystone has. Passwords that exist "
        "are never changed.",
    ),
    "PS702": ("Keystone does not answer", "Catalogue entries and service users are made through it."),
    "PS703": (
        "a service user exists with another password",
        "Users that exist are taken over as they are: put their password into the service's secret file.",
    ),
    "PS704": ("Keystone refused a request", "Its own words are in the message."),
    "PS705": ("verification failed", "A real round trip through the edge did not come out as it must."),
    # --- PS8xx: control
    "PS711": (
        "a cluster does not answer",
        "Without its word nothing of it, nor the weights of the edge, can be planned; nothing is changed until then. One "
        "that goes away in the midst of `up` is asked again for two minutes first; then the next `up` goes on from there.",
    ),
    "PS712": ("a cluster refuses us", "The kubeconfig says who we are; credentials may have expired, or lack rights."),
    "PS713": ("a cluster refuses an object", "The API server's own words say which field, or which policy."),
    "PS714": ("helm failed", "Its own words are in the message. What is half-done is mended by the next run."),
    "PS715": ("there is no helm", "Releases are made by helm: `planeshift tools build helm`, or one on PATH."),
    "PS716": (
        "an image cannot reach the nodes",
        "An image that is built here is imported into the nodes of a lab, or pushed to the cluster's `registry`.",
    ),
    "PS717": (
        "a command failed in a cluster",
        "Its pod's last lines say why; `DeadlineExceeded` is the cluster's word for one that did not end within an hour. A "
        "migration is done again by the next run.",
    ),
    "PS718": (
        "pods do not come up",
        "What the cluster and the pod's log say is in the message; older pods serve on. The next `up` makes such pods anew, "
        "so that they do not wait for the cluster's next try.",
    ),
    "PS801": (
        "somebody else is changing this cloud",
        "One run at a time may change a cloud. On this machine the lease is a lock of the kernel's, so that of a dead run "
        "is free. In each cluster it is a Lease, `planeshift-CLOUD` in the cloud's namespace, which operators of other "
        "machines see: it is renewed every 5 s, and whoever sees no renewal for 15 s takes it over.",
    ),
    "PS802": (
        "the lease was taken away",
        "The directory of control was removed or replaced while a plan was carried out, or somebody else has taken the "
        "lease in a cluster, since it was not renewed for 15 s: this machine slept, or the cluster did not answer it. "
        "Nothing more is begun; `up` goes on once the other is done.",
    ),
    "PS803": (
        "stopped",
        "An interrupt stopped the run between operations. Nothing is half-done; `up` goes on from here.",
    ),
    "PS804": (
        "a saved plan no longer fits",
        "A saved plan is carried out exactly, or not at all. The cloud file or the world has changed since: plan again.",
    ),
    "PS805": ("not confirmed", "Nothing is changed without `--yes` or a typed `yes`."),
    "PS809": (
        "the cloud file cannot be edited by a program",
        "`shift` and `retire` change single values of the file's text. Where a value stands under an anchor, or its "
        "mapping is not there, a person must edit it. A file that somebody has changed since it was read is left alone.",
    ),
    "PS810": (
        "a shift that cannot be",
        "`shift --back` needs an earlier shift, `--resume` a pause or a hold, and `retire` a backend that has no traffic "
        "any more.",
    ),
    "PS812": (
        "no shift is remembered",
        "The logs and reports of the last 200 shifts lie in `.planeshift/shifts` beside the cloud file.",
    ),
    "PS820": ("nothing to rehearse", "A rehearsal carries a change out; the cloud file is as it was before."),
    "PS821": (
        "a service that cannot be rehearsed yet",
        "A rehearsal's lab has hosts, Kubernetes, a database, a cache and a store, but no message bus and no cells.",
    ),
    "PS822": (
        "a fault that cannot be",
        "`planeshift rehearse --help` lists the kinds of faults. Each needs what it breaks: a pod a cluster, a zone a host "
        "in it.",
    ),
    "PS823": (
        "no earlier state to rehearse from",
        "A rehearsal goes from one state of the cloud file to another: from what git has to what the file says, from "
        "another file, or from the file to a shift of a service.",
    ),
    # --- PS10xx: sealed files
    "PS1001": ("a file that SOPS cannot hold", "It is not valid in its format, or holds what SOPS has no form for."),
    "PS1002": (
        "SOPS's part of a file is not as it must be",
        "The `sops` part says who can open a file, when it was changed, and the MAC over it. It is never edited by hand.",
    ),
    "PS1003": ("git's conflict markers", "A merge left both sides in the file. Values of two sides have two MACs."),
    "PS1004": ("a file that is not sealed", "It has no `sops` part, so its values stand in the clear."),
    "PS1005": (
        "a sealed value does not open",
        "Each value is sealed to its place in the file. One that was altered, moved, or swapped with another, or whose "
        "name or a name above was changed, does not open.",
    ),
    "PS1006": (
        "the MAC of a sealed file does not fit",
        "The MAC covers the values of the whole file in order, those in the clear too, and is sealed to the time of "
        "the last change. A file that was changed without being opened is refused.",
    ),
    "PS1007": ("sealed already", "What is sealed once is not sealed again, since nobody could read it."),
    "PS1008": (
        "an age identity cannot be read",
        "Identities are looked for where sops does: SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, SOPS_AGE_KEY_CMD, and "
        "sops/age/keys.txt in the user's configuration directory.",
    ),
    "PS1009": (
        "no key at hand opens the file",
        "None of the identities that were found is one that the file is sealed for, or the key's own keeper refused. "
        "`planeshift secrets keys FILE` shows who can open it.",
    ),
    "PS1010": ("a recipient that a key cannot be wrapped for", "It is not well-formed, or its plugin refused."),
    "PS1011": (
        "no rule says who can open a new file",
        "`.sops.yaml` beside the file or above has creation rules: the first whose path_regex fits says the recipients. "
        "`--age RECIPIENT` says them at once.",
    ),
    "PS1012": ("the file changed meanwhile", "Somebody else wrote it while it was edited. Nothing was overwritten."),
    "PS1013": ("nothing of that name", "The file has no value at this path."),
    "PS1014": ("the editor failed", "The file is as it was."),
    "PS1015": (
        "a file that only Barbican can open",
        "The cloud that Barbican is part of may need the file to come up. A second, plain age recipient whose key is kept "
        "elsewhere opens it then.",
    ),
    "PS1017": ("Barbican does not give or take a key", "What Keystone or Barbican said is in the message."),
    "PS1018": (
        "helm or kubectl cannot be given the file",
        "They are the ones on PATH; sealed files reach them by memory.",
    ),
    "PS1019": (
        "another Helm plugin has the name",
        "jkroepke's helm-secrets is named `secrets`, too. Helm runs one plugin of a name.",
    ),
    "PS1020": ("not a file of helm-barbican's", "It is one only if it opens under the release's key."),
    "PS1021": (
        "an old key whose only nonce was used",
        "helm-barbican keeps one nonce a release. A second file under it would give both away.",
    ),
    "PS1022": (
        "a credential cannot be rotated",
        "Two users take turns: the next one is made and tried, every backend is brought to it, the old one is removed last. "
        "Run again, a rotation goes on from where it was.",
    ),
    "PS1016": ("git cannot tell", "A command of git's failed; its words say why."),
    # --- PS9xx: bugs
    "PS901": ("a bug of planeshift", "Please report it with what `planeshift doctor` prints."),
    # --- PS3xx: the services' own configuration
    "PS301": (
        "unknown option in a service's configuration",
        "The option is not one that this release of the service knows, so the service would ignore it silently. "
        "Correct the name, move it to the right section, or, for an option of a local patch, list it under "
        "`allow-options` of the service in the cloud file.",
    ),
    "PS302": (
        "a configuration file that cannot be read",
        "oslo.config reads `[section]`, `key = value` (or `key: value`), comments that start a line with # or ;, and "
        "lines that start with a blank and continue the value above. Anything else makes the service refuse the file.",
    ),
    "PS303": (
        "unknown section in a service's configuration",
        "This release of the service reads no such section, so it would ignore what stands there silently. Some "
        "sections are read only if another option names them: Glance's stores by `enabled_backends`, Barbican's "
        "backends by `stores_lookup_suffix`, sources of values by `config_source`.",
    ),
    "PS304": (
        "a value that the option cannot have",
        "The value is not of the option's type, range or choices, so the service would fail when it reads it. Values "
        "with `$` are not checked, since another option fills them in.",
    ),
    "PS305": (
        "an option that is on its way out",
        "The option has a new name, will be removed, or has been removed and is ignored. Nothing breaks today; the "
        "next upgrade is easier without it.",
    ),
    "PS306": (
        "a setting that is tied to one machine",
        "The same files go to every host and pod of a service. A path, address or log daemon of one machine means "
        "another thing there, or nothing.",
    ),
    "PS307": (
        "a secret in a configuration file",
        "Configuration is shown in plans, kept in git and put into ConfigMaps. Passwords and keys belong to the "
        "service's secret file, which is encrypted and reaches the service in a fragment that only it can read.",
    ),
}
