"""Nova: servers, in cells.

Above the cells are the API with its database, cell0, scheduler and super-conductor; each cell has conductor, message bus
and database of its own. Compute nodes know neither database: they speak to their conductor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from planeshift.catalog import common
from planeshift.catalog.nova.verify import verify
from planeshift.catalog.spec import (
    NO_BUS,
    Cells,
    Component,
    Layout,
    Migration,
    Options,
    Secret,
    ServiceSpec,
    Site,
    Where,
)

COMPUTE = "nova-compute"
FINISHED = 20  # seconds in which what a program has in hand when it is told to stop ends
SILENCE = 20  # seconds that whoever asks all cells waits for the database of one
_CELLS = ("nova-manage", "cell_v2")
_CLIENTS = ("placement", "glance", "service_user", "neutron", "cinder")  # sections of other services' clients


def _client(site: Site) -> dict[str, str | int | bool | list[str]]:
    """Another service as Nova's own user."""
    found = dict(common.authtoken(site, "nova")["keystone_authtoken"])
    wanted = ("auth_type", "auth_url", "username", "user_domain_name", "project_name", "project_domain_name")
    kept = {name: found[name] for name in (*wanted, "region_name", "cafile") if name in found}
    return kept | {"valid_interfaces": "internal"}


def _defaults(site: Site) -> Options:
    clients: Options = {name: _client(site) for name in _CLIENTS}
    clients["service_user"] |= {"send_service_user_token": True}
    clients["service_user"].pop("region_name")
    clients["service_user"].pop("valid_interfaces")
    return common.merged(
        common.behind_proxy(),
        common.authtoken(site, "nova"),
        common.cache(site),
        clients,
        {
            # Of the fake drivers the one that remembers which node it is, without which it does not start a second time.
            "DEFAULT": {"compute_driver": "fake.FakeDriverWithoutFakeNodes"} | _patience(site),
            # A program that stops must not delete its queues: while it waits for that, oslo.messaging takes messages that
            # come in between, says so to the broker, and lets nobody work on them (`Connection.close`, `RpcAMQPListener`).
            "oslo_messaging_rabbit": {"rabbit_quorum_queue": True, "use_queue_manager": True},
            # Requests to a cell that is down are answered in part, after as many seconds.
            "api": {"list_records_by_skipping_down_cells": True, "local_metadata_per_cell": bool(site.cell)},
            "scheduler": {"workers": 1},
            "conductor": {"workers": 1},
            "upgrade_levels": {"compute": "auto"},
            "vnc": {"enabled": False},
        },
    )


def _patience(site: Site) -> dict[str, str | int | bool | list[str]]:
    """2026.1 lets its managers sleep for that long when they stop; later ones wait for what they do, at the most so long."""
    return {"manager_shutdown_timeout": FINISHED} if site.release == "2026.1" else {}


def _backend(site: Site) -> Options:
    return {
        "DEFAULT": {"host": site.host, "state_path": site.own},
        "oslo_concurrency": {"lock_path": f"{site.own}/locks"},
        "oslo_messaging_rabbit": _queues(site),
    }


def _queues(site: Site) -> dict[str, str | int | bool | list[str]]:
    """What queues of its own are named after: their numbers are counted in a file of that name, one for the machine.

    A pod has a name, and such files, for itself.
    """
    named = _own_name(site)
    return {"hostname": named} if named else {}


def _own_name(site: Site) -> str:
    """Such a name, on a host."""
    on_host = site.own.startswith(f"{site.data}/")
    return f"{site.host}-{hashlib.sha256(site.own.encode()).hexdigest()[:8]}" if on_host else ""


def _leaves(site: Site) -> tuple[str, ...]:
    """The files in which oslo.messaging counts queues (`QManager`)."""
    named = _own_name(site)
    return (f"/dev/shm/{named}_*_qmanager",) if named else ()  # noqa: S108 - oslo.messaging's own place


def _secret_options(site: Site) -> Options:
    clients: Options = {name: common.authtoken_secret(site)["keystone_authtoken"] for name in _CLIENTS}
    found = common.merged(common.authtoken_secret(site), clients, {"DEFAULT": {"transport_url": site.transport}})
    if site.components == {COMPUTE}:
        return found  # a compute node has no database
    if not site.cell:
        found = common.merged(found, {"api_database": {"connection": site.database}})
    return common.merged(found, {"database": {"connection": site.cell_database}})


def _cell_environment(database: str, transport: str) -> Mapping[str, str]:
    # oslo.config's environment driver goes before files. Cell0's bus is none, which no program could be told to use.
    bus = {} if transport == NO_BUS else {"OS_DEFAULT__TRANSPORT_URL": transport}
    return {"OS_DATABASE__CONNECTION": database, **bus}


