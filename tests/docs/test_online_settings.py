"""docs/online.md names every setting of an online stage, of its methods, losses and selections, with its default."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from aftertrain.core.learning.schedule import Optimizer
from aftertrain.core.settings import Use
from aftertrain.plugins import advantages, losses, selection
from aftertrain.plugins.online.settings import OnlineSettings
from tests.plugins.online.conftest import Found

PAGE = (Path(__file__).parents[2] / "docs" / "online.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]*)`")


def rows(cells: int) -> list[list[str]]:
    section = PAGE.split("## Every setting\n")[1].split("\n## ")[0]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if "|" in line]
    return [row for row in found if len(row) == cells and row[0].startswith("`")]


def plain(cell: str) -> str:
    match = CODE.fullmatch(cell)
    return match[1] if match else cell


def shown(value: Any) -> str:
    """A default as a recipe would write it."""
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return {"()": "[]"}.get(str(value), str(value))


def section_of(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """The settings class that a field holds, and what stands before its names: a mapping's own name."""
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        return next((found for part in get_args(annotation) if (found := section_of(part)) is not None), None)
    if get_origin(annotation) is dict and (inner := section_of(get_args(annotation)[1])) is not None:
        return inner[0], "NAME."
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not Optimizer:
        return annotation, ""
    return None


def settings(model: type[BaseModel], before: str = "", instance: Any = None) -> Iterator[tuple[str, str]]:
    """Each setting by its dotted name, with its default; of a section that is always there only what is in it."""
    for name, field in model.model_fields.items():
        default = field.default if instance is None else getattr(instance, name)
        found = section_of(field.annotation)
        here = f"{before}{field.alias or name}"
        inner = isinstance(default, BaseModel)
        if not inner:
            yield here, shown(_default(field, default))
        if found is not None:
            yield from settings(found[0], f"{here}.{found[1]}", default if inner else None)


def _default(field: FieldInfo, value: Any) -> Any:
    return value.name if isinstance(value, Use) else value


def test_every_setting_stands_on_the_page_with_its_default() -> None:
    written = {plain(name): plain(default) for name, default, _, _ in rows(4)}
    assert written == dict(settings(OnlineSettings))


def test_settings_of_methods_selections_and_losses_stand_there_too() -> None:
    written = {(plain(of), plain(name)): plain(default) for of, name, default, _, _ in rows(5)}
    parts = Found(advantages, selection, losses).table
    kinds = {"advantage", "selection"}
    policy = "aftertrain.plugins.losses.policy_settings"
    expected = {
        (name, setting): default
        for (kind, name), (_, model) in parts.items()
        if kind in kinds or model.__module__ == policy
        for setting, default in settings(model)
    }
    assert written == expected
