"""The ``mien`` command: mounts each package's commands by name, only when they are used.

``mien --help`` imports none of the packages. A missing extra is named, with the command that installs it. Errors of
mien are printed with their remedy and end with the exit code of :class:`mien.errors.ExitCode`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ParameterInfo

from mien import __version__
from mien.endings import end_in_order, ended, interrupts_unwind
from mien.errors import ConfigError, ExitCode, MienError, UnavailableError, UnsupportedError, UsageError

_PARTS: dict[str, tuple[str, str, str]] = {
    "demo": ("mien.demo.cli", "", "Run the whole way once: data, training, bundles, fleet, rollouts, a bad release."),
    "train": ("trainer.cli", "train", "Make and check data sets, train a detector, keep its record."),
    "optimize": ("optimize.cli", "optimize", "Compile, calibrate, measure and pack a release bundle."),
    "edge": ("edge.cli", "edge", "Run a model on this device, enrol it, look at it."),
    "fleet": ("fleet.cli", "fleet", "Serve a fleet: devices, signed releases, rollouts, dashboard."),
}
_OWN_PACKAGES = {"mien", "edge", "trainer", "optimize", "fleet"}


class _LazyParts(TyperGroup):
    """A command group that knows the names and one-line helps of its parts, and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's own signature
        return list(_PARTS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - typer's own signature
        part = _PARTS.get(cmd_name)
        return TyperCommand(cmd_name, help=part[2]) if part else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own signature
        name, stub, rest = super().resolve_command(ctx, args)
        return (name, load_part(name), rest) if name in _PARTS else (name, stub, rest)


app = typer.Typer(cls=_LazyParts, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def _mien(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """From a labelled data set to a fleet of Jetsons that takes a bad release back by itself."""
    if version:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


def load_part(name: str) -> Any:  # noqa: ANN401 - a typer command
    """Import one part's commands.

    Raises:
        UnsupportedError: a library of that part's extra is not installed; names both.
    """
    module, extra, _ = _PARTS[name]
    try:
        part = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(name, extra, error) from error
    _leave_reading_to_readers(part.app)
    return typer.main.get_command(part.app)


def _leave_reading_to_readers(app: typer.Typer) -> None:
    """A file that may not be read is told of by whoever opens it, as a missing one is: as an error of mien."""
    for command in app.registered_commands:
        parameters = inspect.signature(command.callback).parameters.values() if command.callback else ()
        for option in (parameter.default for parameter in parameters):
            if isinstance(option, ParameterInfo):
                option.readable = False
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _leave_reading_to_readers(group.typer_instance)


def _of_the_machine(error: OSError) -> UnavailableError:
    """What the operating system refused and no command translated."""
    return UnavailableError(
        f"the machine refused something: {error.strerror or error}",
        found=str(error.filename or error),
        remedy="look at that path's owner, mode and disk, then run the command again",
    )


def _missing(name: str, extra: str, error: ModuleNotFoundError) -> UnsupportedError | ModuleNotFoundError:
    library = (error.name or "").partition(".")[0]
    if library in _OWN_PACKAGES:
        return error
    return UnsupportedError(
        f"'mien {name}' needs {library}, which is not installed",
        remedy=f"make setup, or in the checkout: pip install '.[{extra}]'",
    )


def main() -> None:
    """Entry point of the console script."""
    end_in_order()
    try:
        with interrupts_unwind():
            code = _outcome()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = ExitCode.INTERRUPTED
    ended()
    sys.exit(int(code))


def _outcome() -> int:
    """Run the command; what it raises becomes words and an exit code.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    code: int
    try:
        result = typer.main.get_command(app)(standalone_mode=False)
        code = result if isinstance(result, int) else ExitCode.OK
    except MienError as error:
        report(error)
        code = error.exit_code
    except ModuleNotFoundError as error:
        part = next((name for name in sys.argv[1:2] if name in _PARTS), None)
        missing = _missing(part, _PARTS[part][1], error) if part else error
        if not isinstance(missing, MienError):
            raise
        report(missing)
        code = missing.exit_code
    except (typer.Abort, EOFError) as error:  # what typer makes of a KeyboardInterrupt
        raise KeyboardInterrupt from error
    except OSError as error:
        found = _of_the_machine(error)
        report(found)
        code = found.exit_code
    except Exception as error:
        if not hasattr(error, "show") or not hasattr(error, "exit_code"):
            raise
        _report_usage(error)
        code = error.exit_code
    return code


def _report_usage(error: Any) -> None:  # noqa: ANN401 - typer's own error of a wrong command line
    """Print what typer says about a wrong command line, and one JSON document as for any other error."""
    from mien.console import print_json

    if "--json" in sys.argv:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "mien"
        wrong = UsageError(error.format_message(), remedy=f"see: {command} --help")
        print_json(wrong.as_dict())
    error.show()


def report(error: MienError) -> None:
    """Print an error: for people on stderr, and as one JSON document on stdout when ``--json`` was given."""
    from mien.console import err, print_json, wrapped

    if "--json" in sys.argv:
        print_json(error.as_dict() | ({"faults": list(error.faults)} if isinstance(error, ConfigError) else {}))
    console = err()
    said = _plain(wrapped(error.what, console, indent=6))
    console.print(f"[bold red]error[/] {said}", highlight=False, soft_wrap=True)
    for label, text in (("found", error.found), ("wanted", error.wanted)):
        if text:
            said = _plain(wrapped(text, console, indent=9))
            console.print(f"  [dim]{label:7}[/]{said}", highlight=False, soft_wrap=True)
    for fault in getattr(error, "faults", ()):
        console.print(f"  - {_plain(wrapped(fault, console, indent=4))}", highlight=False, soft_wrap=True)
    if error.remedy:
        console.print(f"  [bold green]next   [/]{_plain(error.remedy)}", highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
