"""Whether a file can be read at all, before anybody says that it is damaged."""

from __future__ import annotations

from pathlib import Path

from edge.camera.interface import CameraError


def check_readable(path: Path, kind: str) -> None:
    """Open the file and read its first byte.

    Args:
        path: the file.
        kind: what it should be, for the message: video or image.

    Raises:
        CameraError: there is no such file, this user may not read it, or it is empty.
    """
    try:
        with path.open("rb") as stream:
            is_empty = not stream.read(1)
    except PermissionError as error:
        remedy = f"run as a user who may, or: chmod a+r {path}, and a+x for the folders above it"
        raise CameraError(f"could not read the {kind} {path}", found="Permission denied", remedy=remedy) from error
    except OSError as error:
        found = error.strerror or str(error)
        raise CameraError(f"could not read the {kind} {path}", found=found, remedy="check the path") from error
    if is_empty:
        raise CameraError(f"the {kind} {path} is empty", found="0 bytes", remedy="copy or record it again")
