"""Settings that every service says in the same words, said once."""

from __future__ import annotations

from planeshift.catalog.spec import Options, Site

SERVICE_PROJECT = "service"
DEFAULT_DOMAIN = "Default"
# How `Use` of the WSGI services was measured. A worker is one Python process, which keeps at most one core busy.
MEASURED = "2026.2 on Python 3.11: PSS after `verify` and 8 s of 4 clients that list without a pause"


def merged(*parts: Options) -> Options:
    """The options of all parts, later ones winning."""
    result: Options = {}
    for part in parts:
        for section, options in part.items():
            result.setdefault(section, {}).update(options)
    return result


def behind_proxy() -> Options:
    """Trust the edge's X-Forwarded-* headers; the edge replaces whatever a client sends of them."""
    return {"oslo_middleware": {"enable_proxy_headers_parsing": True}}


def authtoken(site: Site, user: str) -> Options:
    """Validate tokens at Keystone as the service's own user; the password is in `authtoken_secret`."""
    section: dict[str, str | int | bool | list[str]] = {
        "auth_type": "password",
        "auth_url": site.identity,
        "www_authenticate_uri": site.identity,
        "username": user,
        "user_domain_name": DEFAULT_DOMAIN,
        "project_name": SERVICE_PROJECT,
        "project_domain_name": DEFAULT_DOMAIN,
        "region_name": site.region,
        "interface": "internal",
        "service_token_roles": "service",
        "service_token_roles_required": True,
    }
    if site.cache:
        section["memcached_servers"] = ",".join(site.cache)
    if site.ca_file:
        section["cafile"] = site.ca_file
    return {"keystone_authtoken": section}


def authtoken_secret(site: Site) -> Options:
    """The password that goes with `authtoken`; the user, too, once the two have been rotated."""
    section: dict[str, str | int | bool | list[str]] = {"password": site.secret("service_password")}
    if site.secret("service_user"):
        section["username"] = site.secret("service_user")
    return {"keystone_authtoken": section}


def database(site: Site, section: str = "database") -> Options:
    """The database connection; it holds a password, so it belongs to the secrets-only fragment."""
    return {section: {"connection": site.database}}


def cache(site: Site) -> Options:
    """oslo.cache on the shared memcached, or nothing."""
    if not site.cache:
        return {}
    return {
        "cache": {
            "enabled": True,
            "backend": "dogpile.cache.pymemcache",
            "memcache_servers": ",".join(site.cache),
        }
    }
