"""Where offered engines lie until they are decided about: in pieces, then whole, never under a name that is served."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fleet.errors import ConflictError
from mien.engines import EngineFile
from mien.errors import UnavailableError
from mien.files import sha256_of

_PRIVATE = 0o700


class Quarantine:
    """Files by the offer's id and their part in it.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, engine_id: str, part: str) -> Path:
        """Where a part lies."""
        return self._folder / engine_id / part

    def have(self, engine_id: str, part: str) -> int:
        """So many bytes of a part are here."""
        path = self.place(engine_id, part)
        return path.stat().st_size if path.is_file() else 0

    def append(self, engine_id: str, part: str, offset: int, content: bytes, *, most: int) -> int:
        """Add a piece where the part ends; one that is here already changes nothing.

        Returns:
            How many bytes are here now: the sender goes on there.

        Raises:
            ConflictError: the part would become longer than its record says.
            UnavailableError: the disk is full or read-only.
        """
        path = self.place(engine_id, part)
        have = self.have(engine_id, part)
        if offset != have:
            return have
        if have + len(content) > most:
            raise ConflictError(
                "more bytes came than the engine's record says", found=f"{have + len(content)}", wanted=f"≤ {most}"
            )
        try:
            self._folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as stream:
                stream.write(content)
        except OSError as error:
            raise UnavailableError("an offered engine could not be kept", found=error.strerror or str(error)) from error
        return have + len(content)

    def is_whole(self, engine_id: str, part: str, wanted: EngineFile) -> bool:
        """Whether all bytes of a part are here, whatever they are."""
        return self.have(engine_id, part) == wanted.size_bytes

    def is_true(self, engine_id: str, part: str, wanted: EngineFile) -> bool:
        """Whether a part is, byte for byte, what its record says; on the disk from then on."""
        path = self.place(engine_id, part)
        if not path.is_file() or path.stat().st_size != wanted.size_bytes or sha256_of(path) != wanted.sha256:
            return False
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        return True

    def drop(self, engine_id: str) -> None:
        """Throw an offer's bytes away."""
        shutil.rmtree(self._folder / engine_id, ignore_errors=True)

    def ids(self) -> set[str]:
        """Offers of which bytes lie here."""
        return {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()
