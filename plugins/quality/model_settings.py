"""Settings of the operators that ask a model, or verifiers. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field

from aftertrain.core.asking.settings import ModelName
from aftertrain.core.engine import Engine
from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.records import JSON
from aftertrain.core.settings import Fraction, PositiveInt, Settings, Use, unhashed
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier


class ScoringSettings(Settings):
    """A model that scores rows through an engine."""

    model: ModelName = Field(
        description="The model: a Hugging Face folder, a hub name, RUN:STAGE for what a stage of a run made, or "
        "package:MODULE/FOLDER."
    )
    engine: Use[Engine[Any]] = Field(cast("Any", "torch"), description="Runs it.")
    chat_template: str | None = Field(None, description="Named chat template in place of the model's own (tulu).")
    max_tokens: PositiveInt = Field(
        2048, description="Tokens of a row that are read; the rest is cut, and the model's context limits it too."
    )


class PerplexitySettings(ScoringSettings):
    """What is scored."""

    of: Literal["reply", "all"] = Field(
        "reply",
        description="reply: the assistant's turns, given what stands before them, as SFT learns them (of a pair the "
        "chosen ones); all: the row as plain text, from its first token on.",
    )


class RewardModelSettings(ScoringSettings):
    """A model with a scalar head, as the loss reward_model trains it."""


class VerdictSettings(Settings):
    """Which verifier judges the replies of rows."""

    verifier: Use[Verifier[Any]] = Field(description="Any verifier: a rule, or a judge that is a model.")
    truth: JSON = Field(
        None, description="Ground truth of every row, for a verifier that needs the same each time; null: none."
    )
    truth_from: str | None = Field(None, description="Fact that is the ground truth of its row, in place of `truth`.")
    verification: PoolSettings = unhashed(PoolSettings(workers=1), description="The processes that judge.")


class RlvrQualitySettings(Settings):
    """Q(d) = α·V(d) + (1 − α)·C(d) (F33)."""

    verifiers: Annotated[dict[str, Use[Verifier[Any]]], Field(min_length=1)] = Field(
        description="The verifiers, by the name that checks have for them: {gsm8k: {use: gsm8k, extract: strict}}."
    )
    alpha: Fraction = Field(0.5, description="α: the weight of verifiability.")
    most: PositiveInt = Field(
        8, description="S_max: solution steps or test cases from which on a problem counts as fully complex."
    )
    steps: str | None = Field(
        None,
        description="Fact that is S; null: the test cases or constraints of a ground truth that is a list, and of one "
        "that is a text its non-empty lines, over all checks.",
    )
    replies: str | None = Field(
        None,
        description="Fact that is a list of replies, whose share of scored verdicts is V; null: the share of the "
        "problem's checks that its verifier can judge at all.",
    )
    verification: Annotated[PoolSettings, UsedIf("replies")] = unhashed(
        PoolSettings(workers=1), description="The processes that judge replies."
    )
