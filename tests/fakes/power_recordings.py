"""Recorded lines of tegrastats; where each comes from stands at the head of its file."""

from __future__ import annotations

from pathlib import Path

RECORDED = Path(__file__).parents[1] / "fixtures" / "power"


def recorded_lines(name: str) -> list[str]:
    """A board's lines, without the comments."""
    text = (RECORDED / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]
