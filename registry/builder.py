"""Constructs components from `Use`s. Picklable: a worker that receives one discovers the plugins again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

from aftertrain.core.benchmark.suite import SuiteUse
from aftertrain.core.errors import AftertrainError, DataError, PluginError
from aftertrain.core.ground.foreign import foreign, told
from aftertrain.core.settings import Kinded, Use
from aftertrain.registry.discovery import installed
from aftertrain.registry.load import is_local, load_component, load_local
from aftertrain.registry.tables import Registry

OURS = "aftertrain."
"""Begins the names of our own modules."""
T = TypeVar("T", bound=Kinded)


class ComponentBuilder:
    """The `Builder` of core, over one registry.

    Args:
        base_folder: where local files are relative to (the recipe's folder); the current folder by default.
    """

    def __init__(self, registry: Registry, base_folder: Path | None = None) -> None:
        self.registry = registry
        self.base_folder = base_folder

    def component_class(self, use: Use[T]) -> type[T]:
        """Import the class that `use` names.

        Raises:
            PluginError: it cannot be imported, or its plugin is broken or blocked.
            UnknownName: nothing of that name is installed here.
        """
        if is_local(use.name):
            return cast("type[T]", load_local(use.kind, use.name, self.base_folder))
        return cast("type[T]", load_component(self.registry.registration(use.kind, use.name)))

    def build(self, use: Use[T]) -> T:
        """Import and construct the component that `use` names.

        Raises:
            PluginError: it cannot be imported; or it is a stranger's and its constructor raises.
            DataError: it is a suite, which is several.
        """
        if isinstance(use, SuiteUse):
            rows = ", ".join(use.settings.chosen.rows)
            raise DataError(
                f"{use.name!r} is a suite of tasks, and one task is wanted here; name one of its rows: {rows}"
            )
        component = self.component_class(use)
        if component.__module__.startswith(OURS):
            return component(use.settings, self)
        what = f"{use.kind} {use.name!r}"
        try:
            with foreign(what, randomness=False):
                return component(use.settings, self)
        except AftertrainError:
            raise
        except Exception as error:
            raise PluginError(f"{what} cannot be made: it raised {told(error)}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return rediscover, (self.registry.block, self.base_folder)


def rediscover(block: frozenset[str], base_folder: Path | None) -> ComponentBuilder:
    """The builder of another process over the same plugins, found again in this one."""
    return ComponentBuilder(installed(block), base_folder)
