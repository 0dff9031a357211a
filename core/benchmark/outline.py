"""What of a suite its table is made of: rows with their figures, and how these make one number (F48).

Whoever reads scores need not know the tasks: an outline is read from a run's manifest without any plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from aftertrain.core.settings import PositiveInt, Settings, unhashed

RULES = ("mean", "weighted", "pooled", "listed", "best", "sum")
"""How a number is made of others, of which a node has one."""
RowName = Annotated[str, Field(min_length=1, pattern=r"^[^\s.=]+$")]
ALTERING = ("max_new_tokens", "temperatures")
"""Settings of a stage by which replies are other than a task's protocol asks for, where they are set."""
OVERLONG = "overlong"
"""The setting by which any prompt may be other than the protocol's; `stop` leaves it what it is."""


def altering(settings: Mapping[str, Any]) -> list[str]:
    """Those of a stage's settings that are set."""
    names = [name for name in ALTERING if settings.get(name) is not None]
    return [*names, OVERLONG] if settings.get(OVERLONG, "stop") != "stop" else names


class RowOutline(Settings):
    """One line of a suite's table, as far as its score goes: whoever reads scores need not know the tasks."""

    tasks: Mapping[RowName, Any] = Field(
        description="The row's task or, of a benchmark asked in several ways of which the best counts, its tasks."
    )
    limit: PositiveInt | None = Field(
        None, description="Score at most so many questions: a fixed random subset, as the stage's own 'limit' draws."
    )
    metric: str | None = unhashed(None, description="Figure that counts; null takes the task's first.")
    weight: Annotated[float, Field(ge=0)] = unhashed(1.0, description="Weight in a weighted mean (F48).")
    sealed: bool = unhashed(False, description="Scored only on purpose: with a reason, once a model is chosen.")
    references: dict[str, float] = unhashed(
        {}, description="Published scores by model, in per cent where the metric is a share."
    )
    published: str | None = unhashed(
        None, description="Figure that the published scores are of; where another counts, they do not stand beside it."
    )
    needs: tuple[str, ...] = unhashed(
        (), description="Settings that the published row needs and that cannot be carried, such as its judge."
    )
    table: str | None = unhashed(None, description="Where these were published; null takes the suite's.")
    table_version: str | None = unhashed(None, description="Version of what they were published in; null: the suite's.")
    n: int | None = unhashed(None, description="Questions behind a published score.")
    note: str = unhashed("", description="What a reader of the row must know.")
    changed: tuple[str, ...] = unhashed((), description="Settings that a recipe has set; filled in when it is read.")


class Node(Settings):
    """A number made of others: exactly one of `mean`, `weighted`, `pooled`, `best` and `sum` says how.

    A mean is over what there is, and says over how many rows; a sum, or a best, that lacks a part is missing. `listed`
    names rows of which no number is made.
    """

    name: str = Field(description="Of the number, in the table.")
    mean: tuple[str | Node, ...] = Field((), description="Names of rows, or nodes, that weigh the same.")
    weighted: tuple[str, ...] = Field(
        (), description="Rows by their weight: the sum of w·score over their number (F48)."
    )
    pooled: tuple[str, ...] = Field((), description="Rows by their questions: the mean over all questions of all rows.")
    listed: tuple[str, ...] = Field((), description="Rows that stand together, and of which no number is made.")
    best: tuple[str | Node, ...] = Field((), description="The best of these.")
    sum: dict[str, float] = Field({}, description="Rows with the factor of each, such as γ and 1 - γ (F49).")
    references: dict[str, float] = Field({}, description="Published values by model, in per cent.")
    metrics: dict[str, str] = Field(
        {}, description="Figure of a row that counts in this number in place of the row's own; without it, it has none."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = [name for name in RULES if getattr(self, name)]
        if len(rules) != 1:
            has = " and ".join(rules) or "none"
            raise ValueError(f"{self.name!r} needs one of {', '.join(RULES)}, and has {has}")
        if other := sorted(self.metrics.keys() - {part for part in self.parts if isinstance(part, str)}):
            raise ValueError(f"{self.name!r}: metrics: {', '.join(other)} is no row of it")
        return self

    @property
    def parts(self) -> tuple[str | Node, ...]:
        """What it is made of."""
        return self.mean or self.weighted or self.pooled or self.listed or self.best or tuple(self.sum)

    def leaves(self) -> Iterator[str]:
        """Names of the rows in it."""
        for part in self.parts:
            if isinstance(part, str):
                yield part
            else:
                yield from part.leaves()


class SuiteOutline(Settings):
    """What a suite's file says, as far as its table goes."""

    name: str = unhashed(description="By which recipes call it.")
    summary: str = unhashed("", description="One line on what it measures.")
    version: str = unhashed("1", description="Raised when rows, or how they are averaged, change.")
    table: str = unhashed("", description="Where the published scores stand.")
    table_version: str = unhashed("", description="Version of what they were published in, such as the paper's.")
    rows: Mapping[RowName, RowOutline] = Field(description="Its rows, by name.")
    average: Node | None = unhashed(None, description="The suite's number; null takes the mean of all rows.")
    beside: tuple[Node, ...] = unhashed(
        (), description="Further numbers made of its rows, such as a combination (F49)."
    )

    @property
    def tree(self) -> Node:
        """How the rows make one number."""
        return self.average or Node(name="average", mean=tuple(self.rows))

    @property
    def models(self) -> list[str]:
        """Models of which scores are published."""
        return list(dict.fromkeys(model for row in self.rows.values() for model in row.references))
