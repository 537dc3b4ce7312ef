"""Keystone: identity, tokens and the service catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from planeshift.catalog import common
from planeshift.catalog.keystone.verify import verify
from planeshift.catalog.spec import Bootstrap, Component, Layout, Migration, Options, Secret, ServiceSpec, Site, Use

_REPOSITORIES = {
    "fernet_keys": ("fernet_tokens", "fernet-keys"),
    "receipt_keys": ("fernet_receipts", "receipt-keys"),
    "credential_keys": ("credential", "credential-keys"),
}

# Keystone makes its policy when the first request asks for it, and lets other threads see it while it has no rules yet:
# these refuse what is allowed, with 403. So it is made before a worker serves.
_WSGI = """\
from keystone.common.rbac_enforcer.enforcer import RBACEnforcer
from keystone.wsgi.api import application

RBACEnforcer.suppress_deprecation_warnings = True  # as where a request asks
RBACEnforcer()._enforcer.load_rules()
"""


def _defaults(site: Site) -> Options:
    return common.merged(common.behind_proxy(), common.cache(site))


def _backend(site: Site) -> Options:
    keys: Options = {
        section: {"key_repository": f"{site.config}/{directory}"} for section, directory in _REPOSITORIES.values()
    }
    return common.merged(keys, {"DEFAULT": {"public_endpoint": site.public_url}})


def _bootstrap_environment(site: Site) -> Mapping[str, str]:
    # keystone-manage reads these itself, so that no password stands in argv.
    return {
        "OS_BOOTSTRAP_USERNAME": "admin",
        "OS_BOOTSTRAP_PASSWORD": site.secret("admin_password"),
        "OS_BOOTSTRAP_PROJECT_NAME": "admin",
        "OS_BOOTSTRAP_ROLE_NAME": "admin",
        "OS_BOOTSTRAP_SERVICE_NAME": "keystone",
        "OS_BOOTSTRAP_REGION_ID": site.region,
        "OS_BOOTSTRAP_PUBLIC_URL": site.public_url + "/v3",
        "OS_BOOTSTRAP_INTERNAL_URL": site.internal_url + "/v3",
    }


SERVICE = ServiceSpec(
    name="keystone",
    type="identity",
    title="Identity",
    package="keystone",
    components=(Component("keystone-api", _WSGI, port=5000, use=Use(13, 114, 1.0, common.MEASURED)),),
    needs=(),
    layout=Layout(
        project="keystone",
        main="keystone.conf",
        environment={"OS_KEYSTONE_CONFIG_FILES": "{config}/keystone.conf"},
    ),
    migration=Migration(
        kind="expand-contract",
        create=("keystone-manage", "db_sync"),
        expand=(("keystone-manage", "db_sync", "--expand"),),
        contract=("keystone-manage", "db_sync", "--contract"),
    ),
    bootstrap=Bootstrap(
        exists="SELECT 1 FROM local_user WHERE name = 'admin' AND domain_id = 'default'",
        command=("keystone-manage", "bootstrap"),
        environment=_bootstrap_environment,
    ),
    defaults=_defaults,
    backend=_backend,
    secret_options=common.database,
    secrets=(
        Secret("admin_password", "password", "of the user admin"),
        Secret("fernet_keys", "fernet-keys", "that sign tokens"),
        Secret("receipt_keys", "fernet-keys", "that sign receipts of multi-factor logins"),
        Secret(
            "credential_keys",
            "fernet-keys",
            "the keys that encrypt credentials in the database",
            backup=True,
            # It changes no file, but insists on the names of an owner where it runs as root.
            anew=("keystone-manage", "credential_migrate", "--keystone-user=keystone", "--keystone-group=keystone"),
        ),
    ),
    key_directories={secret: directory for secret, (_, directory) in _REPOSITORIES.items()},
    path="/v3",
    roles=(),
    modules=("auth_openidc", "auth_mellon", "auth_kerb"),
    verify=verify,
)
