"""Errors that say what was tried, found, wanted and what to do next, and the one table of exit codes.

    MienError
    ├── UsageError        the command line is wrong: an option that is not there, a word where a number belongs
    ├── ConfigError       a configuration or an option is wrong: mend the file or the flag
    ├── DataError         a data set, image or label is wrong: mend the data
    ├── ModelError        weights or a graph are not what the step takes
    ├── GateError         a model was measured and found wanting: it is not let out
    ├── BundleError       a release bundle is damaged or not what its manifest says
    ├── TrustError        a signature, identity or certificate was refused
    ├── UnsupportedError  the machine lacks what was asked for
    ├── UnavailableError  something outside did not answer: trying again later may work
    └── InternalError     a bug of ours

A caller decides by class, a person by the remedy. Adapters turn library errors into these with ``raise … from``.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the ``mien`` command returns to the shell. Documented in README; never renumbered."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    CONFIG = 3
    DATA = 4
    MODEL = 5
    GATE = 6
    BUNDLE = 7
    TRUST = 8
    UNSUPPORTED = 9
    UNAVAILABLE = 10
    INTERRUPTED = 130


class MienError(Exception):
    """Root of every error mien raises on purpose.

    Args:
        what: one sentence: what was tried and what went wrong.
        found: what was found, if that helps.
        wanted: what would have been right.
        remedy: what to do next, as an instruction.
    """

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, what: str, *, found: str = "", wanted: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.found = found
        self.wanted = wanted
        self.remedy = remedy

    def __str__(self) -> str:
        """All parts on one line, for logs and messages."""
        parts = [self.what.rstrip(".")]
        if self.found:
            parts.append(f"found: {self.found}")
        if self.wanted:
            parts.append(f"wanted: {self.wanted}")
        if self.remedy:
            parts.append(f"next: {self.remedy}")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, str]:
        """The same parts for ``--json`` output and HTTP bodies."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "found": self.found,
            "wanted": self.wanted,
            "remedy": self.remedy,
        }


class UsageError(MienError):
    """The command line is wrong, before any of it was understood."""

    exit_code = ExitCode.USAGE


class ConfigError(MienError):
    """A configuration file or option is wrong; carries every fault found, not only the first."""

    exit_code = ExitCode.CONFIG

    def __init__(
        self, what: str, *, found: str = "", wanted: str = "", remedy: str = "", faults: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what, found=found, wanted=wanted, remedy=remedy)
        self.faults = faults

    def __str__(self) -> str:
        """The sentence, then one line for each fault."""
        return "\n".join([super().__str__(), *(f"  - {fault}" for fault in self.faults)])


class DataError(MienError):
    """A data set, image or label is wrong."""

    exit_code = ExitCode.DATA


class ModelError(MienError):
    """Weights or a graph are not what the step takes."""

    exit_code = ExitCode.MODEL


class GateError(MienError):
    """A model was measured and found wanting."""

    exit_code = ExitCode.GATE


class BundleError(MienError):
    """A release bundle is damaged or is not what its manifest says."""

    exit_code = ExitCode.BUNDLE


class TrustError(MienError):
    """A signature, an identity or a certificate was refused."""

    exit_code = ExitCode.TRUST


class UnsupportedError(MienError):
    """This machine or model lacks what was asked for; nothing is swapped silently."""

    exit_code = ExitCode.UNSUPPORTED


class UnavailableError(MienError):
    """Something outside did not answer (network, broker, camera, port, disk): a later try may work."""

    exit_code = ExitCode.UNAVAILABLE


class InternalError(MienError):
    """A bug in mien."""

    exit_code = ExitCode.INTERNAL
