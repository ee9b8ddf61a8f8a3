"""A bucket of an S3-compatible store as a place for a copy of the registry.

Keys come from where S3's tools take them: the environment (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``), or the
machine's role. The timestamp alone is ever written over: it is put on the condition that nobody wrote it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.errors import ConflictError
from fleet.registry.mirror_plan import TIMESTAMP, Held, Upload
from mien.errors import ConfigError, UnavailableError, UnsupportedError
from mien.hosts import is_private_way

_SCHEME = "s3://"
_REMEDY = "check bucket, endpoint, region and the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where in an S3-compatible store."""

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    @property
    def address(self) -> str:
        """As it was given."""
        return f"{_SCHEME}{self.name}/{self.prefix}".rstrip("/")


def bucket_of(address: str, *, endpoint: str | None = None, region: str | None = None) -> Bucket:
    """Read ``s3://BUCKET/PREFIX``.

    Raises:
        ConfigError: it has another form, or keys would go to another machine in plain http.
    """
    name, _, prefix = address.removeprefix(_SCHEME).partition("/")
    if not address.startswith(_SCHEME) or not name:
        raise ConfigError(f"'{address}' is no place for a copy of the registry", wanted="s3://BUCKET/PREFIX")
    if endpoint is not None and not is_private_way(endpoint):
        raise ConfigError(
            "refuses to sign requests to a store in plain http",
            found=endpoint,
            wanted="https://HOST; http is for this machine alone",
        )
    return Bucket(name=name, prefix=prefix.strip("/"), endpoint=endpoint, region=region)


class S3Store:
    """A bucket.

    Args:
        bucket: which, and where.

    Raises:
        UnsupportedError: the client library is not installed.
        ConfigError: the address or the environment cannot be used.
    """

    def __init__(self, bucket: Bucket) -> None:
        try:
            import obstore
            from obstore.store import S3Store as Client
        except ImportError as error:
            raise UnsupportedError(
                "copies in an S3 store need the library obstore", remedy="pip install 'mien[s3]'"
            ) from error
        self._bucket, self._library = bucket, obstore
        options: dict[str, Any] = {"endpoint": bucket.endpoint, "region": bucket.region}
        given = {name: value for name, value in options.items() if value is not None}
        plain = bucket.endpoint is not None and bucket.endpoint.startswith("http://")
        try:
            self._store: Any = Client(
                bucket.name, prefix=bucket.prefix or None, client_options={"allow_http": plain}, **given
            )
        except obstore.exceptions.BaseError as error:
            raise ConfigError(f"{bucket.address} cannot be used", found=_first_line(error), remedy=_REMEDY) from error

    def held(self) -> Iterator[tuple[str, Held]]:
        """See :class:`fleet.registry.mirror.ObjectStore`."""
        with self._answers():
            for page in self._library.list(self._store):
                for found in page:
                    yield found["path"], Held(size_bytes=found["size"], e_tag=found["e_tag"])

    def read(self, key: str) -> bytes | None:
        """See :class:`fleet.registry.mirror.ObjectStore`."""
        with self._answers():
            try:
                return bytes(self._library.get(self._store, key).bytes())
            except FileNotFoundError:
                return None

    def put(self, upload: Upload, content: bytes | Path, *, over: Held | None) -> None:
        """See :class:`fleet.registry.mirror.ObjectStore`."""
        headers = {"Cache-Control": upload.cache_control, "Content-Type": upload.content_type}
        options: dict[str, Any] = {"attributes": headers}
        if upload.key == TIMESTAMP:
            options["mode"] = "create" if over is None else {"e_tag": over.e_tag}
            options["use_multipart"] = False
        with self._answers():
            self._library.put(self._store, upload.key, content, **options)

    @contextmanager
    def _answers(self) -> Iterator[None]:
        errors = self._library.exceptions
        try:
            yield
        except (errors.PreconditionError, errors.AlreadyExistsError) as error:
            raise ConflictError(
                f"another service wrote {self._bucket.address} meanwhile",
                found=_first_line(error),
                wanted="one service for a copy",
                remedy="end the other one, or give each its own prefix",
            ) from error
        except (errors.BaseError, OSError) as error:
            raise UnavailableError(
                f"the store at {self._bucket.address} does not take the copy", found=_first_line(error), remedy=_REMEDY
            ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
