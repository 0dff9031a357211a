"""Settings of the operator."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.eval_task import EvalTask
from aftertrain.core.settings import LocalPath, PositiveInt, Settings, Use, unhashed


class DecontaminateSettings(Settings):
    """Which evaluations are looked for, by which rule, and what becomes of a row that has one."""

    against: tuple[Use[EvalTask[Any]], ...] = Field(
        (), description="Tasks and suites whose questions are looked for, as in the stage evaluate."
    )
    files: tuple[LocalPath, ...] = unhashed(
        (),
        description="Files of evaluation items: JSON lines, a JSON list, CSV, parquet, or a .txt with an item a line. "
        "Their items enter the hash.",
    )
    columns: tuple[str, ...] = Field(
        (), description="Of the files: columns that ask, each a text of its own; empty takes the usual ones."
    )
    data: LocalPath | None = unhashed(None, description="Folder of benchmarks, for tasks that read one.")
    missing: Literal["stop", "drop"] = Field(
        "stop", description="A task of a suite whose questions are not here: stop, or leave it out and say so."
    )
    rule: Literal["tulu3", "robust"] = Field(
        "robust",
        description="tulu3: the published rule, 8-grams of user turns. robust: the same after list markers, LaTeX "
        "spacing and words divided at line ends are taken away.",
    )
    n: PositiveInt | None = Field(None, description="Tokens of an n-gram; null takes the rule's, 8.")
    threshold: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Share of an item above which a row has it; null takes the rule's, 0.5."
    )
    sizes: tuple[PositiveInt, ...] = Field((), description="Further lengths of n-grams for ConTAM's C(s) and C(D).")
    found: Literal["drop", "keep"] = Field(
        "drop", description="A row that has an item: leave it out, or keep it with the fact `items`."
    )

    @model_validator(mode="after")
    def _something_is_looked_for(self) -> Self:
        if not self.against and not self.files:
            raise ValueError("name what is looked for: tasks or suites in 'against', or 'files'")
        return self
