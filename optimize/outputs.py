"""Where a step may write: never over what it reads, and never into a packed bundle."""

from __future__ import annotations

from pathlib import Path

from mien.errors import ConfigError
from mien.parts import sweep
from mien.release import MANIFEST

ARCHIVE = ".tar.zst"


def check_out(out: Path, *inputs: Path) -> None:
    """Make sure, before any work, that a result destroys nothing; what a killed run left of it is removed.

    Args:
        out: the file to write.
        inputs: the files that the step reads.

    Raises:
        ConfigError: ``out`` is one of the inputs, a folder, or a file of a release bundle.
    """
    if out.is_dir():
        found = "a folder"
    elif any(out.exists() and one.exists() and out.samefile(one) for one in inputs):
        found = "a file that this command reads"
    elif (out.parent / MANIFEST).is_file():
        found = f"a place inside the release bundle {out.parent}, which is never changed"
    else:
        sweep(out)
        return
    raise ConfigError(
        f"could not write to {out}", found=found, wanted="a file of its own", remedy="choose another --out"
    )


def check_archive(out: Path) -> None:
    """The same for an archive, which is called so.

    Raises:
        ConfigError: another name, or see :func:`check_out`.
    """
    check_out(out)
    if not out.name.endswith(ARCHIVE):
        raise ConfigError(
            f"could not write an archive to {out}",
            found=out.name,
            wanted=f"a name that ends in {ARCHIVE}",
            remedy="mend --out",
        )
