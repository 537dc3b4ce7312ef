"""ChartMuseum's API: what each route does with a repository. Blocking; called in threads."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from planeshift.charts import archive, index, names
from planeshift.charts.index import Entry
from planeshift.charts.metadata import Invalid
from planeshift.charts.repository import Conflict, LimitReached, Repository
from planeshift.charts.server import multipart
from planeshift.charts.server.settings import Settings
from planeshift.charts.store import Missing, StoreError
from planeshift.serving.http import Reply, Request, as_json, error

SAVED = {"saved": True}
DELETED = {"deleted": True}
CHART_TYPE, PROVENANCE_TYPE = "application/x-tar", "application/pgp-signature"


class Api:
    """Each method answers one kind of request."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    # --- looking

    def list(self, request: Request, repository: Repository, _: Mapping[str, str]) -> Reply:
        """All charts, or `limit` of them from `offset`, by name."""
        offset, limit = request.query.get("offset"), request.query.get("limit")
        if offset is not None and not offset.isdecimal():
            return error(400, "offset is not a valid non-negative integer")
        if limit is not None and (not limit.isdecimal() or int(limit[:19]) == 0):
            return error(400, "limit is not a valid positive integer")
        start = int((offset or "0")[:19])
        found = repository.index.names()[start : start + int(limit[:19]) if limit else None]
        return _json(index.as_json_map({n: repository.index.chart(n) for n in found}))

    def chart(self, _: Request, repository: Repository, wanted: Mapping[str, str]) -> Reply:
        """All versions of a chart."""
        found = repository.index.chart(wanted["name"])
        return _json(index.as_json_list(found)) if found else error(404, "chart not found")

    def version(self, _: Request, repository: Repository, wanted: Mapping[str, str]) -> Reply:
        """One version: by name, by range, or the `latest` release."""
        found = self._find(repository, wanted)
        return found if isinstance(found, Reply) else _json(found.json)

    def templates(self, _: Request, repository: Repository, wanted: Mapping[str, str]) -> Reply:
        """A version's templates, base64 as Go's JSON has bytes, and its default values."""
        found = self._find(repository, wanted)
        if isinstance(found, Reply):
            return found
        files = archive.load(repository.read(found)[0]).files
        shown = [
            {"name": path, "data": base64.b64encode(content).decode()}
            for path, content in files.items()
            if path.startswith("templates/")
        ]
        return as_json(200, {"templates": shown, "values": _values(files.get("values.yaml", b""))})

    def values(self, _: Request, repository: Repository, wanted: Mapping[str, str]) -> Reply:
        """A version's values.yaml."""
        found = self._find(repository, wanted)
        if isinstance(found, Reply):
            return found
        files = archive.load(repository.read(found)[0]).files
        if "values.yaml" not in files:
            return error(404, "values.yaml not found")
        return Reply(body=files["values.yaml"], type="application/yaml")

    def download(self, _: Request, repository: Repository, wanted: Mapping[str, str]) -> Reply:
        """A chart, or its provenance file."""
        file = wanted["file"]
        chart = file.removesuffix(".prov")
        if not chart.endswith(names.CHART):
            return error(404, "object not found")
        if "id" in wanted:
            name, version = wanted["id"].split("@", 1)
            pairs = [(name, version)] if chart == f"{name}-{version}{names.CHART}" else []
        else:
            pairs = names.candidates(chart)
        entries = [e for n, v in pairs if (e := repository.find(n, v)) is not None]
        if len(entries) > 1:
            urls = " or ".join(names.download(e.name, e.version) for e in entries)
            return error(409, f"{chart} is the file name of more than one chart: ask for {urls}")
        if not entries or (file != chart and not entries[0].prov):
            return error(404, "object not found")
        if file != chart:
            prov = repository.read_provenance(entries[0])
            return Reply(body=prov, type=PROVENANCE_TYPE, etag=entries[0].prov, ranges=True)
        data, entry = repository.read(entries[0])
        return Reply(body=data, type=CHART_TYPE, etag=entry.digest, ranges=True)

    def artifacthub(self, _: Request, repository: Repository, __: Mapping[str, str]) -> Reply:
        """The file by which Artifact Hub knows whose repository this is."""
        found = self.settings.artifacthub.get(repository.tenant)
        if not found:
            return error(404, "Artifact Hub repository ID not found" if self.settings.artifacthub else "not found")
        return Reply(body=f"repositoryID: {found}\n".encode(), type="application/x-yaml")

    # --- changing

    def upload(self, request: Request, repository: Repository, body: bytes) -> Reply:
        """Keep a chart: the body, or a form with a chart, its provenance or both."""
        force = self._forced(request)
        kind = request.headers.get("content-type", "")
        if not kind.lower().startswith("multipart/form-data"):
            repository.add(body, force=force)
            return as_json(201, SAVED)
        try:
            files = multipart.files(body, kind)
        except ValueError as problem:
            return error(400, f"the form cannot be read: {problem}")
        chart = files.get("chart", files.get(self.settings.chart_field))
        prov = files.get("prov", files.get(self.settings.prov_field))
        if chart is not None:
            try:
                repository.add(chart, prov, force=force)
            except Conflict:
                return error(409, "chart already exists")
        elif prov is not None:
            repository.add_provenance(prov, force=force)
        else:
            fields = f"{self.settings.chart_field} and {self.settings.prov_field}"
            return error(400, f"no package or provenance file found in form fields {fields}")
        return as_json(201, SAVED)

    def upload_provenance(self, request: Request, repository: Repository, body: bytes) -> Reply:
        """Keep a provenance file."""
        repository.add_provenance(body, force=self._forced(request))
        return as_json(201, SAVED)

    def delete(self, _: Request, repository: Repository, wanted: Mapping[str, str]) -> Reply:
        """Delete a version."""
        there = repository.remove(wanted["name"], wanted["version"])
        return as_json(200, DELETED) if there else error(404, "chart version not found")

    # --- inside

    def _forced(self, request: Request) -> bool:
        return self.settings.allow_overwrite or (self.settings.allow_force and "force" in request.query)

    def _find(self, repository: Repository, wanted: Mapping[str, str]) -> Entry | Reply:
        name, version = wanted["name"], wanted["version"]
        exact = repository.find(name, version)
        if exact is not None:
            return exact
        if not repository.index.chart(name):
            return error(404, "no chart name found")
        try:
            found = repository.index.find(name, "" if version == "latest" else version)
        except ValueError as problem:
            return error(404, str(problem))
        return found if found is not None else error(404, f"no chart version found for {name}-{version}")


def answer(problem: Exception) -> Reply:
    """What a client is told of a problem; raises what is none that is known."""
    if isinstance(problem, Invalid):
        return error(400, str(problem))
    if isinstance(problem, Conflict):
        return error(409, "file already exists")
    if isinstance(problem, LimitReached):
        return error(507, str(problem))
    if isinstance(problem, Missing):
        return error(404, "object not found")
    if isinstance(problem, StoreError):
        if problem.full:
            return error(507, "the store has no space left")
        if problem.readonly:
            return error(503, str(problem), **{"retry-after": "5"})
        return error(500, str(problem))
    raise problem


def _json(body: bytes) -> Reply:
    return Reply(body=body)


def _values(text: bytes) -> object:
    """Values as JSON; what YAML has and JSON has not is said as text."""
    import json

    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader
        return json.loads(json.dumps(found if found is not None else {}, default=str))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        return {}
