"""Settings of the verifiers of instructions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from aftertrain.core.benchmark import ReplyBenchmarkSettings
from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import nearest, unknown
from aftertrain.core.settings import PositiveInt, Settings, Use
from aftertrain.core.text.answer import AnswerSettings

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def known(weights: dict[str, float], tables: tuple[Collection[str], ...]) -> dict[str, float]:
    """The weights, each of a name in one of the tables.

    Raises:
        ValueError: one is not; lists the table that has the nearest.
    """
    names = [name for table in tables for name in table]
    for name in weights:
        if name not in names:
            guess = nearest(name, names)
            raise ValueError(unknown("instruction", name, next((t for t in tables if guess in t), tables[0])))
    return weights


class InstructionSettings(AnswerSettings):
    """How strictly a reply is read, and what its score counts."""

    mode: Literal["strict", "loose"] = Field(
        "strict",
        description="strict: the reply as it is; loose: an instruction also holds when it holds for the reply without "
        "its first line, its last line, both, or without asterisks (as IFEval and IFBench report).",
    )
    level: Literal["prompt", "instruction"] = Field(
        "prompt",
        description="prompt: 1 when all instructions hold, else 0; instruction: the weighted share of them that hold.",
    )
    weights: dict[str, Weight] = Field(
        {},
        description="Weight of an instruction by its id or function name, 1 where not given; 0: judged and shown, but "
        "not counted.",
    )

    @field_validator("weights")
    @classmethod
    def _known(cls, weights: dict[str, float]) -> dict[str, float]:
        return known(weights, cls._tables() if weights else ())

    @classmethod
    def _tables(cls) -> tuple[Collection[str], ...]:
        """Names of instructions, a table for each data set; imported late, since few recipes give weights."""
        from aftertrain.plugins.instructions.ifbench.truth import KINDS
        from aftertrain.plugins.instructions.ifeval import google

        return KINDS, google.KINDS


class IFBenchSettings(InstructionSettings):
    """How strictly a reply is read, and what its score counts."""


class IFEvalSettings(InstructionSettings):
    """How strictly a reply is read, and what its score counts."""

    @classmethod
    def _tables(cls) -> tuple[Collection[str], ...]:
        from aftertrain.plugins.instructions.ifeval.tulu import FUNCTIONS

        ifbench, google = super()._tables()
        return google, FUNCTIONS, ifbench


class InstructionTaskSettings(ReplyBenchmarkSettings):
    """Settings of a benchmark of instructions; the defaults are Tülu 3's."""

    max_new_tokens: PositiveInt = Field(2048, description="Tokens after which a reply is cut.")
    weights: dict[str, Weight] = Field(
        {},
        description="Weight of a kind of instruction in weighted_checks, 1 where not given; 0: not counted there. The "
        "other figures have no weights.",
    )
    by_kind: bool = Field(False, description="A figure for each kind of instruction as well, loose.")
    missing: Literal["stop", "keep"] = Field(
        "stop",
        description="Of questions whose check needs a package or data that are not installed: stop before the first "
        "reply, or keep them and count them as not judged.",
    )

    @field_validator("weights")
    @classmethod
    def _known(cls, weights: dict[str, float]) -> dict[str, float]:
        return known(weights, cls._tables() if weights else ())

    @classmethod
    def _tables(cls) -> tuple[Collection[str], ...]:
        from aftertrain.plugins.instructions.ifbench.truth import KINDS

        return (KINDS,)


class IFEvalTaskSettings(InstructionTaskSettings):
    """Settings of IFEval."""

    compat: bool = Field(
        False,
        description="Keep a fault of the reference: where an instruction counts a character that is no letter (# or ! "
        "in prompts 1122 and 1129), count a random letter. It is drawn once for each question and not in each run.",
    )

    @classmethod
    def _tables(cls) -> tuple[Collection[str], ...]:
        from aftertrain.plugins.instructions.ifeval import google

        return (google.KINDS,)


class IFEvalOODTaskSettings(InstructionTaskSettings):
    """Settings of IFEval-OOD."""

    kinds: Literal["tulu", "ifbench"] = Field(
        "tulu",
        description="tulu: the 52 kinds of Tülu 3, on prompts that were never published and that you give by 'data'; "
        "ifbench: the 58 kinds and 300 prompts of allenai/IFBench_test, which are another benchmark.",
    )


class ConstrainedSettings(Settings):
    """Prompts that end with an instruction, and how it is checked."""

    data: Use[Dataset[Any]] = Field(description="Conversations or problems: their prompts are asked.")
    sentence: Annotated[str, Field(min_length=1)] = Field(description="Asks for it, at the end of each prompt.")
    instruction: Annotated[str, Field(min_length=1)] = Field(
        description="Id of the instruction as IFEval has it (punctuation:no_comma)."
    )
    arguments: dict[str, Any] = Field({}, description="Its arguments, as IFEval's kwargs: {num_bullets: 3}.")
    joint: str = Field(" ", description="Stands between prompt and sentence.")
