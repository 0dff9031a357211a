"""Types of settings in the words of a recipe."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from aftertrain.core.settings import Settings, Use

_WORDS = {str: "text", int: "integer", float: "number", bool: "true/false", type(None): "null", Any: "anything"}


def describe_type(annotation: Any) -> str:
    """One short phrase for what may be written.

    >>> describe_type(float | None), describe_type(tuple[str, ...]), describe_type(Literal["sum", "mean"])
    ('number or null', 'list of text', 'sum | mean')
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe_type(arguments[0])
    if origin is Use:
        interface = get_origin(arguments[0]) or arguments[0]
        return str(interface.kind)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe_type(argument) for argument in arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of {describe_type(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence | Set):
        return f"list of {describe_type(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return f"mapping ({', '.join(field.alias or name for name, field in annotation.model_fields.items())})"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that a union is made of, or the one type that it is.

    >>> members(int | None), members(Annotated[str, "x"])
    ((<class 'int'>, <class 'NoneType'>), (<class 'str'>,))
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return members(arguments[0])
    if origin in (Union, types.UnionType):
        return tuple(member for argument in arguments for member in members(argument))
    return (annotation,)


def nested(annotation: Any) -> type[Settings] | None:
    """The settings class that a field takes as a mapping, or None."""
    return next((m for m in members(annotation) if isinstance(m, type) and issubclass(m, Settings)), None)
