"""Neutron: networks. Its API alone; agents and drivers of a real network are the operator's, and named in his files."""

from __future__ import annotations

from planeshift.catalog import common
from planeshift.catalog.neutron.verify import verify
from planeshift.catalog.spec import Component, Layout, Migration, Options, Secret, ServiceSpec, Site

# Listing ports asks its models for what they have only once they are configured, which whatever is asked first does. Where
# that is a list of ports, it fails; and so would every one after it.
_WSGI = """\
import neutron.objects.port_forwarding
from neutron.wsgi.api import application
from sqlalchemy.orm import configure_mappers

configure_mappers()
"""


def _defaults(site: Site) -> Options:
    return common.merged(
        common.behind_proxy(),
        common.authtoken(site, "neutron"),
        common.cache(site),
        {
            "DEFAULT": {"core_plugin": "ml2", "service_plugins": "", "notify_nova_on_port_status_changes": False},
            "oslo_messaging_rabbit": {"rabbit_quorum_queue": True},
            # Networks without a wire: what a rehearsal with Nova's fake driver needs of them.
            "ml2": {"type_drivers": "local", "tenant_network_types": "local", "mechanism_drivers": ""},
        },
    )


def _backend(site: Site) -> Options:
    return {
        "DEFAULT": {"api_paste_config": site.shipped["api-paste.ini"], "state_path": site.own},
        "oslo_concurrency": {"lock_path": f"{site.own}/locks"},
    }


def _secret_options(site: Site) -> Options:
    bus: Options = {"DEFAULT": {"transport_url": site.transport}}
    return common.merged(common.database(site), common.authtoken_secret(site), bus)


SERVICE = ServiceSpec(
    name="neutron",
    type="network",
    title="Network",
    package="neutron",
    components=(Component("neutron-api", _WSGI, port=9696, health="/", workers=1, threads=8),),
    needs=("keystone",),
    layout=Layout(
        project="neutron",
        main="neutron.conf",
        environment={"OS_NEUTRON_CONFIG_DIR": "{config}", "OS_NEUTRON_CONFIG_FILES": "neutron.conf"},
        shipped={"api-paste.ini": "etc/neutron/api-paste.ini"},
    ),
    migration=Migration(
        kind="expand-contract",
        create=("neutron-db-manage", "upgrade", "heads"),
        expand=(("neutron-db-manage", "upgrade", "--expand"),),
        contract=("neutron-db-manage", "upgrade", "--contract"),
    ),
    defaults=_defaults,
    backend=_backend,
    secret_options=_secret_options,
    secrets=(Secret("service_password", "password", "of the service user neutron"),),
    messaging=True,
    verify=verify,
)
