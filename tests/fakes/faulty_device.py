"""``mien`` with an engine that errs on demand, and a board whose sensors are files. Runs as a program of its own.

The file named by ``MIEN_ORDER`` says how the engine errs: ``raise`` (on every frame), ``shut`` (that, and it cannot be
opened anew), ``nan``, ``hang`` (until the file says otherwise), ``slow`` (a second a frame; the file's neighbour with
``.call`` is there meanwhile). Without the file the real engine answers. The INA3221 and its board are looked for in the
folder named by ``MIEN_SYS``. At the end it prints which threads are left.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from edge import runtime
from edge.engine.chooser import open_engine
from edge.engine.interface import Engine, EngineError, EngineInfo, RawOutput
from edge.power import chooser
from edge.power.ina3221 import Ina3221
from mien.cli import main

ORDER, SYS = Path(os.environ["MIEN_ORDER"]), Path(os.environ["MIEN_SYS"])
CALL = ORDER.with_suffix(".call")


def order() -> str:
    """How the engine errs now; empty when it does not."""
    try:
        return ORDER.read_text().strip()
    except OSError:
        return ""


class FaultyEngine:
    """The real engine, between faults."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        how = order()
        if how in {"raise", "shut"}:
            raise EngineError("the engine failed on a frame", found="an illegal memory access")
        while how == "hang" and order() == "hang":
            time.sleep(0.02)
        if how == "slow":
            CALL.touch()
            time.sleep(1.0)
            CALL.unlink()
        raw = self._engine.infer(frames)
        return replace(raw, scores=np.full_like(raw.scores, np.nan)) if how == "nan" else raw

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_faulty(*given: Any, **more: Any) -> FaultyEngine:
    """Open the real engine, unless it is shut."""
    if order() == "shut":
        raise EngineError("the engine cannot be opened", found="out of memory")
    return FaultyEngine(open_engine(*given, **more))


if __name__ == "__main__":
    runtime.open_engine = open_faulty  # type: ignore[assignment]
    chooser.Ina3221 = partial(Ina3221, SYS)  # type: ignore[assignment, misc]
    try:
        main()
    finally:
        sys.stdout.write(f"threads: {', '.join(sorted(thread.name for thread in threading.enumerate()))}\n")
