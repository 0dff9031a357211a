"""Settings of the ten tasks of OLMES."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.benchmark import BenchmarkSettings
from aftertrain.core.eval_task import EvalTaskSettings


class OlmesSettings(EvalTaskSettings, BenchmarkSettings):
    """Settings of a task of OLMES; the defaults are its protocol."""

    formulation: Literal["rc", "mc"] = Field(
        "rc", description="rc (cloze) scores the text of each choice; mc lists lettered choices and scores the letters."
    )
    shots: Annotated[int, Field(ge=0)] = Field(
        5, description="Worked examples before each question, from OLMES's list."
    )
    split: str | None = Field(None, description="Split that is scored; null takes the one that OLMES reports.")
    subset: bool = Field(
        True, description="Of a split of more than 1,500 rows, take only the 1,000 that OLMES draws; false takes all."
    )
    chat: bool = Field(
        False,
        description="Ask for letters as a conversation, worked examples as turns (OLMES mmlu:mc::tulu), by the model's "
        "chat template; false, the standard, is plain text. Needs formulation mc.",
    )

    @model_validator(mode="after")
    def _chat_is_of_letters(self) -> Self:
        if self.chat and self.formulation != "mc":
            raise ValueError("chat asks for letters: it needs formulation mc")
        return self


class MMLUSettings(OlmesSettings):
    """Settings of the task `mmlu`."""

    shots: Annotated[int, Field(ge=0, le=5)] = Field(
        5, description="Worked examples before each question, the first of its subject's split `dev`."
    )
    subset: bool = Field(False, description="Take only 1,000 questions, drawn as for other tasks; OLMES takes all.")
