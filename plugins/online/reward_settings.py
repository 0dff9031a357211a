"""Settings of rewards: what a verdict earns, and how that changes over the steps. No torch here."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import PositiveInt, Settings


class WeightSchedule(Settings):
    """How λ, the weight of verification, changes over the steps (F31)."""

    warmup: PositiveInt | None = Field(None, description="T_warm: steps over which λ rises as √(t/T_warm); null: none.")
    decay: Annotated[float, Field(gt=0)] | None = Field(
        None, description="T_decay: steps after which λ has fallen to 1/e, as exp(-t/T_decay); null: it does not fall."
    )

    @model_validator(mode="after")
    def _some_change(self) -> Self:
        if self.warmup is None and self.decay is None:
            raise ValueError("set warmup or decay; without either λ is the weight itself")
        return self


class NormalizeSettings(Settings):
    """Rewards by their running mean and spread, (R - μ_R)/σ_R·s + μ_target (F35)."""

    scale: Annotated[float, Field(gt=0)] = Field(1.0, description="s: spread of the normalised rewards.")
    target: float = Field(0.0, description="μ_target: their mean.")


class RewardSettings(Settings):
    """From verdicts to one reward per reply (F26, F27). Of several checks of one problem the lowest reward counts."""

    positive: float = Field(10.0, description="Reward of a reply that is verified in full (a verdict's value of 1).")
    negative: float = Field(0.0, description="Reward of one that is wrong (a value of 0).")
    threshold: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="All or nothing: values from this one on earn 'positive', those below it 'negative'; 1 pays for "
        "replies that are verified in full alone. null pays for values in between in proportion.",
    )
    missing_eos: float | None = Field(
        None,
        description="Reward of a reply that was cut at max_new_tokens, *instead of* what it earned, even when correct; "
        "null has no such rule.",
    )
    on_timeout: float = Field(0.0, description="Reward where the verifier ran out of time.")
    on_error: float = Field(0.0, description="Reward where the verifier failed.")
    on_unparsable: float = Field(0.0, description="Reward where the reply holds no answer.")
    weight: float = Field(1.0, description="Factor λ of all of these but missing_eos (R = R_base + λ·R_verify).")
    weight_schedule: WeightSchedule | None = Field(
        None, description="Changes λ over the steps, from 'weight' on (F31); null: it stays (Tulu 3)."
    )
    base: str | None = Field(
        None,
        description="Stage of a reward model whose score of prompt and reply is R_base (F26); null: R_base is 0, which "
        "was best in Tulu 3. It must have the policy's tokenizer.",
    )
    base_weight: Annotated[float, UsedIf("base")] = Field(1.0, description="Factor of the reward model's score.")
    normalize: NormalizeSettings | None = Field(
        None,
        description="Scales R by the mean and spread of all rewards of the stage so far, this step's included (F35); "
        "the missing-EOS penalty stays as it is, and where it applies R is left out. null: as it is (Tulu 3).",
    )

    @model_validator(mode="after")
    def _right_earns_more(self) -> Self:
        if self.positive <= self.negative:
            raise ValueError(
                f"positive ({self.positive:g}) must be above negative ({self.negative:g}): a right reply would earn no "
                "more than a wrong one"
            )
        return self
