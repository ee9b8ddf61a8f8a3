"""Pieces of the page. Everything that comes from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def signed(value: float | None) -> str:
    """A number with its sign, or a dash where there is none."""
    return "—" if value is None else f"{value:+.4f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in a box of its own, in which it scrolls where the page is narrow."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(text: str) -> str:
    kind = {"passed": ' class="good"', "failed": ' class="bad"'}.get(text, "")
    return f"<td{kind}>{escape(text)}</td>"
