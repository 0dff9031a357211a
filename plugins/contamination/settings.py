"""Settings of the operators."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.eval_task import EvalTask
from aftertrain.core.settings import LocalPath, PositiveInt, Settings, Use, unhashed


class LookingSettings(Settings):
    """Which evaluations are looked for, and what becomes of a row that has an item of them."""

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
    found: Literal["drop", "keep"] = Field(
        "drop", description="A row that has an item: leave it out, or keep it with the fact `items`."
    )

    @model_validator(mode="after")
    def _something_is_looked_for(self) -> Self:
        if not self.against and not self.files:
            raise ValueError("name what is looked for: tasks or suites in 'against', or 'files'")
        return self


class DecontaminateSettings(LookingSettings):
    """By which rule items are looked for."""

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


class DeconSettings(LookingSettings):
    """AllenAI's decon, as its own configuration has it."""

    python: LocalPath | None = unhashed(
        None,
        description="Interpreter of an environment that has decon's bindings, which need Python 3.12; null takes this "
        "one.",
    )
    tokenizer: Literal["cl100k", "o200k", "r50k", "p50k"] = Field("cl100k", description="Whose tokens are compared.")
    n: PositiveInt = Field(5, description="Tokens of an n-gram.")
    sample_every: PositiveInt = Field(10, description="Every so many tokens of a row an n-gram is looked up.")
    most_misses: Annotated[int, Field(ge=0)] = Field(
        11, description="N-grams in a row that may be missing before what was found ends."
    )
    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        0.8, description="Score, of n-grams weighted by how rare they are, from which on a row has an item."
    )
    fewest_tokens: PositiveInt = Field(20, description="Tokens below which an item is not looked for: not testable.")
    timeout: Annotated[float, Field(gt=0)] = unhashed(3600.0, description="Seconds after which decon is ended.")
