"""Settings of the task `gold_bits`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.benchmark import BenchmarkSettings
from aftertrain.core.eval_task import EvalTaskSettings
from aftertrain.core.settings import LocalPath

Benchmark = Literal["drop", "gsm8k", "humaneval", "math_500", "mbpp", "minerva_math", "naturalqs"]


class GoldSettings(EvalTaskSettings, BenchmarkSettings):
    """Which benchmark's answers are scored, and after how many examples."""

    benchmark: Benchmark = Field(description="Whose gold answers are scored.")
    shots: Annotated[int | None, Field(ge=0)] = Field(
        None, description="Worked examples before each question, from OLMES's list; null takes OLMES's number."
    )
    shots_path: LocalPath | None = Field(
        None,
        description="JSON lines of worked examples with `problem` and `solution`, for MATH, whose texts are not passed "
        "on (OLMES's list Minerva:MATH:fixed).",
    )
    split: str | None = Field(None, description="Split that is scored; null takes the one that OLMES reports.")
    subset: bool = Field(
        True, description="Of a benchmark that OLMES cuts take only the rows that it draws; false takes all."
    )
