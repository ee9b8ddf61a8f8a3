"""One way to read configuration: a file becomes a frozen value, or every fault in it is reported at once.

The models are pydantic classes derived from :class:`Settings`, kept beside the code which uses them. An unknown key is
a fault, with the nearest valid name; a placeholder secret is a fault; nothing is read twice. What must agree between
values is looked at too wherever the section's own values are sound.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mien.errors import ConfigError
from mien.faults import place_of, touched, without_echoes, without_faulty, words_for

_PLACEHOLDER = re.compile(r"(?i)^(change[-_ ]?me|todo|xxx+|password|secret|<.*>)$")
_KINDS = {list: "a list", str: "text", int: "a number", float: "a number", bool: "yes or no"}
_SECRET_KEY = re.compile(r"(?i)(password|secret|token)$")


class Settings(BaseModel):
    """Base of every configuration section: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


def nearest(name: str, valid: Iterable[str], *, most: int = 3) -> list[str]:
    """The valid names most like ``name``, best first; empty when none is alike."""
    return difflib.get_close_matches(name, list(valid), n=most, cutoff=0.65)


def read_yaml(path: Path) -> Any:  # noqa: ANN401 - YAML is any value
    """Parse a YAML file with the safe loader.

    Raises:
        ConfigError: the file is missing, is not text, or is not YAML; with line and column.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"could not read {path}", found="no such file", remedy="check the path given on the command line"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"could not read {path}", found=str(error), wanted="a UTF-8 text file", remedy="check the path"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(
            f"{path} is not YAML",
            found=place + str(getattr(error, "problem", error)),
            remedy="mend that line",
        ) from error


def read_settings(model: type[S], path: Path, overrides: Mapping[str, Any] | None = None) -> S:
    """Read a YAML file into a settings model.

    Args:
        model: the settings class.
        path: the YAML file.
        overrides: values given on the command line; they win, and ``None`` values are ignored.

    Raises:
        ConfigError: with all faults of the file in one report.
    """
    loaded = read_yaml(path)
    if loaded is None:
        loaded = {}
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"{path} is not a table of settings",
            found=_KINDS.get(type(loaded), "one value"),
            wanted="key: value lines",
            remedy="write the settings as 'key: value', one a line, without a leading '-'",
        )
    return settings_from(model, {**loaded, **_given(overrides or {})}, source=str(path))


def settings_from(model: type[S], values: Mapping[str, Any], *, source: str) -> S:
    """Check a mapping against a settings model.

    Args:
        model: the settings class.
        values: what was read.
        source: where it came from, for the report.

    Raises:
        ConfigError: with all faults in one report.
    """
    faults = list(_placeholder_faults(values))
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        problems = without_echoes(error.errors())
        faults += [_fault(model, problem, values) for problem in (*problems, *_hidden(model, values, problems))]
    else:
        if not faults:
            return settings
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    raise ConfigError(
        f"{source} has {count}",
        remedy="mend what is listed and run the command again",
        faults=tuple(faults),
    )


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if value is not None}


def _hidden(
    model: type[BaseModel], values: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """What does not agree between the sound values, which pydantic looks at only where no single one is wrong.

    The wrong ones are left out for it, so a section that one stands in directly is not judged.
    """
    seen = {(tuple(problem["loc"]), problem["msg"]) for problem in problems}
    sections = touched(problems)
    try:
        model.model_validate(without_faulty(values, problems))
    except ValidationError as error:
        return [
            problem
            for problem in error.errors()
            if problem["type"] == "value_error"
            and isinstance(problem.get("input"), dict)
            and (tuple(problem["loc"]), problem["msg"]) not in seen
            and tuple(part for part in problem["loc"] if not isinstance(part, int)) not in sections
        ]
    return []


def _fault(model: type[BaseModel], problem: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    location = place_of(problem["loc"], values)
    if problem["type"] == "extra_forbidden":
        valid = _valid_names(model, problem["loc"][:-1])
        alike = nearest(str(problem["loc"][-1]), valid)
        hint = f"did you mean {' or '.join(alike)}?" if alike else f"valid: {', '.join(sorted(valid))}"
        return f"{location}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{location}: missing"
    given, said = problem.get("input"), words_for(problem)
    if isinstance(given, dict):
        return f"{location}: {said}"
    shown = "***" if _SECRET_KEY.search(".".join(map(str, problem["loc"]))) else repr(given)[:80]
    return f"{location}: {said} (found {shown})"


def _valid_names(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(str(part)) if current else None
        if field is not None:
            current = next(iter(_models_in(field.annotation)), None)
    return list(current.model_fields) if current else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - a type form
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in {Union, types.UnionType, list, tuple, dict, typing.Annotated}:
        return [found for inner in typing.get_args(annotation) for found in _models_in(inner)]
    return []


def _placeholder_faults(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in values.items():
        where = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _placeholder_faults(value, f"{where}.")
        elif isinstance(value, str) and _SECRET_KEY.search(str(key)) and _PLACEHOLDER.match(value):
            yield f"{where}: still a placeholder; put the real value into a file and name it with {key}_file"
