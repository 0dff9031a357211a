"""Settings of the stage `synthesize`. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from aftertrain.core.asking.settings import AskingSettings
from aftertrain.core.ground.usage import Unused
from aftertrain.core.rows.files import Format
from aftertrain.core.settings import Fraction, LocalPath, PositiveInt, Use
from aftertrain.core.stage import SeededSettings
from aftertrain.core.verifier import Verifier

Skill = Literal["mathematics", "code", "instructions"]
VERIFIERS: Mapping[str, str] = {"mathematics": "math", "code": "code", "instructions": "ifeval"}
"""Which verifier reads answers of a skill, unless a recipe says otherwise."""


class TeacherSettings(AskingSettings):
    """A model that writes: a folder, or an endpoint with the generator `openai`."""


class SynthesizeSettings(SeededSettings):
    """What is written, by whom, and what of it is kept."""

    skill: Skill = Field(
        description="mathematics: word problems; code: problems with tests in Python; instructions: requests with a "
        "constraint that a program checks."
    )
    rows: PositiveInt = Field(description="Prompts to be written; what is left out is not written again.")
    teacher: TeacherSettings = Field(description="Writes the prompts, and the answers where no other model does.")
    answering: TeacherSettings | None = Field(None, description="Writes the answers; null: the teacher.")
    template: LocalPath | None = Field(
        None, description="File with your own words for the prompts, as plugins/synthesis/templates has them."
    )
    personas: LocalPath | None = Field(
        None,
        description="File of personas, one a line, or JSON lines with a field persona; null: sixty of our own.",
    )
    answers: PositiveInt = Field(1, description="Answers to each prompt.")
    keep: Literal["all", "majority", "verified"] | None = Field(
        None,
        description="all: the first answer of each prompt; majority: one that agrees with most others (mathematics); "
        "verified: one that the verifier finds right; null: majority for mathematics, verified for the others.",
    )
    agreement: Fraction = Field(
        0.5, description="Least share of a prompt's answers that must agree; with less the prompt is left out."
    )
    verifier: Annotated[Use[Verifier[Any]] | None, Field(validate_default=True)] = Field(
        None, description="Reads answers and finds them right; null: math, code or ifeval, by the skill."
    )
    output: Literal["conversation", "problem"] = Field(
        "conversation", description="conversation: prompt and answer, for SFT; problem: prompt and check, for RLVR."
    )
    license: str | None = Field(None, description="Licence of the rows: what the teacher's terms allow.")
    batch: PositiveInt = Field(
        64,
        description="Prompts asked at a time; between two batches a run can be stopped. It decides on which prompts a "
        "budget is spent, and how a model in this process rounds.",
    )
    format: Format = Field("jsonl", description="Of the shards: jsonl, or parquet.")

    @field_validator("verifier", mode="before")
    @classmethod
    def _by_skill(cls, value: Any, info: ValidationInfo) -> Any:
        return VERIFIERS.get(info.data.get("skill", "")) if value is None else value

    @property
    def rule(self) -> Literal["all", "majority", "verified"]:
        """What is kept."""
        return self.keep or ("majority" if self.skill == "mathematics" else "verified")

    def without_use(self) -> dict[str, Unused]:
        """The share that must agree, where nobody votes."""
        idle = super().without_use()
        if self.rule != "majority":
            idle["agreement"] = Unused("answers vote with keep: majority", ("keep", "skill"))
        return idle
