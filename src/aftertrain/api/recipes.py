"""Recipes and components from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aftertrain.registry.discovery import installed

if TYPE_CHECKING:
    from aftertrain.registry.recipe import LoadedRecipe
    from aftertrain.registry.tables import Registration


def load_recipe(recipe: str | os.PathLike[str], overrides: Iterable[str] | Mapping[str, Any] = ()) -> LoadedRecipe:
    """Read and validate a recipe, without importing anything heavy.

    Args:
        recipe: path of a YAML file, or the name of a recipe that comes with the package.
        overrides: `"stages.dpo.loss.beta=2"` texts, or a mapping of such paths to values; applied in order.

    Raises:
        RecipeError: every mistake of the file and the overrides, each with its place.
        UnknownName: there is no such recipe.
    """
    from aftertrain.registry.recipe import load

    return load(recipe, overrides)


def components(kind: str | None = None) -> list[Registration]:
    """Installed components of one kind, or of all: name, summary and the package each came from.

    Raises:
        UnknownName: there is no such kind.
    """
    return installed().registrations(kind)
