"""``mien fleet registry``: copies of the signed releases where devices fetch them."""

from __future__ import annotations

from pathlib import Path

import typer

from fleet.cli_shared import DATA, JSON, say
from mien.console import err

registry_app = typer.Typer(no_args_is_help=True, help="Copies of the signed releases, for devices to fetch from.")


@registry_app.command("sync")
def registry_sync(
    address: str = typer.Argument(..., metavar="s3://BUCKET/PREFIX", help="Where the copy is."),
    endpoint: str | None = typer.Option(None, help="Of a store that is not Amazon's: https://HOST."),
    region: str | None = typer.Option(None, help="The bucket's region."),
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Bring a copy of the registry up to date; readers never see half of a change. May be cut off and run again."""
    from dataclasses import asdict

    from fleet.paths import DataFolder
    from fleet.registry.mirror import sync
    from fleet.registry.mirror_plan import Upload
    from fleet.registry.mirror_s3 import S3Store, bucket_of
    from fleet.registry.repository import Repository

    def tell(upload: Upload) -> None:
        err().print(f"{upload.key}  {upload.size_bytes / 1e6:.2f} MB", highlight=False)

    store = S3Store(bucket_of(address, endpoint=endpoint, region=region))
    done = sync(Repository(DataFolder(data)), store, tell=tell)
    text = f"{address}: {done.files} files and {done.documents} documents put, {done.size_bytes / 1e6:.1f} MB"
    say(asdict(done), text if done.is_change else f"{address} is as the registry is", json=json)
