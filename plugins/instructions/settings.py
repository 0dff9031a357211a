"""Settings of the verifiers of instructions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, field_validator

from aftertrain.core.errors import nearest, unknown
from aftertrain.core.text.answer import AnswerSettings


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
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {},
        description="Weight of an instruction by its id or function name, 1 where not given; 0: judged and shown, but "
        "not counted.",
    )

    @field_validator("weights")
    @classmethod
    def _known(cls, weights: dict[str, float]) -> dict[str, float]:
        tables = cls._tables() if weights else ()
        names = [name for table in tables for name in table]
        for name in weights:
            if name not in names:
                guess = nearest(name, names)
                raise ValueError(unknown("instruction", name, next((t for t in tables if guess in t), tables[0])))
        return weights

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
