"""The check's report as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from trainer.data.check import Report

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{border-bottom:1px solid #d8dee4;padding:.3rem .6rem;"
    "text-align:left;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".bar{background:#4c8dca;height:.7rem;border-radius:2px}.error{color:#b42318}.warning{color:#8a5a00}.ok{color:#1a7f37}"
    "@media(prefers-color-scheme:dark){body{background:#15181c;color:#dde3ea}th,td{border-color:#333a42}}"
)


def html_of(report: Report, *, title: str) -> str:
    """The whole page.

    Args:
        report: from :func:`trainer.data.check.judge`.
        title: what was checked, such as the path of its ``data.yaml``.
    """
    verdict = '<p class="ok">Fit to train on.</p>' if report.ok else '<p class="error">Not fit to train on.</p>'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style>'
        f"<h1>Data check</h1><p><code>{escape(title)}</code></p>{verdict}{_counts(report)}{_findings(report)}</html>\n"
    )


def _counts(report: Report) -> str:
    splits = list(report.images)
    names = list(next(iter(report.boxes.values()), {}))
    most = max((count for boxes in report.boxes.values() for count in boxes.values()), default=0) or 1
    head = ["<th>class</th>", *(f'<th class="n">{escape(split)}</th><th></th>' for split in splits)]
    rows = [
        [f"<td>{escape(name)}</td>", *(_counted(report.boxes[split][name], most) for split in splits)] for name in names
    ]
    rows.append(["<td>images</td>", *(f'<td class="n">{report.images[split]}</td><td></td>' for split in splits)])
    return f"<h2>Boxes by class</h2>{_table(head, rows)}"


def _counted(count: int, most: int) -> str:
    return f'<td class="n">{count}</td><td><div class="bar" style="width:{100 * count / most:.0f}%"></div></td>'


def _findings(report: Report) -> str:
    if not report.findings:
        return '<h2>Findings</h2><p class="ok">None.</p>'
    head = ["<th>severity</th>", "<th>what</th>", '<th class="n">count</th>', "<th>for example</th>"]
    rows = [
        [
            f'<td class="{finding.severity}">{finding.severity}</td>',
            f"<td>{escape(finding.what)}</td>",
            f'<td class="n">{finding.count}</td>',
            f"<td>{'<br>'.join(escape(example) for example in finding.examples)}</td>",
        ]
        for finding in report.findings
    ]
    return f"<h2>Findings</h2>{_table(head, rows)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(head)}</tr>{body}</table>"
