"""chart serve."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from planeshift import __version__
from planeshift.app import charts as app
from planeshift.cli import view
from planeshift.errors import Exit, PlaneshiftError, Problem

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_ENVIRONMENT = {"auto_envvar_prefix": "PLANESHIFT_CHART"}  # --depth is PLANESHIFT_CHART_DEPTH


def _config(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Take defaults from a YAML file of options by name."""
    if path is not None:
        import yaml

        try:
            found = yaml.safe_load(path.read_bytes()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise click.BadParameter(str(error)) from error
        known = {p.name for p in ctx.command.params}
        names = {str(k).replace("-", "_"): v for k, v in found.items()} if isinstance(found, dict) else {}
        unknown = sorted(set(names) - known)
        if unknown or not isinstance(found, dict):
            raise click.BadParameter(f"{path}: no such option: {', '.join(unknown) or 'it is no mapping'}")
        ctx.default_map = names
    return path


@click.command(short_help="Serve a chart repository: ChartMuseum's API, OCI, a page.", context_settings=_ENVIRONMENT)
@click.option(
    "-c", "--config", type=_FILE, is_eager=True, callback=_config, expose_value=False, help="YAML file of options."
)
@click.option("--storage", required=True, metavar="DIR|s3://BUCKET/PREFIX", help="Where the charts are kept.")
@click.option("--one-writer", is_flag=True, help="Of several servers over a bucket, one at a time takes uploads.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--listen-host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--depth", default=0, show_default=True, type=click.IntRange(0, 8), help="Parts of a tenant's path.")
@click.option("--depth-dynamic", is_flag=True, help="Tenants of any depth.")
@click.option("--context-path", default="", help="Serve below this path.")
@click.option("--chart-url", default="", help="Absolute URL of charts in the index; default: relative ones.")
@click.option("--allow-overwrite", is_flag=True, help="Take a version that is there again, without ?force.")
@click.option("--disable-force-overwrite", is_flag=True, help="Do not, even with ?force.")
@click.option("--disable-api", is_flag=True, help="No routes below /api, and no OCI: read-only.")
@click.option("--disable-delete", is_flag=True, help="No route to delete with.")
@click.option("--disable-oci", is_flag=True, help="No OCI registry below /v2.")
@click.option("--disable-metrics", is_flag=True, help="No /metrics.")
@click.option("--json-index", is_flag=True, help="Write the index as JSON (which is YAML): clients read it faster.")
@click.option("--max-upload-size", default=20 * 1024 * 1024, show_default=True, help="Bytes of an upload.")
@click.option("--max-storage-objects", default=0, help="Versions that a tenant may have; 0: any number.")
@click.option("--max-storage-bytes", default=0, help="Bytes that a tenant's charts may have; 0: any number.")
@click.option("--per-chart-limit", default=0, help="Versions of a chart that are kept; the oldest go.")
@click.option("--chart-post-form-field-name", default="chart", show_default=True, help="Form field of a chart.")
@click.option("--prov-post-form-field-name", default="prov", show_default=True, help="Form field of a provenance file.")
@click.option(
    "--provenance", type=click.Choice(["off", "warn", "enforce"]), default="off", show_default=True, help="Of uploads."
)
@click.option("--keyring", type=_FILE, help="OpenPGP keys whose provenance is accepted.")
@click.option("--auth", type=click.Choice(["none", "basic", "bearer", "keystone"]), help="Who may use it.")
@click.option("--auth-anonymous-get", is_flag=True, help="Everybody may pull.")
@click.option("--basic-auth-user", help="The user of --auth basic.")
@click.option("--basic-auth-pass-file", type=_FILE, help="Holds the password; or set BASIC_AUTH_PASS.")
@click.option("--auth-realm", help="Bearer: URL of the authorization server.")
@click.option("--auth-service", help="Bearer: the name of this service there.")
@click.option("--auth-cert-path", help="Bearer: PEM file of its certificate or public key.")
@click.option("--auth-actions-search-path", help="Bearer: JMESPath to the allowed actions in a token.")
@click.option("--keystone-url", help="Keystone: …/v3.")
@click.option("--keystone-project", help="Keystone: whose tokens count; default: the first part of the tenant's path.")
@click.option(
    "--keystone-domain", default="Default", show_default=True, help="Keystone: whose projects are meant by name."
)
@click.option("--keystone-pull-roles", default="reader,member", show_default=True, help="Keystone: who may pull.")
@click.option("--keystone-push-roles", default="member", show_default=True, help="Keystone: who may push.")
@click.option("--keystone-ca", type=_FILE, help="Keystone: PEM file of its authority.")
@click.option("--tls-cert", type=_FILE, help="PEM file of the certificate chain.")
@click.option("--tls-key", type=_FILE, help="PEM file of its key.")
@click.option("--tls-ca-cert", type=_FILE, help="Clients must have a certificate of this authority.")
@click.option("--cors-alloworigin", default="", help="Access-Control-Allow-Origin of the API.")
@click.option("--artifact-hub-repo-id", multiple=True, metavar="[TENANT=]ID", help="For artifacthub-repo.yml.")
@click.option("--web-template-path", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Own pages.")
@click.option("--read-timeout", default=30.0, show_default=True, help="Seconds that a request may take to arrive.")
@click.option("--cache-interval", default=60.0, show_default=True, help="Seconds between two looks at the store.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Where what is known is kept.")
@click.option("--gen-index", is_flag=True, help="Print the index and exit.")
@click.option("--debug", is_flag=True, help="Log more.")
@click.option("--log-json", is_flag=True, help="Log JSON.")
@click.option("--log-health", is_flag=True, help="Log requests of /health, too.")
def serve(**options: Any) -> int:
    """Serve a chart repository over a directory or a bucket.

    Any client of ChartMuseum works unchanged; so does `helm push` with oci://. Each option can be set in the
    environment (--depth as PLANESHIFT_CHART_DEPTH) or in a file (--config).

    \b
      planeshift chart serve --storage /srv/charts
      planeshift chart serve --storage s3://charts/cern --listen-host 0.0.0.0 --auth keystone \\
          --keystone-url https://keystone.example.org/v3 --depth 1 --tls-cert … --tls-key …

    Credentials of a bucket come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL,
    AWS_REGION). Charts are durable before they are acknowledged; SIGTERM lets what has begun end first.
    """
    store = app.open_store(options["storage"], one_writer=options["one_writer"])
    settings = _settings(options)
    authenticator = app.authenticator(_auth_kind(options), {**options, "basic_auth_pass": _password(options)})
    from planeshift.charts.server.museum import Museum

    state = options["state"] or app.state_directory(store, options["storage"])
    museum = Museum(store, settings.rules, state)
    if options["gen_index"]:
        return _print_index(museum)
    _log(options)
    from planeshift.charts.server.app import App
    from planeshift.charts.server.auth import Anonymous
    from planeshift.serving.run import serve as run

    if options["auth_anonymous_get"]:
        authenticator = Anonymous(authenticator)
    try:
        run(
            App(museum, settings, authenticator),
            host=options["listen_host"],
            port=options["port"],
            tls=_tls(options),
            client_ca=options["tls_ca_cert"],
            head_timeout=options["read_timeout"] or 30.0,
            ready=lambda url: view.tell(f"serving {options['storage']} on {url}"),
        )
    except OSError as error:
        where = f"{options['listen_host']}:{options['port']}"
        raise PlaneshiftError(Problem("PS601", f"cannot listen on {where}: {error.strerror or error}")) from error
    return Exit.DONE


def _settings(options: Mapping[str, Any]) -> Any:
    from planeshift.charts.repository import Rules
    from planeshift.charts.server.settings import Settings

    context = "/" + options["context_path"].strip("/") if options["context_path"].strip("/") else ""
    base = f"{options['chart_url'].rstrip('/')}{context}/" if options["chart_url"] else ""
    rules = Rules(
        base=base,
        context=context,
        as_json=options["json_index"],
        max_objects=options["max_storage_objects"],
        max_bytes=options["max_storage_bytes"],
        max_versions=options["per_chart_limit"],
        provenance=options["provenance"],
    )
    if options["keyring"] is not None:
        from planeshift.charts import provenance
        from planeshift.charts.metadata import Invalid

        try:
            rules = replace(rules, keyring=tuple(provenance.read_keyring(options["keyring"])))
        except Invalid as error:
            raise PlaneshiftError(Problem("PS432", str(error))) from error
    elif options["provenance"] != "off":
        raise PlaneshiftError(Problem("PS108", f"--provenance {options['provenance']} needs --keyring"))
    pairs = [p.partition("=") if "=" in p else ("", "=", p) for p in options["artifact_hub_repo_id"]]
    return Settings(
        depth=None if options["depth_dynamic"] else options["depth"],
        context_path=context,
        rules=rules,
        allow_overwrite=options["allow_overwrite"],
        allow_force=not options["disable_force_overwrite"],
        api=not options["disable_api"],
        deletion=not options["disable_delete"],
        oci=not options["disable_oci"] and not options["disable_api"],
        metrics=not options["disable_metrics"],
        max_upload=options["max_upload_size"],
        chart_field=options["chart_post_form_field_name"],
        prov_field=options["prov_post_form_field_name"],
        read_timeout=options["read_timeout"],
        cors_origin=options["cors_alloworigin"],
        artifacthub={tenant: identifier for tenant, _, identifier in pairs},
        web=options["web_template_path"],
        look_interval=options["cache_interval"],
        log_health=options["log_health"],
        log_json=options["log_json"],
        version=__version__,
    )


def _auth_kind(options: Mapping[str, Any]) -> str:
    """The kind of authentication; none of it is possible on loopback addresses, or where it is said."""
    kind = options["auth"]
    if kind is None and options["basic_auth_user"]:
        kind = "basic"
    if kind is None:
        from planeshift.serving.run import is_loopback

        host = options["listen_host"]
        if not is_loopback(host):
            hint = "--auth basic, bearer or keystone; or --auth none, if everybody who reaches it may write."
            raise PlaneshiftError(Problem("PS435", f"{host} is not a loopback address, and nobody is asked", hint=hint))
    return str(kind or "none")


def _password(options: Mapping[str, Any]) -> str | None:
    given = os.environ.pop("BASIC_AUTH_PASS", None)
    path: Path | None = options["basic_auth_pass_file"]
    return path.read_text("utf-8").rstrip("\n") if path is not None else given


def _tls(options: Mapping[str, Any]) -> tuple[Path, Path] | None:
    certificate, key = options["tls_cert"], options["tls_key"]
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    return (certificate, key) if certificate is not None else None


def _print_index(museum: Any) -> int:
    repository = museum.open("")
    for buffer in repository.index.form("identity").buffers:
        sys.stdout.buffer.write(buffer)
    museum.close()
    return Exit.DONE


def _log(options: Mapping[str, Any]) -> None:
    import logging

    form = "%(message)s" if options["log_json"] else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=form)
    logging.getLogger("planeshift.charts").setLevel(logging.DEBUG if options["debug"] else logging.INFO)