def _finishing(program: str) -> tuple[str, ...]:
    """The command line of a program that takes messages, and finishes all that it has taken when it is told to stop.

    Nova stops taking, waits for what it knows to be under way, closes its pools of threads, and only then waits for its
    messages (`Service.stop`). A message that was taken in the last moment, and had not begun, fails: "Cannot create the
    cell_worker thread pool executor because shutdown has been started", and a server is in ERROR, or in BUILD for good.
    Here a server of messages that has stopped has finished, too.
    """
    code = (
        f"from nova.cmd.{program} import main",  # first, since it decides what the rest of Python is like
        "import functools, sys",
        "from oslo_messaging.server import MessageHandlingServer as server",
        "stop = server.stop",
        "server.stop = functools.update_wrapper(lambda self: (stop(self), self.wait()), stop)",
        "del sys.argv[0]",
        "sys.exit(main())",
    )
    # -P: nothing is imported from the working directory.
    return ("python", "-P", "-c", "; ".join(code), f"nova-{program}")


_TOP: frozenset[Where] = frozenset({"top"})
_CELL: frozenset[Where] = frozenset({"cell"})

SERVICE = ServiceSpec(
    name="nova",
    type="compute",
    title="Compute",
    package="nova",
    components=(
        Component("nova-api", "nova.wsgi.osapi_compute:application", port=8774, health="/", threads=8, where=_TOP),
        Component("nova-scheduler", command=_finishing("scheduler"), where=_TOP, topic="scheduler"),
        Component("nova-conductor", command=_finishing("conductor"), where=_TOP | _CELL, topic="conductor"),
        Component("nova-metadata", "nova.wsgi.metadata:application", 8775, health="/", where=_TOP | _CELL, usual=False),
        Component(
            "nova-novncproxy",
            port=6080,
            command=("nova-novncproxy",),
            listen=("--vnc-novncproxy_host=0.0.0.0", "--vnc-novncproxy_port=6080"),
            where=_CELL,
            usual=False,
        ),
        Component(COMPUTE, command=_finishing("compute"), where=_CELL, usual=False),
    ),
    needs=("keystone", "glance", "placement", "neutron"),
    layout=Layout(
        project="nova",
        main="nova.conf",
        environment={
            "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
            "OS_NOVA_CONFIG_DIR": "{config}",
            "OS_NOVA_CONFIG_FILES": "{api-paste.ini};nova.conf",
        },
        shipped={"api-paste.ini": "etc/nova/api-paste.ini"},
    ),
    migration=Migration(
        kind="single",
        create=("nova-manage", "api_db", "sync"),
        upgrade=("nova-manage", "api_db", "sync"),
        lives_with=frozenset({("2026.1", "2026.2")}),
    ),
    cells=Cells(
        migration=Migration(
            kind="single",
            create=("nova-manage", "db", "sync", "--local_cell"),
            upgrade=("nova-manage", "db", "sync", "--local_cell"),
            online=("nova-manage", "db", "online_data_migrations"),
        ),
        map_zero=(*_CELLS, "map_cell0"),
        create=(*_CELLS, "create_cell", "--name", "{name}"),
        update=(*_CELLS, "update_cell", "--cell_uuid", "{uuid}", "--name", "{name}"),
        zero_bus=("--transport-url", NO_BUS),
        disable=("--disable",),
        enable=("--enable",),
        remove=(*_CELLS, "delete_cell", "--force", "--cell_uuid", "{uuid}"),
        discover=(*_CELLS, "discover_hosts", "--cell_uuid", "{uuid}"),
        environment=_cell_environment,
        known="SELECT c.uuid, c.name, c.transport_url, c.database_connection, c.disabled, "
        # Those of deleted servers stay until an operator archives them, and go with a cell that is removed.
        "(SELECT COUNT(*) FROM instance_mappings i WHERE i.cell_id = c.id AND NOT COALESCE(i.queued_for_delete, 0)) "
        "FROM cell_mappings c ORDER BY c.id",
        mapped="SELECT c.uuid, h.host FROM host_mappings h JOIN cell_mappings c ON c.id = h.cell_id",
        members="SELECT host FROM compute_nodes WHERE deleted = 0",
        # Times are UTC: https://docs.openstack.org/nova/latest/admin/services.html.
        reports="SELECT host, `binary`, disabled, TIMESTAMPDIFF(SECOND, "
        "COALESCE(last_seen_up, updated_at, created_at), UTC_TIMESTAMP()) FROM services WHERE deleted = 0",
        compute=COMPUTE,
        # Nova's minute for each cell (`CELL_TIMEOUT`) does not hold for a list of servers, which waits for its queries one
        # by one, and a connection to a database whose host is gone says nothing for a quarter of an hour (tcp_retries2).
        asked=f"&read_timeout={SILENCE}",
        late="MessagingTimeout",
    ),
    defaults=_defaults,
    backend=_backend,
    secret_options=_secret_options,
    secrets=(Secret("service_password", "password", "of the service user nova"),),
    database_section="api_database",
    schema="nova_api",
    messaging=True,
    leaves=_leaves,
    path="/v2.1",
    roles=("service", "admin"),
    verify=verify,
)
