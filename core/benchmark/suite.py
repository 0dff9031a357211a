"""A suite of evaluation tasks as data: rows, how they make one number, what others published (F48).

A suite is a YAML file. In a recipe it stands among the tasks by its name; what the file says is kept with the recipe,
so that a run's manifest tells what was scored though the file changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from aftertrain.core.benchmark.outline import RowName, RowOutline, SuiteOutline
from aftertrain.core.errors import unknown
from aftertrain.core.eval_task import EvalTask, task_name
from aftertrain.core.settings import Settings, Use, unhashed


class SuiteRow(RowOutline):
    """One line of a suite.

    In a file, `task` alone stands for one task that bears the row's name; `formulations` gives several, by their names,
    as settings beside those of `task`, of which the best counts.
    """

    tasks: Annotated[Mapping[RowName, Use[EvalTask[Any]]], Field(min_length=1)] = Field(
        description="The row's task or, of a benchmark asked in several ways of which the best counts, its tasks."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_short_form(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "task" not in value or "name" not in value:
            return value
        row = {key: item for key, item in value.items() if key not in {"task", "formulations", "name"}}
        task, formulations = value["task"], value.get("formulations")
        if formulations is None:
            return {**row, "tasks": {value["name"]: task}}
        if not isinstance(formulations, Mapping) or not formulations:
            raise ValueError("formulations: a mapping of names to settings is needed")
        common = {"use": task} if isinstance(task, str) else dict(task)
        return {**row, "tasks": {name: {**common, **(settings or {})} for name, settings in formulations.items()}}


class Suite(SuiteOutline):
    """What a suite's file says."""

    rows: Annotated[Mapping[RowName, SuiteRow], Field(min_length=1)] = Field(description="Its rows, by name.")

    @model_validator(mode="before")
    @classmethod
    def _named_rows(cls, value: Any) -> Any:
        """Rows in the short form learn their names."""
        if not isinstance(value, Mapping) or not isinstance(value.get("rows"), Mapping):
            return value
        rows = {
            name: {**row, "name": name} if isinstance(row, Mapping) and "task" in row else row
            for name, row in value["rows"].items()
        }
        return {**value, "rows": rows}

    def check(self) -> None:
        """See that names are told apart, and that the average is one of rows that there are.

        Raises:
            ValueError: they are not, or it is not.
        """
        names = [name for row in self.rows.values() for name in row.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rows: {', '.join(twice)} names two tasks")
        for node in (self.tree, *self.beside):
            for leaf in node.leaves():
                if leaf not in self.rows:
                    raise ValueError(f"{node.name}: {unknown('row', leaf, self.rows)}")

    @property
    def tasks(self) -> dict[str, Use[EvalTask[Any]]]:
        """Every task by the name under which its scores are kept."""
        return {name: use for row in self.rows.values() for name, use in row.tasks.items()}

    def names(self) -> set[str]:
        """Rows, and formulations of rows."""
        return {*self.rows, *self.tasks}

    def only(self, names: Iterable[str]) -> Suite:
        """The suite with these rows alone, and an average of which the others are missing.

        One formulation of several is a row of its own, which is in no average: its score is not the best of them.
        """
        wanted = list(names)
        rows = {name: row for name, row in self.rows.items() if name in wanted}
        for name, row in self.rows.items():
            for task in row.tasks.keys() & set(wanted) if name not in rows else ():
                rows[task] = row.model_copy(update={"tasks": {task: row.tasks[task]}, "references": {}})
        return self.model_copy(update={"rows": rows, "average": self.tree})


class SuiteSettings(Settings):
    """How a suite stands among the tasks of a stage."""

    suite: str = unhashed(description="Name of a suite, or its YAML file.")
    rows: tuple[str, ...] | None = unhashed(
        None, description="Rows, or formulations of rows, that are scored; null is all."
    )
    set: dict[str, dict[str, Any]] = unhashed(
        {},
        description="Settings of rows or formulations by their names; under '*' of all tasks that have such a setting, "
        "as in set: {'*': {judge: {use: wildguard, model: ./wildguard}}}.",
    )
    reference: str | None = unhashed(None, description="Model whose published scores stand beside; null takes none.")
    definition: Suite | None = Field(None, description="What the suite's file says; filled in when the recipe is read.")

    @model_validator(mode="before")
    @classmethod
    def _chosen(cls, value: Any) -> Any:
        """Of a file's whole suite keep the rows that are chosen; what a manifest has is that already."""
        suite = value.get("definition") if isinstance(value, Mapping) else None
        if not isinstance(suite, Suite):
            return value
        for name in value.get("rows") or ():
            if name not in suite.names():
                raise ValueError(f"rows: {unknown('row', str(name), suite.names())}")
        model = value.get("reference")
        if model is not None and model not in suite.models:
            raise ValueError(f"reference: {unknown('model with published scores', str(model), suite.models)}")
        return value if not value.get("rows") else {**value, "definition": suite.only(value["rows"])}

    @property
    def chosen(self) -> Suite:
        """The rows that are scored, and how they would make one number with the others.

        Raises:
            ValueError: the definition was not filled in.
        """
        if self.definition is None:
            raise ValueError("suites are looked up by aftertrain.load_recipe")
        return self.definition


class SuiteUse(Use[EvalTask[Any]]):
    """A suite in the place of a task; `named_tasks` has the tasks that it stands for."""

    __slots__ = ()
    itself = False

    settings: SuiteSettings

    def dump(self) -> dict[str, Any]:
        """Plain data that validates to an equal one."""
        return self.settings.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True, slots=True)
class NamedTask:
    """A task of a stage.

    Attributes:
        name: under which its scores are kept.
        suite: in which it is a row, or "".
        limit: questions of it that are scored at most, by the suite.
        sealed: whether it is scored only on purpose.
    """

    name: str
    use: Use[EvalTask[Any]]
    suite: str = ""
    limit: int | None = None
    sealed: bool = False


def named_tasks(uses: Iterable[Use[EvalTask[Any]]]) -> list[NamedTask]:
    """The tasks of a stage, those of a suite in its place."""
    found: list[NamedTask] = []
    for use in uses:
        if isinstance(use, SuiteUse):
            found += [
                NamedTask(name, task, use.name, row.limit, row.sealed)
                for row in use.settings.chosen.rows.values()
                for name, task in row.tasks.items()
            ]
        else:
            found.append(NamedTask(task_name(use), use))
    return found


def suites_of(uses: Iterable[Use[EvalTask[Any]]]) -> list[SuiteSettings]:
    """The suites among the tasks of a stage."""
    return [use.settings for use in uses if isinstance(use, SuiteUse)]
