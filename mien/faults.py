"""What a wrong setting is called: the validator's findings in words, at a place that a person can count to. Pure.

Entries of a list count from one and carry their name where they have one. A finding about a whole section that only
follows from one inside it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Place = tuple[Any, ...]

_WORDS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "path_type": "must be a path",
    "literal_error": "must be {expected}",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a table of key: value lines",
    "model_type": "must be a table of key: value lines",
    "model_attributes_type": "must be a table of key: value lines",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters at most",
    "too_short": "must have {min_length} entries or more",
    "too_long": "must have {max_length} entries at most",
    "none_required": "must be left empty",
}
_CLASSES = re.compile(r"\^\[([^\]]+)\](?:\[([^\]]+)\])?(\*|\+|\{(\d+)(?:,(\d+))?\})?\$")
"""A pattern of one or two sets of characters, the last of them repeated."""
_RANGES = {"a-z": "small letters", "A-Z": "capital letters", "0-9": "digits", "a-f": "a to f"}
_NUMBERS = re.compile(r"\\d\+?|\\.|\(\\\.\\d\+\)\{1,2\}|[A-Za-z]")


def words_for(problem: Mapping[str, Any]) -> str:
    """One finding of pydantic in words."""
    kind, context = problem["type"], problem.get("ctx") or {}
    if kind == "string_pattern_mismatch":
        return form_of(context["pattern"])
    if kind in _WORDS:
        limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
        return _WORDS[kind].format(**limits)
    return str(problem["msg"]).removeprefix("Value error, ")


def form_of(pattern: str) -> str:
    """What a regular expression of settings asks for, in words; others than the usual ones are shown as they are."""
    if found := _CLASSES.fullmatch(pattern):
        return _of_characters(*found.groups())
    inner = pattern.removeprefix("^").removesuffix("$")
    if "\\d" in inner and not _NUMBERS.sub("", inner):
        short = inner.replace(r"(\.\d+){1,2}", ".N or N.N.N").replace(r"\d+", "N").replace(r"\d", "N")
        return f"must have the form {short.replace(chr(92), '')}, each N a number"
    return f"must have the form {pattern}"


def place_of(place: Place, values: Any) -> str:  # noqa: ANN401 - what was read
    """Where a finding stands: keys joined by dots, entries counted from one, with their names."""
    parts: list[str] = []
    here = values
    for part in place:
        here = _inside(here, part)
        name = here.get("name") if isinstance(part, int) and isinstance(here, Mapping) else None
        number = str(part + 1) if isinstance(part, int) else str(part)
        parts.append(f"{number} ({name})" if isinstance(name, str) and name else number)
    return ".".join(parts) or "(whole file)"


def without_echoes(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The findings without those about a section that another finding lies in."""
    places = [tuple(problem["loc"]) for problem in problems]
    return [
        problem
        for problem, place in zip(problems, places, strict=True)
        if not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]


def without_faulty(values: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was read, less every value that a finding stands at."""
    kept: dict[str, Any] = _pruned(values, {tuple(problem["loc"]) for problem in problems}, ())
    return kept


def touched(problems: Sequence[Mapping[str, Any]]) -> set[Place]:
    """The sections that a finding stands in directly; an entry of a list stands for the list, and its name for it."""
    names = [tuple(part for part in problem["loc"] if not isinstance(part, int)) for problem in problems]
    entries = [any(isinstance(part, int) for part in problem["loc"]) for problem in problems]
    return {
        (name[:-2] if entry and name[-1:] == ("name",) else name[:-1])
        for name, entry in zip(names, entries, strict=True)
    }


def _pruned(values: Any, faulty: set[Place], here: Place) -> Any:  # noqa: ANN401 - what was read
    if isinstance(values, Mapping):
        kept = {key: value for key, value in values.items() if (*here, key) not in faulty}
        return {key: _pruned(value, faulty, (*here, key)) for key, value in kept.items()}
    if isinstance(values, list | tuple):
        return [
            _pruned(value, faulty, (*here, index)) for index, value in enumerate(values) if (*here, index) not in faulty
        ]
    return values


def _inside(values: Any, part: Any) -> Any:  # noqa: ANN401 - what was read
    if isinstance(values, Mapping):
        return values.get(part)
    if isinstance(part, int) and isinstance(values, list | tuple) and part < len(values):
        return values[part]
    return None


def _of_characters(first: str, rest: str | None, repeat: str | None, least: str | None, most: str | None) -> str:
    extra = 0 if rest is None else 1
    length = ""
    if least is not None and most is None:
        length = f", {int(least) + extra} characters"
    elif most is not None:
        begin = int(least or 0) + extra
        length = f", {begin} to {int(most) + extra} characters" if begin > 1 else f", at most {int(most) + extra}"
    elif repeat is None:
        length = f", {1 + extra} characters"
    begin_words = f", the first out of {_named(first)}" if rest is not None and first != rest else ""
    return f"must consist of {_named(rest or first)}{begin_words}{length}"


def _named(characters: str) -> str:
    words = [name for span, name in _RANGES.items() if span in characters]
    for span in _RANGES:
        characters = characters.replace(span, "")
    signs = [{" ": "space"}.get(sign, f"'{sign}'") for sign in characters.replace("\\", "")]
    return ", ".join([*words, *signs])
