"""Settings of the tasks of Tülu 3's unseen suite; the defaults are its protocol."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.benchmark import BenchmarkSettings, ReplyBenchmarkSettings
from aftertrain.core.eval_task import EvalTaskSettings
from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import LocalPath, PositiveInt, unhashed
from aftertrain.core.verification.settings import PoolSettings


class UnseenSettings(ReplyBenchmarkSettings):
    """Settings of a task whose reply reasons before it answers."""

    shots: Annotated[int, Field(ge=0, le=0)] = Field(0, description="None: the protocol shows no worked examples.")
    max_new_tokens: PositiveInt = Field(2048, description="Tokens after which a reply is cut.")


class LetterSettings(UnseenSettings):
    """Settings of a task whose reply chooses a letter."""

    compat: bool = Field(
        True,
        description="Read letters with the reference's known faults: 'the answer is dear' chooses D, and a last lone "
        "A or I may be a word. false passes these over; the numbers are then not the published.",
    )


class DeepMindSettings(UnseenSettings):
    """Settings of the task `deepmind_math`."""

    prompt: Literal["v3", "v0"] = Field(
        "v3",
        description="v3: the paper's, with three sample answers of the category; v0: the released suite's, without.",
    )
    answers: Annotated[LocalPath | None, UsedIf("prompt", "v3")] = unhashed(
        None,
        description="JSON lines (or .gz): category, answers (three texts), for each category; null takes the first "
        "that differ of OLMES's five worked examples, as its own choice could not be had.",
    )
    per_category: PositiveInt | None = Field(
        100, description="Of a category with more questions so many are drawn, as OLMES drew them; null takes all."
    )
    compat: bool = Field(
        False, description='Leave b"…" around the questions of algebra__sequence_nth_term, as OLMES does by mistake.'
    )
    verification: PoolSettings = Field(PoolSettings(), description="The processes that compare answers by SymPy.")


class DirectSettings(EvalTaskSettings, BenchmarkSettings):
    """Settings of the task `mmlu_pro_direct`."""

    shots: Annotated[int, Field(ge=0)] = Field(
        5, description="Worked examples before each question, the first of its category's split `validation`."
    )
    split: str | None = Field(None, description="Split that is scored; null takes the one that is reported.")
