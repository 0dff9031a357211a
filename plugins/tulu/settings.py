"""Settings of the tasks of Tülu 3's development suite; the defaults are its protocol."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field

from aftertrain.core.benchmark import ReplyBenchmarkSettings
from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import LocalPath, PositiveInt, Use, unhashed
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier


class MMLUCoTSettings(ReplyBenchmarkSettings):
    """Settings of the task `mmlu_cot`."""

    subjects: tuple[str, ...] = Field((), description="Score only these subjects (`world_religions`); () takes all.")
    shots: Annotated[int, Field(ge=0, le=0)] = Field(0, description="None: MMLU has no reasoning to show.")
    compat: bool = Field(
        True,
        description="Read letters with the reference's known faults: 'that idea is correct' and 'the answer is a word' "
        "choose A, and so does a last lone A that is an article. false passes these over; the numbers are then not "
        "the published.",
    )


class PopQASettings(ReplyBenchmarkSettings):
    """Settings of the task `popqa`."""

    shots: Annotated[int, Field(ge=0, le=16)] = Field(15, description="Worked examples before each question.")
    max_new_tokens: PositiveInt = Field(15, description="Tokens after which a reply is cut.")
    examples: Literal["other_relations", "first"] = Field(
        "other_relations",
        description="Of the list of one example for each of 16 relations, those of the 15 relations that the question "
        "is not of (as Mallen et al. do), or simply the first.",
    )


class BBHSettings(ReplyBenchmarkSettings):
    """Settings of the task `bbh`."""

    tasks: tuple[str, ...] = Field((), description="Score only these of the 27 (`word_sorting`); () takes all.")
    shots: Annotated[int, Field(ge=0, le=3)] = Field(3, description="Worked examples before each question.")
    extraction: Literal["cascade", "strict"] = Field(
        "cascade",
        description="cascade: what an answer of the task looks like, looked for in five ways (OLMES cot-v1, the "
        "paper's later numbers); strict: what follows 'the answer is' (OLMES cot, the first model cards).",
    )
    compat: bool = Field(
        True,
        description="Keep the reference's known faults: a letter without parentheses is no choice, and strict drops "
        "the last character of a line, full stop or not. false reads both; the numbers are then not the published.",
    )


class MinervaMathSettings(ReplyBenchmarkSettings):
    """Settings of the task `minerva_math`."""

    benchmark: Literal["math", "math500"] = Field(
        "math", description="math: the 5,000 test problems of seven subjects; math500: the 500 of Lightman et al."
    )
    subjects: tuple[str, ...] = Field((), description="Score only these subjects (`number_theory`); () takes all.")
    shots: Annotated[int, Field(ge=0)] = Field(4, description="Worked examples before each problem.")
    shots_path: Annotated[LocalPath | None, UsedIf("shots")] = unhashed(
        None, description="JSON lines with `problem` and `solution`: the examples, in their order."
    )
    max_new_tokens: PositiveInt = Field(1024, description="Tokens after which a reply is cut.")
    flexible: Use[Verifier[Any]] = Field(cast("Any", "minerva"), description="Judges all of a reply's answers.")
    sentence: Use[Verifier[Any]] = Field(
        cast("Any", {"use": "minerva", "extract": "sentence"}), description="Judges the answer in Minerva's sentence."
    )
    verification: PoolSettings = Field(PoolSettings(), description="The processes that judge, and their limits.")


class DROPSettings(ReplyBenchmarkSettings):
    """Settings of the task `drop`."""

    shots: Annotated[int, Field(ge=0)] = Field(
        3,
        description="Worked examples before each question, the same for all: drawn from the split `train`, seed 1234.",
    )
    chat: bool = Field(False, description="Ask as a conversation; false, the protocol, is plain text.")
    max_new_tokens: PositiveInt = Field(50, description="Tokens after which a reply is cut.")
