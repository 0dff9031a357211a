"""Base of every component: settings in, a builder for nested components, nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar, Generic, TypeVar

from aftertrain.core.settings import Builder, Settings

S = TypeVar("S", bound=Settings)


class Component(Generic[S]):
    """A part that a recipe can name. Subclass an interface (`Loss`, `Verifier` …), not this.

    A component is constructed as `Class(settings, builder)` and must do no heavy work there: loading files or models
    belongs in its methods. It may be constructed in several processes.

    Attributes:
        kind: the kind's name, set by the interface.
        Config: the settings class. A plugin's row names the same class, so that validation need not import this module.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[Settings]] = Settings

    def __init__(self, settings: S, builder: Builder) -> None:
        self.settings = settings
        self.builder = builder

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings, self.builder)


class aside:
    """A module by its name, imported when something of it is asked for; the hash of a stage does not follow it.

    For code that plans, tries or tells, and cannot change a result:

        if TYPE_CHECKING:
            from acme import outlook
        else:
            outlook = aside("acme.outlook")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
