"""Barbican: secrets."""

from __future__ import annotations

from planeshift.catalog import common
from planeshift.catalog.barbican.verify import verify
from planeshift.catalog.spec import Component, Layout, Migration, Options, Secret, ServiceSpec, Site, Use

# barbican.wsgi.api looks for its paste file in /etc/barbican alone, so its pipeline is loaded here. Its policy is loaded
# before a worker serves: a first request's thread would let others see it while it has no rules yet, and these refuse
# what is allowed, with 403.
_WSGI = """\
from paste import deploy

application = deploy.loadapp("config:{barbican-api-paste.ini}")

from barbican.common import policy

policy.init()
"""


def _defaults(site: Site) -> Options:
    return common.merged(
        common.behind_proxy(),
        common.authtoken(site, "barbican"),
        {
            "DEFAULT": {"db_auto_create": False},
            "secretstore": {"enabled_secretstore_plugins": "store_crypto"},
            "crypto": {"enabled_crypto_plugins": "simple_crypto"},
            "queue": {"enable": False},
        },
    )


def _secret_options(site: Site) -> Options:
    return common.merged(
        common.database(site),
        common.authtoken_secret(site),
        {"simple_crypto_plugin": {"kek": site.secret("kek")}},
    )


SERVICE = ServiceSpec(
    name="barbican",
    type="key-manager",
    title="Key Manager",
    package="barbican",
    components=(Component("barbican-api", _WSGI, port=9311, use=Use(13, 99, 1.0, common.MEASURED)),),
    needs=("keystone",),
    layout=Layout(
        project="barbican",
        main="barbican.conf",
        shipped={"barbican-api-paste.ini": "etc/barbican/barbican-api-paste.ini"},
    ),
    migration=Migration(
        kind="single",
        create=("barbican-manage", "db", "upgrade"),
        upgrade=("barbican-manage", "db", "upgrade"),
    ),
    defaults=_defaults,
    backend=lambda site: {"DEFAULT": {"host_href": site.public_url}},
    secret_options=_secret_options,
    secrets=(
        Secret("service_password", "password", "of the service user barbican"),
        Secret("kek", "fernet-key", "the master key that encrypts every stored secret", backup=True),
    ),
    verify=verify,
)
