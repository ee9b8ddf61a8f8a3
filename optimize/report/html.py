"""Pieces of the page. Everything that comes from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def signed(value: float | None) -> str:
    """A number with its sign, or a dash where there is none."""
    return "—" if value is None else f"{value:+.4f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in a box of its own, in which it scrolls where the page is narrow.

    The first column is text, and so are those whose name starts with ``<``; the others are numbers, to the right.
    """
    text = [place == 0 or name.startswith("<") for place, name in enumerate(head)]
    top = "".join(
        f"<th{_kind(is_text)}>{escape(name.lstrip('<'))}</th>" for name, is_text in zip(head, text, strict=True)
    )
    body = "".join(f"<tr>{_row(row, text)}</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(row: Sequence[str], text: Sequence[bool]) -> str:
    return "".join(f"<td{_kind(is_text, cell)}>{escape(cell)}</td>" for cell, is_text in zip(row, text, strict=True))


def _kind(is_text: bool, cell: str = "") -> str:
    verdict = {"passed": "good", "failed": "bad"}.get(cell)
    kinds = [*(["text"] if is_text else []), *([verdict] if verdict else [])]
    return f' class="{" ".join(kinds)}"' if kinds else ""
