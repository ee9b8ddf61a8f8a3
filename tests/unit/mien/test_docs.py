"""The documents say what the code says."""

import json
import re
from pathlib import Path

import pytest

from mien.errors import ExitCode
from mien.lifecycle import diagram

ROOT = Path(__file__).resolve().parents[3]
PAGE_OF_UPDATES = ROOT / "docs" / "updates.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_lifecycle_diagram_is_the_table():
    """The diagram in the architecture page is generated; a stale one fails here."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    shown = re.search(r"<!-- lifecycle -->\n```mermaid\n(.*?)```", page, re.DOTALL)
    assert shown
    assert shown[1] == diagram()


def test_the_readme_lists_every_exit_code():
    """A person who sees a number finds it."""
    readme = (ROOT / "README.md").read_text()
    assert [code for code in ExitCode if f"| {code.value} |" not in readme] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page):
    """No page names a file that is not there."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [link for link in links if not link.startswith(("http:", "https:", "mailto:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(("page", "results"), [("optimizer", "optimize"), ("runtime", "edge"), ("fleet", "fleet")])
def test_a_page_prints_what_the_bench_measured(page, results):
    """Each row of the page is a row of the bench's results, and each row of these is on the page."""
    measured = ROOT / "bench" / "results" / f"{results}.json"
    rows = json.loads(measured.read_text()) if measured.exists() else []
    lines = (ROOT / "docs" / f"{page}.md").read_text().splitlines()
    printed = [line for line in lines if line.startswith("|") and ("≤" in line or "≥" in line)]
    wanted = [f"| {row['figure']} | {row['value']:g} {row['unit']} | {row['target']} |" for row in rows]
    assert printed == wanted
    assert all(row["met"] or row["reason"] for row in rows)


def test_the_kill_matrix_is_the_one_that_was_measured():
    """The tables on the page are those of the results, in which every case held."""
    found = json.loads((ROOT / "bench" / "results" / "kill-matrix.json").read_text())
    shown = re.search(r"<!-- kill matrix -->\n(.*?)<!-- /kill matrix -->", PAGE_OF_UPDATES.read_text(), re.DOTALL)
    assert shown
    numbers = sorted(int(number) for number in re.findall(r"of (\d+)", shown[1]))
    assert numbers == sorted(cell["cases"] for cell in found["cells"])
    assert found["faults"] == []
    assert f"**{found['cases']} cases" in shown[1]
