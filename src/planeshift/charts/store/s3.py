"""A store in a bucket, by obstore: Amazon's S3, Ceph's, OpenStack Swift's, and others that speak it.

A chart is written with `If-None-Match: *`, so that of several servers one wins. Whether the store heeds it is tried when
it is opened, and under a race: OpenStack Swift looks at the condition before it has the content, and takes several at
once. Where it does not, one server at a time writes, by a lease. Each upload bears a mark, by which a server whose answer
was lost knows its own object again.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions
from obstore.store import S3Store as Bucket

from planeshift.charts.names import RESERVED, is_tenant
from planeshift.charts.store import KNOWN, Exists, Missing, Stat, StoreError
from planeshift.charts.store.lease import Lease

if TYPE_CHECKING:
    from obstore import ObjectMeta

_MARK = "planeshift-upload"
_TIMEOUT = timedelta(seconds=30)
_RETRY = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_RACES, _RACERS = 6, 8  # one race finds Swift out in three of four cases


class S3Store:
    """Objects below a prefix of a bucket."""

    def __init__(self, bucket: Bucket, name: str, *, one_writer: bool = False) -> None:
        """`one_writer`: by the lease, whatever the store heeds. Raises StoreError where the bucket cannot be used."""
        self._bucket = bucket
        self.name = name
        self._locks = [threading.Lock() for _ in range(64)]  # of an object's writers in this process
        self.conditional = self._heeds_conditions() and not one_writer
        self._lease = None if self.conditional else Lease(_Claims(self))

    @classmethod
    def open(cls, url: str, environment: Mapping[str, str], *, one_writer: bool = False) -> S3Store:
        """The store of s3://BUCKET[/PREFIX], with the environment's credentials and endpoint. Raises StoreError."""
        name, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
        if not name:
            raise StoreError(f"{url} names no bucket")
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        options: dict[str, Any] = {
            "region": environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
        }
        if endpoint:
            style = environment.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false").lower() == "true"
            options |= {"endpoint": endpoint, "virtual_hosted_style_request": style}
        client: Any = {"timeout": _TIMEOUT, "connect_timeout": timedelta(seconds=5)}
        if endpoint and endpoint.startswith("http://"):
            client["allow_http"] = True
        retry: Any = _RETRY
        try:
            bucket = Bucket(name, prefix=prefix or None, client_options=client, retry_config=retry, **options)
        except (exceptions.BaseError, ValueError) as error:
            raise StoreError(f"{url} cannot be used: {_short(error)}") from error
        return cls(bucket, f"{endpoint or 's3'}/{name}/{prefix}", one_writer=one_writer)

    # --- reading

    def list(self, folder: str) -> Sequence[Stat]:
        with _failing(f"{self.name}/{folder} cannot be listed"):
            found = obstore.list_with_delimiter(self._bucket, self._path(folder) or None)
            return [_stat(o) for o in found["objects"]]

    def folders(self, folder: str) -> Sequence[str]:
        with _failing(f"{self.name}/{folder} cannot be listed"):
            found = obstore.list_with_delimiter(self._bucket, self._path(folder) or None)
            last = [p.rstrip("/").rpartition("/")[2] for p in found["common_prefixes"]]
        return sorted(p for p in last if is_tenant(p) and p != RESERVED)

    def stat(self, folder: str, file: str) -> Stat | None:
        with _failing(f"{file} cannot be looked at"), contextlib.suppress(FileNotFoundError):
            return _stat(obstore.head(self._bucket, self._path(folder, file)))
        return None

    def read(self, folder: str, file: str) -> tuple[bytes, Stat]:
        try:
            with _failing(f"{file} cannot be read"):
                found = obstore.get(self._bucket, self._path(folder, file))
                return bytes(found.bytes()), _stat(found.meta)
        except FileNotFoundError:
            raise Missing(file) from None

    def token(self, folder: str) -> str | None:
        return None

    # --- writing

    def save(self, folder: str, files: Sequence[tuple[str, bytes]], *, replace: bool) -> Sequence[Stat]:
        mark = secrets.token_hex(16)
        deciding = files[0][0]
        with self._locks[hash((folder, deciding)) % len(self._locks)], self._writing(folder):
            if not replace and (len(files) > 1 or not self.conditional) and self.stat(folder, deciding) is not None:
                raise Exists(deciding)
            for file, content in reversed(files):  # the first decides, and so comes last
                try:
                    self._put(folder, file, content, mark, create=file == deciding and not replace)
                except (Exists, StoreError):
                    if file == deciding and len(files) > 1 and self.stat(folder, deciding) is None:
                        self.delete(folder, [f for f, _ in files[1:]])
                    raise
            for file, content in files[1:]:  # another server, which lost, may have put its own there meanwhile
                if self._mark(folder, file) != mark:
                    self._put(folder, file, content, mark, create=False)
        stats = [self.stat(folder, f) for f, _ in files]
        if any(s is None for s in stats):
            raise StoreError(f"{deciding} was deleted while it was written")
        return [s for s in stats if s is not None]

    def delete(self, folder: str, files: Sequence[str]) -> bool:
        with self._writing(folder), _failing(f"{files[0]} cannot be deleted"):
            there = self.stat(folder, files[0]) is not None
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self._bucket, self._path(folder, file))
            return there

    def close(self) -> None:
        if self._lease is not None:
            self._lease.release()

    def _put(self, folder: str, file: str, content: bytes, mark: str, *, create: bool) -> None:
        path = self._path(folder, file)
        mode: Any = "create" if create and self.conditional else "overwrite"
        try:
            with _failing(f"{file} cannot be written"):
                obstore.put(self._bucket, path, content, attributes={_MARK: mark}, mode=mode, use_multipart=False)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError, StoreError) as error:
            # The answer to our own request may have been lost, and its repetition refused.
            if self._mark(folder, file) == mark:
                return
            raise error if isinstance(error, StoreError) else Exists(file) from None

    def _mark(self, folder: str, file: str) -> str | None:
        """The mark of the upload that an object is of."""
        try:
            with _failing(f"{file} cannot be looked at"):
                found = obstore.get(self._bucket, self._path(folder, file), options={"head": True})
                return str(found.attributes.get(_MARK))
        except (FileNotFoundError, StoreError):
            return None

    @contextlib.contextmanager
    def _writing(self, folder: str) -> Iterator[None]:
        if self._lease is not None and folder != KNOWN and not self._lease.hold():
            raise StoreError("another server writes to this store; it heeds no conditions", readonly=True)
        yield

    def _heeds_conditions(self) -> bool:
        """Whether one object can be made with `If-None-Match: *` once: one after the other, and by several at once."""
        with ThreadPoolExecutor(_RACERS) as pool:
            return self._made(2, map) <= 1 and all(self._made(_RACERS, pool.map) <= 1 for _ in range(_RACES))

    def _made(self, tries: int, run: Callable[..., Iterable[bool]]) -> int:
        """How many of several tries to make one object succeed."""
        path = f"{RESERVED}/probe-{secrets.token_hex(8)}"

        def make(_: int) -> bool:
            try:
                obstore.put(self._bucket, path, b"1", mode="create", use_multipart=False)
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return False
            except exceptions.NotSupportedError:
                return True  # nothing is refused there
            return True

        with _failing(f"{self.name} cannot be used"):
            try:
                return sum(run(make, range(tries)))
            except FileNotFoundError:
                raise StoreError(f"{self.name} cannot be used: there is no such bucket") from None
            finally:
                with contextlib.suppress(exceptions.BaseError, FileNotFoundError):
                    obstore.delete(self._bucket, path)

    def _path(self, folder: str, file: str = "") -> str:
        if not is_tenant(folder) and not folder.startswith(RESERVED + "/"):
            raise Missing(folder)
        return f"{folder}/{file}".strip("/")


