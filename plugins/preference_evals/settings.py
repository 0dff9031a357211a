"""Settings of the benchmarks of preference. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.benchmark import JudgedSettings
from aftertrain.core.settings import LocalPath, PositiveInt, unhashed


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
