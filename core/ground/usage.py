"""Settings that are set and not used: one rule for every settings class, declared beside the field.

A field that does something only in some mode says so in its annotation:

    low: Annotated[float, UsedIf("rule", "mask")] = Field(0.5, description="…")

Where it is written in a recipe and the mode is another one, validation refuses it with its place. What several
settings decide together is told by `Settings.without_use`. A weight of 0 is a value, not a mode: a sweep of β down to 0
keeps the settings beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

EXPLAINED = "explained"
"""Key in an error's context that says its message is already ours."""
UNUSED = "unused_setting"
"""Type of the error of a setting that is set and not used."""
REFUSED = "refused_setting"
"""Type of the error of a setting that has no meaning beside the others."""
DECIDED_BY = "decided_by"
"""Key in the context of an `UNUSED` error: the settings, beside it, that make it so."""


DEPTH = "depth"
"""Key in the same context: how many keys of the location are within the settings class that told it."""


@dataclass(frozen=True, slots=True)
class Unused:
    """Why a setting does nothing.

    Attributes:
        reason: continues "set, and not used: ".
        decided_by: the settings beside it that make it so, for a change of these on the command line.
    """

    reason: str
    decided_by: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What the recipe's author is told."""
        return f"set, and not used: {self.reason}; take it out"


class UsedIf:
    """Marks a field as used only where another setting of its class has one of some values.

    Without values: where that setting is given at all (not null, false, 0 or empty).
    """

    def __init__(self, setting: str, *values: Any, negated: bool = False) -> None:
        self.setting, self.values, self.negated = setting, values, negated

    def holds(self, settings: BaseModel) -> bool:
        """Whether the field is used beside the other settings."""
        value = getattr(settings, self.setting)
        return (value in self.values if self.values else bool(value)) != self.negated

    def reason(self, settings: BaseModel) -> str:
        """Why it is not used, as `Unused.reason`."""
        name, value = written(type(settings), self.setting), getattr(settings, self.setting)
        now = f"{name} is {_shown(value)}"
        plain = isinstance(value, str | int | float)
        if self.negated:
            return f"it does nothing where {now if plain or self.values else f'{name} is set'}"
        if not self.values:
            return f"it needs {name}, {f'and {now}' if plain else 'of which there is none'}"
        return f"it is for {name}: {' or '.join(map(_shown, self.values))}, and {now}"


def used_unless(setting: str, *values: Any) -> UsedIf:
    """Marks a field as used except where another setting has one of some values (without values: where it is given)."""
    return UsedIf(setting, *values, negated=True)


def conditions(field: FieldInfo) -> Iterator[UsedIf]:
    """What a field's use depends on."""
    return (mark for mark in field.metadata if isinstance(mark, UsedIf))


def declared(settings: BaseModel) -> dict[str, Unused]:
    """The fields whose conditions do not hold, whether they are set or not."""
    unused = {}
    for name, field in type(settings).model_fields.items():
        for condition in conditions(field):
            if not condition.holds(settings):
                unused[name] = Unused(condition.reason(settings), (condition.setting,))
                break
    return unused


def is_set(settings: BaseModel, path: str) -> bool:
    """Whether somebody wrote the setting at a dotted path of field names; null stands for no setting where it may.

    The path may lead into the settings of a nested component.
    """
    here: Any = settings
    for part in path.split("."):
        here = getattr(here, "settings", here)
        if here is None or part not in here.model_fields_set:
            return False
        owner, here = here, getattr(here, part)
    return here is not None or type(owner).model_fields[part].default is not None


def unused_findings(settings: BaseModel, unused: Mapping[str, Unused]) -> list[InitErrorDetails]:
    """An error for each setting that is set and not used."""
    return [
        finding(settings, path, UNUSED, why.message, why.decided_by)
        for path, why in unused.items()
        if is_set(settings, path)
    ]


def finding(
    settings: BaseModel, path: str, kind: str, message: str, decided_by: Sequence[str] = ()
) -> InitErrorDetails:
    """An error at a dotted path of field names."""
    keys: list[str] = []
    here: Any = settings
    for part in path.split("."):
        keys.append(written(type(here), part))
        here = getattr(here, part)
    context = {
        "message": message,
        EXPLAINED: True,
        DECIDED_BY: tuple(written(type(settings), name) for name in decided_by),
        DEPTH: len(keys),
    }
    return InitErrorDetails(type=PydanticCustomError(kind, "{message}", context), loc=tuple(keys), input=here)


def refuse(settings: BaseModel, path: str, message: str) -> ValidationError:
    """The error to raise in a validator of `settings` for what has no meaning there, with the place of one setting."""
    return ValidationError.from_exception_data(type(settings).__name__, [finding(settings, path, REFUSED, message)])


def written(model: type[BaseModel], name: str) -> str:
    """A field's name as it is written in a recipe."""
    return model.model_fields[name].alias or name


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, str | int | float) else "what it is"
