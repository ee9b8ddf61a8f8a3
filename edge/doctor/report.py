"""Shows findings to a person: one block each, readable at 80 columns, with the command on a line of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from edge.doctor.finding import Finding, State

_STYLES: dict[State, str] = {"ok": "green", "warning": "yellow", "wrong": "bold red", "skipped": "dim"}


def table_of_findings(findings: Sequence[Finding]) -> Table:
    """What was found, what was wanted, and what to do."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        style = _STYLES[finding.state]
        lines = Text(finding.found, style="dim" if finding.state == "skipped" else "")
        if finding.wanted:
            lines.append(f"\nwanted: {finding.wanted}")
        if finding.remedy and finding.state in {"warning", "wrong"}:
            lines.append(f"\n→ {finding.remedy}", style="bold")
        table.add_row(Text(finding.state, style=style), Text(finding.what), lines)
    return table


def summary_of(findings: Sequence[Finding]) -> str:
    """How many there are of each kind, in one line."""
    counts = Counter(finding.state for finding in findings)
    return ", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state])


def as_json(findings: Sequence[Finding]) -> dict[str, object]:
    """All of it, for machines."""
    return {
        "ok": all(finding.state != "wrong" for finding in findings),
        "findings": [finding.as_dict() for finding in findings],
    }
