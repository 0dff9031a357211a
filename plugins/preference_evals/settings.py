"""Settings of the benchmarks of preference. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field

from aftertrain.core.benchmark import JudgedSettings
from aftertrain.core.engine import Engine
from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import Fraction, LocalPath, PositiveInt, Use, unhashed


class PreferenceSettings(JudgedSettings):
    """Settings of a benchmark whose replies a judge compares with a baseline's."""

    order: Literal["drawn", "both"] = Field(
        "drawn",
        description="In which order the judge sees a pair: drawn by seed and question, as published; both, and their "
        "mean, for twice the calls.",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Of the drawn orders.")


class AlpacaSettings(PreferenceSettings):
    """Settings of the task `alpaca_eval`; the defaults are Tülu 3's (`alpaca_eval_v2::tulu`)."""

    max_new_tokens: PositiveInt = Field(8192, description="Tokens after which a reply is cut.")
    gamed: LocalPath | None = unhashed(
        None,
        description="AlpacaEval's file df_gamed.csv, with how hard each instruction is: the length-controlled rate as "
        "published needs it. null leaves the difficulty out, and names the rate `length_controlled_minimal`.",
    )


class HrefSettings(PreferenceSettings):
    """Settings of the task `href`."""

    max_new_tokens: PositiveInt = Field(2048, description="Tokens after which a reply is cut.")
    encoder: str | None = Field(
        None,
        description="Folder or hub name of the encoder of BERTScore (published: roberta-large), by which two "
        "categories are decided; null takes ROUGE-L, and names the numbers so.",
    )
    layer: Annotated[PositiveInt | None, UsedIf("encoder")] = Field(
        None, description="Layer of the encoder that is compared; null takes 17 of 24 (roberta-large), else the last."
    )
    scorer: str | None = Field(
        None,
        description="Folder or hub name of a language model that says how much likelier a reply is after the person's: "
        "with it coherence and its mean with the similarity (F47) are shown.",
    )
    alpha: Annotated[Fraction, UsedIf("scorer")] = Field(
        0.5, description="Weight of the similarity in that mean; the coherence weighs the rest."
    )
    engine: Annotated[Use[Engine[Any]], UsedIf("scorer")] = Field(cast("Any", "torch"), description="Runs the scorer.")
