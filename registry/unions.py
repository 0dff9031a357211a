"""Findings about a setting of several types, of which pydantic makes one for each type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from aftertrain.registry.describe import describe_type, members
from aftertrain.registry.places import field_of

Place = tuple[int | str, ...]

UNION = "union"
"""Type of the one finding that stands for several."""


def joined(details: Sequence[Any], model: type[BaseModel]) -> list[Any]:
    """The details with those of one union made one, which names all that may be written.

    Where a value has the form of one member (a list with a wrong item), what is wrong inside it is all that is told.
    """
    unions = [_union_at(model, detail["loc"]) for detail in details]
    findings: list[Any] = []
    for detail, union in zip(details, unions, strict=True):
        if union is None:
            findings.append(detail)
            continue
        same = [other for other, its in zip(details, unions, strict=True) if its is not None and its[0] == union[0]]
        if detail is same[0]:
            findings += _of_one(*union, same)
    return findings


def _of_one(place: Place, annotation: Any, details: Sequence[Any]) -> list[Any]:
    """What is told of what was found about the union at `place`."""
    depth = len(place)
    inside = [detail for detail in details if len(detail["loc"]) > depth + 1]
    if inside:
        # Between the two stands pydantic's name of the member.
        return [{**detail, "loc": (*place, *detail["loc"][depth + 1 :])} for detail in inside]
    choices = [str(c) for m in members(annotation) if get_origin(m) is Literal for c in get_args(m)]
    message = f"should be {' or '.join(dict.fromkeys(map(_words, members(annotation))))}"
    value = details[0]["input"]
    return [{"type": UNION, "loc": place, "input": value, "msg": message, "ctx": {"literals": choices}}]


def _words(member: Any) -> str:
    if get_origin(member) is Literal:
        return " or ".join(map(repr, get_args(member)))
    words = describe_type(member).replace("true/false", "true or false")
    return f"a {words}" if words.startswith(("list", "mapping", "number")) else words


def _union_at(model: type[BaseModel], loc: Place) -> tuple[Place, Any] | None:
    """Where on the way of `loc` a setting of several types (null aside) stands, and those; or None."""
    here: Any = model
    for depth, part in enumerate(loc):
        field = field_of(here, part) if isinstance(here, type) and issubclass(here, BaseModel) else None
        if field is None:
            return None
        choices = [member for member in members(field.annotation) if member is not type(None)]
        if len(choices) > 1:
            return (loc[: depth + 1], field.annotation) if len(loc) > depth + 1 else None
        here = choices[0]
    return None
