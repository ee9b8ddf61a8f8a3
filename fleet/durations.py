"""Durations as people write them on a command line; devices read them too, so they live in :mod:`mien.durations`."""

from __future__ import annotations

from mien.durations import seconds_of

__all__ = ["seconds_of"]
