"""Glance: images."""

from __future__ import annotations

from collections.abc import Mapping

from planeshift.catalog import common
from planeshift.catalog.glance.verify import verify
from planeshift.catalog.spec import Component, Layout, Migration, Options, Secret, ServiceSpec, Site, Use


def _defaults(site: Site) -> Options:
    return common.merged(
        common.behind_proxy(),
        common.authtoken(site, "glance"),
        {
            "DEFAULT": {"enabled_backends": "local:file"},
            "glance_store": {"default_backend": "local"},
            "local": {"filesystem_store_datadir": f"{site.data}/images"},
            "paste_deploy": {"flavor": "keystone"},
        },
    )


def _backend(site: Site) -> Options:
    return {
        "DEFAULT": {"public_endpoint": site.public_url},
        "os_glance_staging_store": {"filesystem_store_datadir": f"{site.data}/staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": f"{site.data}/tasks"},
        "paste_deploy": {"config_file": site.shipped["glance-api-paste.ini"]},
    }


def _secret_options(site: Site) -> Options:
    return common.merged(common.database(site), common.authtoken_secret(site))


def _apart(options: Mapping[tuple[str, str], str]) -> str:
    stores = options.get(("DEFAULT", "enabled_backends"), "local:file").split(",")
    files = [store.strip() for store in stores if store.strip().endswith(":file")]
    return f"the store {files[0]} is a directory of one machine; S3, Swift or Ceph are seen by all" if files else ""


def _rehearsed(store: str) -> Options:
    return {
        "DEFAULT": {"enabled_backends": "rehearsal:s3"},
        "glance_store": {"default_backend": "rehearsal"},
        "rehearsal": {
            "s3_store_host": store,
            "s3_store_bucket": "images",
            "s3_store_create_bucket_on_put": True,
            "s3_store_bucket_url_format": "path",
        },
    }


SERVICE = ServiceSpec(
    name="glance",
    type="image",
    title="Image",
    package="glance",
    components=(
        Component(
            "glance-api",
            "glance.wsgi.api:application",
            port=9292,
            threads=8,
            streams=True,
            drain=600,
            finish="glance.common.wsgi_app:drain_workers",  # imports
            use=Use(13, 117, 1.0, common.MEASURED),
        ),
    ),
    needs=("keystone",),
    layout=Layout(
        project="glance",
        main="glance-api.conf",
        environment={
            "OS_GLANCE_CONFIG_DIR": "{config}",
            # Read by oslo.config's environment driver, since a pod learns its address only when it starts.
            "OS_DEFAULT__WORKER_SELF_REFERENCE_URL": "http://{address}:{port}",
        },
        shipped={"glance-api-paste.ini": "etc/glance/glance-api-paste.ini"},
    ),
    migration=Migration(
        kind="expand-contract",
        create=("glance-manage", "db", "sync"),
        expand=(("glance-manage", "db", "expand"), ("glance-manage", "db", "migrate")),
        contract=("glance-manage", "db", "contract"),
    ),
    defaults=_defaults,
    backend=_backend,
    secret_options=_secret_options,
    secrets=(Secret("service_password", "password", "of the service user glance"),),
    apart=_apart,
    rehearsed=_rehearsed,
    directories=("images", "staging", "tasks"),
    verify=verify,
)
