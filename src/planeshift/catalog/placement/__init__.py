"""Placement: inventories of resources and who uses them."""

from __future__ import annotations

from planeshift.catalog import common
from planeshift.catalog.placement.verify import verify
from planeshift.catalog.spec import Component, Layout, Migration, Options, Secret, ServiceSpec, Site, Use


def _defaults(site: Site) -> Options:
    return common.merged(
        common.behind_proxy(), common.authtoken(site, "placement"), {"api": {"auth_strategy": "keystone"}}
    )


def _secret_options(site: Site) -> Options:
    return common.merged(common.database(site, "placement_database"), common.authtoken_secret(site))


SERVICE = ServiceSpec(
    name="placement",
    type="placement",
    title="Placement",
    package="openstack-placement",
    components=(
        Component(
            "placement-api",
            "placement.wsgi.api:application",
            port=8778,
            health="/",
            use=Use(13, 71, 1.0, common.MEASURED),
        ),
    ),
    needs=("keystone",),
    layout=Layout(project="placement", main="placement.conf", environment={"OS_PLACEMENT_CONFIG_DIR": "{config}"}),
    migration=Migration(
        kind="single",
        create=("placement-manage", "db", "sync"),
        upgrade=("placement-manage", "db", "sync"),
    ),
    defaults=_defaults,
    backend=lambda site: {},
    secret_options=_secret_options,
    secrets=(Secret("service_password", "password", "of the service user placement"),),
    database_section="placement_database",
    verify=verify,
)
