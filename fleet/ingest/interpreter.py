"""Settings of the interpreter for a process that ingests.

Messages hold no cycles and go away by themselves; but while thousands of them are on their way, the search for cycles
looks at all of them, and at every module, again and again: half the time of ingest. And a thread that waits for the
database has to ask for Python's lock after every statement; it gets it sooner.
"""

from __future__ import annotations

import gc
import sys

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50
_SWITCH_S = 0.001


def tune() -> None:
    """Leave what is loaded by now alone for good, look at the rest more seldom, and change threads sooner."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    sys.setswitchinterval(_SWITCH_S)
