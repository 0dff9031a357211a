"""Pydantic's findings, in the words of a recipe: whose setting it is not, what there is, what was found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from aftertrain.core.errors import nearest

EXPLAINED = "explained"
"""Key in an error's context that says its message is already ours."""

_QUOTED = re.compile(r"'([^']*)'")
_PLAINER = {
    "float_parsing": "should be a number",
    "float_type": "should be a number",
    "int_parsing": "should be a whole number",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
}
"""Pydantic's types of errors whose own message speaks of parsing."""


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
    return ValidationError.from_exception_data(
        error.title,
        [
            InitErrorDetails(
                type=PydanticCustomError(
                    detail["type"],
                    "{message}",
                    {"message": _message(detail, model, owner), EXPLAINED: True},
                ),
                loc=detail["loc"],
                input=detail["input"],
            )
            for detail in details
        ],
    )


def setting_names(model: type[BaseModel]) -> list[str]:
    """The keys of a settings class as they are written in a recipe."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _message(detail: Any, model: type[BaseModel], owner: str) -> str:
    message = str(detail["msg"])
    if detail.get("ctx", {}).get(EXPLAINED):
        return message
    loc: tuple[int | str, ...] = detail["loc"]
    if detail["type"] == "extra_forbidden":
        place = _model_at(model, loc[:-1])
        names = setting_names(place) if place else []
        whose = owner if len(loc) == 1 else f"{_item(loc[:-1])} of {owner}"
        guess = nearest(str(loc[-1]), names)
        hint = f" Did you mean {guess!r}?" if guess else ""
        has = f"it has {', '.join(names)}." if names else "it has none."
        return f"not a setting of {whose}; {has}{hint}"
    if detail["type"] == "missing":
        place = _model_at(model, loc[:-1])
        described = _description(place, str(loc[-1])) if place else ""
        return f"{owner} needs it{': ' + described if described else ''}"
    if detail["type"] == "string_pattern_mismatch":
        described = _description(_model_at(model, loc[:-1]) or model, str(loc[-1]))
        return f"{detail['input']!r} does not match {detail['ctx']['pattern']}{': ' + described if described else ''}"
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    message = _PLAINER.get(detail["type"], message)
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        guess = nearest(detail["input"], _QUOTED.findall(detail["ctx"]["expected"]))
        return f"{message}, not {_shown(detail['input'])}{f'. Did you mean {guess!r}?' if guess else ''}"
    if detail["type"] == "too_short":
        return f"should have at least {detail['ctx']['min_length']}, not {detail['ctx']['actual_length']}"
    if detail["type"] in ("value_error", "assertion_error"):
        return message
    if detail["type"] in ("model_type", "dict_type", "mapping_type"):
        message = "should be a mapping"
    return f"{message}, not {_shown(detail['input'])}"


def _item(loc: Sequence[int | str]) -> str:
    """Where in the settings: a key, or the number of an item of a list as people count, from 1."""
    last = loc[-1]
    return f"item {last + 1} of {loc[-2]!r}" if isinstance(last, int) and len(loc) > 1 else repr(last)


def _inside(loc: Sequence[int | str], around: Sequence[int | str]) -> bool:
    return len(loc) > len(around) and tuple(loc[: len(around)]) == tuple(around)


def _shown(found: Any) -> str:
    if isinstance(found, Mapping):
        return "a mapping"
    if isinstance(found, Sequence) and not isinstance(found, str):
        return "a list"
    return "null" if found is None else repr(found)


def _description(model: type[BaseModel], key: str) -> str:
    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            return field.description or ""
    return ""


def _model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    """The settings class found by following `loc` from `model` through fields, lists and mappings."""
    here: Any = model
    for part in loc:
        owner = _first_model(here)
        if owner is None:
            return None
        field = next((f for n, f in owner.model_fields.items() if part in (n, f.alias)), None)
        here = field.annotation if field is not None else here
    return _first_model(here)


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _first_model(part)) is not None), None)
