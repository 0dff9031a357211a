"""Rows that an earlier stage of the same recipe makes: named in settings by the stage, found when it is done.

The runner looks for `StageRowsSettings` wherever a stage's settings hold them, makes the stage that they name a parent,
and tells them the folder when there is one. Until then the rows are `NotMade`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PrivateAttr

from aftertrain.core.errors import NotMade
from aftertrain.core.records import Artifact
from aftertrain.core.settings import Settings, Use
from aftertrain.core.stage import StageInput


class StageRowsSettings(Settings):
    """Rows that a stage of this recipe makes."""

    from_: Annotated[str, Field(min_length=1)] = Field(alias="from", description="Stage whose rows these are.")
    _folders: list[Path] = PrivateAttr(default_factory=list)

    def found(self, folder: Path) -> None:
        """The stage is done, and its artifact lies here."""
        self._folders[:] = [folder]

    @property
    def folder(self) -> Path:
        """Of the stage's artifact.

        Raises:
            NotMade: the stage is not done.
        """
        if not self._folders:
            told = f"the rows of stage {self.from_!r} are not made yet, as it is set now: aftertrain run makes them"
            raise NotMade(told)
        return self._folders[0]


def made_rows(value: Any, path: str = "") -> Iterator[tuple[str, StageRowsSettings]]:
    """All rows of stages that settings, or a value of them, name; by the dotted path of the setting that names them."""
    if isinstance(value, Use):
        value = value.settings
    if isinstance(value, StageRowsSettings):
        yield f"{path}.from".removeprefix("."), value
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from made_rows(getattr(value, name), f"{path}.{field.alias or name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from made_rows(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from made_rows(item, f"{path}.{place}")


def row_inputs(settings: Settings) -> tuple[StageInput, ...]:
    """The parents that settings name so; their role is the path of the setting."""
    return tuple(StageInput(path, rows.from_, frozenset({"data"})) for path, rows in made_rows(settings))


def find_rows(settings: Settings, artifact: Callable[[str], Artifact | None]) -> list[str]:
    """Tell settings where the rows are that they name; returns the stages that are not done.

    Args:
        artifact: of a stage, None where it is not done.
    """
    missing: dict[str, None] = {}
    for _, rows in made_rows(settings):
        there = artifact(rows.from_)
        if there is None:
            missing[rows.from_] = None
        else:
            rows.found(Path(there.path))
    return [*missing]
