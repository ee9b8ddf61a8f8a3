"""How commands speak: results go to stdout, talk and progress to stderr, and ``--json`` prints one JSON document.

Progress is an injected object, so the cores of the packages never know of spinners: pass :class:`Progress` down and
use :data:`SILENT` where nobody watches.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

T = TypeVar("T")


class Progress(Protocol):
    """What a long step tells about itself."""

    def start(self, description: str, total: int | None = None) -> None:
        """Begin a piece of work with ``total`` units, or of unknown length, and end the one before."""

    def advance(self, units: int = 1, *, note: str = "") -> None:
        """Report finished units, with an optional short note such as the current loss."""


class _Silent:
    def start(self, description: str, total: int | None = None) -> None: ...

    def advance(self, units: int = 1, *, note: str = "") -> None: ...


SILENT: Progress = _Silent()


class _Bar:
    def __init__(self, rich: RichProgress) -> None:
        self._rich = rich
        self._task: Any = None
        self._endless = False

    def start(self, description: str, total: int | None = None) -> None:
        self.settle()
        self._endless = total is None
        self._task = self._rich.add_task(description, total=total, note="")

    def advance(self, units: int = 1, *, note: str = "") -> None:
        if self._task is not None:
            self._rich.update(self._task, advance=units, note=note)

    def settle(self) -> None:
        """End the piece of work that was begun last: no note, and no bar that pulses for ever."""
        if self._task is None:
            return
        self._rich.update(self._task, note="")
        if self._endless:
            done = max(1, int(self._rich.tasks[-1].completed))
            self._rich.update(self._task, total=done, completed=done)


def out() -> Console:
    """The console for results (stdout)."""
    return Console()


def err() -> Console:
    """The console for talk, progress and errors (stderr)."""
    return Console(stderr=True)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress bars on stderr while the block runs; work of unknown length pulses beside the time it took.

    They go to the stream that is stderr now: libraries that are silenced later by redirecting it silence no bar.
    """
    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with RichProgress(*columns, console=Console(file=sys.stderr)) as rich:
        bar = _Bar(rich)
        yield bar
        bar.settle()


def tracked(items: Sequence[T], description: str, progress: Progress = SILENT) -> Iterator[T]:
    """Iterate over ``items`` and report each as one unit of progress."""
    progress.start(description, len(items))
    for item in items:
        yield item
        progress.advance()


def table_of(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; columns whose name starts with ``>`` are aligned to the right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        table.add_row(*(Text("—" if cell is None else str(cell)) for cell in row))
    return table


def print_json(value: Any) -> None:  # noqa: ANN401 - JSON is any value
    """Print one JSON document on stdout, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
