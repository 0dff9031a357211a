"""What a promise is checked on, and how it says that it is broken."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isfunction, signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aftertrain.core.settings import Use
    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.resolve import SettingsResolver
    from aftertrain.registry.tables import Registration, Registry

Case = tuple[str, Any, float | str]
"""A verifier's case of known outcome: response, ground truth, and the value or the name of the outcome."""


class BrokenPromise(AssertionError):
    """A promise that a component does not keep; says what was done and what came of it."""


class Unchecked(unittest.SkipTest):
    """A promise that cannot be checked here, and why. Test runners count it as skipped."""


@dataclass
class Subject:
    """One component under test.

    Attributes:
        entry: what the plugin registered.
        registry: where nested components are found.
        settings: an example of its settings, `use` left out.
        cases: a verifier's cases of known outcome.
        folder: an empty folder of its own, gone afterwards.
    """

    entry: Registration
    registry: Registry
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    cases: Sequence[Case] = ()

    @property
    def resolver(self) -> SettingsResolver:
        """Validates settings, relative paths taken from `folder`."""
        from aftertrain.registry.resolve import SettingsResolver

        return SettingsResolver(self.registry, self.folder)

    @property
    def builder(self) -> ComponentBuilder:
        """Constructs nested components."""
        from aftertrain.registry.builder import ComponentBuilder

        return ComponentBuilder(self.registry, self.folder)

    def use(self) -> Use[Any]:
        """The example, validated.

        Raises:
            BrokenPromise: the settings do not fit.
        """
        from pydantic import ValidationError

        try:
            return self.resolver.resolve(self.entry.kind, {"use": self.entry.name, **self.settings})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors())
            if not self.settings:
                raise Unchecked(f"its defaults alone do not do, and EXAMPLES has no example of it ({wrong})") from None
            raise BrokenPromise(f"its example's settings do not fit: {wrong}") from error

    def component(self) -> Any:
        """A newly made component, of its kind's interface: a class of another is refused when it is loaded."""
        return self.builder.build(self.use())


Promise = Callable[[Subject], None]
"""Returns when the promise is kept. The first line of its docstring says what is promised."""


def promises_in(module: ModuleType) -> list[Promise]:
    """The promises of a module: its own public functions of a `subject` and nothing else, in the order of the file."""
    own = [f for f in vars(module).values() if isfunction(f) and f.__module__ == module.__name__]
    return [f for f in own if not f.__name__.startswith("_") and [*signature(f).parameters] == ["subject"]]


def require(condition: object, message: str) -> None:
    """Raise `BrokenPromise(message)` unless `condition` holds."""
    if not condition:
        raise BrokenPromise(message)
