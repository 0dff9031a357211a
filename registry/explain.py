"""Pydantic's findings, in the words of a recipe: whose setting it is not, what there is, what was found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from aftertrain.core.errors import nearest
from aftertrain.core.ground.usage import EXPLAINED
from aftertrain.core.recipe import Recipe
from aftertrain.registry.elsewhere import ELSEWHERE, RENAMED, SAID_BEFORE
from aftertrain.registry.places import description, follows, model_at, setting_names
from aftertrain.registry.unions import UNION, joined

SHOWN = 100
"""Characters of a value that a message repeats."""
_QUOTED = re.compile(r"'([^']*)'")
_DIGITS = re.compile(r"[0-9]")
_PLAINER = {
    "float_parsing": "should be a number",
    "float_type": "should be a number",
    "int_parsing": "should be a whole number",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "string_type": "should be text",
    "list_type": "should be a list",
    "set_type": "should be a list",
    "frozen_set_type": "should be a list",
    "tuple_type": "should be a list",
}
"""Pydantic's types of errors whose own message speaks of parsing or of Python."""
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def explain(error: ValidationError, model: type[BaseModel], owner: str) -> ValidationError:
    """The same findings at the same places, each message rewritten.

    Args:
        model: what was validated.
        owner: how to call it, `loss 'dpo' (aftertrain 0.1.0)`.
    """
    details = error.errors(include_url=False)
    places = [detail["loc"] for detail in details]
    # A list whose items are wrong is short only because pydantic left them out.
    details = [d for d in details if d["type"] != "too_short" or not any(_inside(loc, d["loc"]) for loc in places)]
    details = joined(details, model)
    return ValidationError.from_exception_data(
        error.title,
        [
            InitErrorDetails(
                type=PydanticCustomError(
                    detail["type"],
                    "{message}",
                    {**_context(detail), "message": _message(detail, model, owner), EXPLAINED: True},
                ),
                loc=detail["loc"],
                input=detail["input"],
            )
            for detail in details
        ],
    )


def _context(detail: Any) -> dict[str, Any]:
    """What a finding that is already ours says beside its message."""
    context: dict[str, Any] = detail.get("ctx", {})
    return context if context.get(EXPLAINED) else {}


def _message(detail: Any, model: type[BaseModel], owner: str) -> str:
    message = str(detail["msg"])
    if detail.get("ctx", {}).get(EXPLAINED):
        return message
    loc: tuple[int | str, ...] = detail["loc"]
    if detail["type"] == "extra_forbidden":
        place = model_at(model, loc[:-1])
        names = setting_names(place) if place else []
        whose = owner if len(loc) == 1 else f"{_item(loc[:-1])} of {owner}"
        has = f"it has {', '.join(names)}." if names else "it has none."
        return f"not a setting of {whose}; {has}{_meant(str(loc[-1]), place, names)}"
    if detail["type"] == "missing":
        place = model_at(model, loc[:-1])
        described = description(place, str(loc[-1])) if place else ""
        return f"{owner} needs it{': ' + described if described else ''}"
    if detail["type"] == "string_pattern_mismatch":
        described = description(model_at(model, loc[:-1]) or model, str(loc[-1]))
        pattern = detail["ctx"]["pattern"]
        return f"{_shown(detail['input'])} does not match {pattern}{': ' + described if described else ''}"
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    message = _PLAINER.get(detail["type"], message)
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        offered = _QUOTED.findall(detail["ctx"]["expected"])
        return f"{message}, not {_shown(detail['input'])}{_choice(detail['input'], offered)}"
    if detail["type"] == UNION:
        return f"{message}, not {_shown(detail['input'])}{_choice(detail['input'], detail['ctx']['literals'])}"
    if detail["type"] in _BOUNDS:
        described = description(model_at(model, loc[:-1]) or model, str(loc[-1]))
        return f"{message}, not {_shown(detail['input'])}{': ' + described if described else ''}"
    if detail["type"] == "too_short":
        return f"should have at least {detail['ctx']['min_length']}, not {detail['ctx']['actual_length']}"
    if detail["type"] in ("value_error", "assertion_error"):
        return message
    if detail["type"] in ("model_type", "dict_type", "mapping_type"):
        message = "should be a mapping"
    return f"{message}, not {_shown(detail['input'])}"


def _meant(key: str, place: type[BaseModel] | None, names: Sequence[str]) -> str:
    """What to write in place of `key`: what another framework's name is here, or the nearest name there is."""
    if RENAMED.get(key) in names:
        return f" It is called {RENAMED[key]!r} now."
    here = ELSEWHERE.get(key)
    if here is not None and not here.paths:
        return f" {key!r}: {here.note}."
    if here is not None and place is not None:
        note = f" ({here.note})" if here.note else ""
        # In a nested mapping the path's head is already written: within 'optimizer' it is 'lr'.
        ends = [path.split(".", skip)[-1] for path in here.paths for skip in range(path.count(".") + 1)]
        for path in ends:
            if follows(place, path):
                return f" Did you mean {path!r}{note}?"
        if place is Recipe:
            return f" Did you mean {here.paths[0]!r} of a stage{note}?"
        if follows(Recipe, here.paths[0]):
            return f" Did you mean {here.paths[0]!r} of the recipe, beside 'stages'{note}?"
    guess = nearest(key, names)
    return f" Did you mean {guess!r}?" if guess else ""


def _choice(given: Any, choices: Sequence[str]) -> str:
    """The nearest choice that begins alike and has the same digits: float16 is a misspelling of no other type."""
    if not isinstance(given, str):
        return ""
    if SAID_BEFORE.get(given) in choices:
        return f". It is called {SAID_BEFORE[given]!r} now"
    alike = [c for c in choices if c[:1] == given[:1].lower() and _DIGITS.findall(c) == _DIGITS.findall(given)]
    guess = nearest(given, alike)
    return f". Did you mean {guess!r}?" if guess else ""


def _item(loc: Sequence[int | str]) -> str:
    """Where in the settings: a key, or the number of an item of a list as people count, from 1."""
    last = loc[-1]
    return f"item {last + 1} of {loc[-2]!r}" if isinstance(last, int) and len(loc) > 1 else repr(last)


def _inside(loc: Sequence[int | str], around: Sequence[int | str]) -> bool:
    return len(loc) > len(around) and tuple(loc[: len(around)]) == tuple(around)


def _shown(given: Any) -> str:
    if isinstance(given, Mapping):
        return "a mapping"
    if isinstance(given, Sequence) and not isinstance(given, str):
        return "a list"
    if given is None:
        return "null"
    shown = repr(given)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
