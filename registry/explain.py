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
from aftertrain.registry.places import field_of, follows, model_at, setting_names
from aftertrain.registry.unions import UNION, joined

SHOWN = 100
"""Characters of a value that a message repeats."""
_QUOTED = re.compile(r"'([^']*)'")
_DIGITS = re.compile(r"[0-9]")
_PLAINER = {
    "should be a number": ("float_parsing", "float_type"),
    "should be a whole number": ("int_parsing", "int_type", "int_from_float"),
    "should be true or false": ("bool_parsing", "bool_type"),
    "should be text": ("string_type",),
    "should be a list": ("list_type", "set_type", "frozen_set_type", "tuple_type"),
    "should be a mapping": ("model_type", "dict_type", "mapping_type"),
}
"""What is said for pydantic's types of errors whose own message speaks of parsing or of Python."""
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
    rewritten = [_rewritten(detail, model, owner) for detail in joined(details, model)]
    return ValidationError.from_exception_data(error.title, rewritten)


def _rewritten(detail: Any, model: type[BaseModel], owner: str) -> InitErrorDetails:
    words = detail.get("ctx", {})
    if not words.get(EXPLAINED):
        words = {"message": _message(detail, model, owner), EXPLAINED: True}
    kind = PydanticCustomError(detail["type"], "{message}", words)
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"])


def _message(detail: Any, model: type[BaseModel], owner: str) -> str:
    loc: tuple[int | str, ...] = detail["loc"]
    kind, value = detail["type"], detail["input"]
    place = model_at(model, loc[:-1])
    if kind == "extra_forbidden":
        names = setting_names(place) if place else []
        whose = owner if len(loc) == 1 else f"{_item(loc[:-1])} of {owner}"
        has = f"it has {', '.join(names)}." if names else "it has none."
        return f"not a setting of {whose}; {has}{_meant(str(loc[-1]), place, names)}"
    field = field_of(place, loc[-1]) if place and loc else None
    ending = f": {field.description}" if field and field.description else ""
    if kind == "missing":
        return f"{owner} needs it{ending}"
    if kind == "string_pattern_mismatch":
        return f"{_shown(value)} does not match {detail['ctx']['pattern']}{ending}"
    if kind == "too_short":
        return f"should have at least {detail['ctx']['min_length']}, not {detail['ctx']['actual_length']}"
    message: str = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind in ("value_error", "assertion_error"):
        return message
    message = next((words for words, kinds in _PLAINER.items() if kind in kinds), message)
    if kind == "literal_error":
        return f"{message}, not {_shown(value)}{_choice(value, _QUOTED.findall(detail['ctx']['expected']))}"
    if kind == UNION:
        return f"{message}, not {_shown(value)}{_choice(value, detail['ctx']['literals'])}"
    return f"{message}, not {_shown(value)}{ending if kind in _BOUNDS else ''}"


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


def _choice(value: Any, choices: Sequence[str]) -> str:
    """The nearest choice that begins alike and has the same digits: float16 is a misspelling of no other type."""
    if not isinstance(value, str):
        return ""
    if SAID_BEFORE.get(value) in choices:
        return f". It is called {SAID_BEFORE[value]!r} now"
    alike = [c for c in choices if c[:1] == value[:1].lower() and _DIGITS.findall(c) == _DIGITS.findall(value)]
    guess = nearest(value, alike)
    return f". Did you mean {guess!r}?" if guess else ""


def _item(loc: Sequence[int | str]) -> str:
    """Where in the settings: a key, or the number of an item of a list as people count, from 1."""
    last = loc[-1]
    return f"item {last + 1} of {loc[-2]!r}" if isinstance(last, int) and len(loc) > 1 else repr(last)


def _inside(loc: Sequence[int | str], around: Sequence[int | str]) -> bool:
    return len(loc) > len(around) and tuple(loc[: len(around)]) == tuple(around)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    if value is None:
        return "null"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
