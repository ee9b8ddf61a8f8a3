"""Errors that only a service has: something was asked for that is not there, or that contradicts what is."""

from __future__ import annotations

from mien.errors import ExitCode, MienError


class NotFoundError(MienError):
    """Nothing has this name."""

    exit_code = ExitCode.CONFIG


class ConflictError(MienError):
    """The request contradicts the present state; asking again changes nothing until that state changes."""

    exit_code = ExitCode.CONFIG