class _Claims:
    """Where a lease's claims lie in a bucket."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._folder = f"{RESERVED}/writers"

    def put(self, server: str, content: bytes) -> None:
        with _failing("the lease cannot be written"):
            obstore.put(self._store._bucket, f"{self._folder}/{server}", content, use_multipart=False)

    def delete(self, server: str) -> None:
        with _failing("the lease cannot be given up"), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store._bucket, f"{self._folder}/{server}")

    def all(self) -> Mapping[str, tuple[bytes, float]]:
        found = {}
        now = datetime.now(UTC)
        with _failing("the lease cannot be read"):
            for meta in obstore.list_with_delimiter(self._store._bucket, self._folder)["objects"]:
                with contextlib.suppress(FileNotFoundError):
                    content = bytes(obstore.get(self._store._bucket, meta["path"]).bytes())
                    found[meta["path"].rpartition("/")[2]] = (content, (now - meta["last_modified"]).total_seconds())
        return found


def _stat(meta: ObjectMeta) -> Stat:
    modified = int(meta["last_modified"].timestamp() * 1000) * 1_000_000
    tag = (meta["e_tag"] or "").strip('"').replace("\t", " ").replace("\n", " ")
    return Stat(meta["path"].rpartition("/")[2], meta["size"], f"{meta['size']:x}-{tag}", modified)


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError, FileNotFoundError):
        raise
    except (exceptions.BaseError, OSError) as error:
        text = str(error)
        full = any(code in text for code in ("QuotaExceeded", "InsufficientStorage", "no space left", "507 "))
        raise StoreError(f"{what}: {_short(error)}", full=full) from error


def _short(error: Exception) -> str:
    """The library's words, without its debugging."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
