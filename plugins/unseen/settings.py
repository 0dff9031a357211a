"""Settings of the tasks of Tülu 3's unseen suite; the defaults are its protocol."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aftertrain.core.benchmark import BenchmarkSettings, ReplyBenchmarkSettings
from aftertrain.core.eval_task import EvalTaskSettings
from aftertrain.core.settings import PositiveInt


class UnseenSettings(ReplyBenchmarkSettings):
    """Settings of a task whose reply reasons before it answers."""

    shots: Annotated[int, Field(ge=0, le=0)] = Field(0, description="None: the protocol shows no worked examples.")
    max_new_tokens: PositiveInt = Field(2048, description="Tokens after which a reply is cut.")


class DirectSettings(EvalTaskSettings, BenchmarkSettings):
    """Settings of the task `mmlu_pro_direct`."""

    shots: Annotated[int, Field(ge=0)] = Field(
        5, description="Worked examples before each question, the first of its category's split `validation`."
    )
    split: str | None = Field(None, description="Split that is scored; null takes the one that is reported.")
