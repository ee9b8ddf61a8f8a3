"""How commands speak: results go to stdout, talk and progress to stderr, and ``--json`` prints one JSON document.

Progress is an injected object, so the cores of the packages never know of spinners: pass :class:`Progress` down and
use :data:`SILENT` where nobody watches.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

T = TypeVar("T")
_NOTES_FROM = 110
"""Columns from which a bar has room for a note beside it."""
_LEAST_WIDTH = 20


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

    On a narrow screen the notes are left out, so that each bar stays in one line. They go to the stream that is stderr
    now: libraries that are silenced later by redirecting it silence no bar.
    """
    console = Console(file=sys.stderr)
    with RichProgress(*_columns(console.width), console=console) as rich:
        bar = _Bar(rich)
        yield bar
        bar.settle()


def _columns(width: int) -> list[ProgressColumn]:
    columns: list[ProgressColumn] = [
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    note = TextColumn("{task.fields[note]}", style="dim", markup=False)
    return [*columns, note] if width >= _NOTES_FROM else columns


def tracked(items: Sequence[T], description: str, progress: Progress = SILENT) -> Iterator[T]:
    """Iterate over ``items`` and report each as one unit of progress."""
    progress.start(description, len(items))
    for item in items:
        yield item
        progress.advance()


def wrapped(text: str, console: Console, *, indent: int = 0) -> str:
    """Prose with line breaks between words where a person reads it in a terminal; paths and long words stay whole.

    What is not a terminal gets it as one line. Print it with ``soft_wrap``; commands are not for this.

    Args:
        text: what is said; its own line breaks are kept.
        console: where.
        indent: of the lines after the first, and of what stands before the text on the first.
    """
    if not console.is_terminal:
        return text
    width, begin = max(console.width, indent + _LEAST_WIDTH), " " * indent
    lines = [
        textwrap.fill(
            line, width, initial_indent=begin, subsequent_indent=begin, break_long_words=False, break_on_hyphens=False
        )
        for line in text.splitlines()
    ]
    return "\n".join(lines)[indent:]


def show_notes(notes: Iterable[str], console: Console, *, word: str = "note", style: str = "yellow") -> None:
    """Print what is to be said besides a result, each beginning with one word."""
    indent = len(word) + 3
    for note in notes:
        console.print(
            f"  [{style}]{word}[/] {escape(wrapped(note, console, indent=indent))}", highlight=False, soft_wrap=True
        )


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
