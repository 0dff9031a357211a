"""Settings of how far the policy may go: the leash to its start, and the distance to what sampled its replies.

No torch here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.ground.usage import UsedIf, refuse
from aftertrain.core.settings import Settings


class KLSettings(Settings):
    """The leash to the model the stage started from (F28)."""

    beta: Annotated[float, Field(ge=0)] = Field(0.05, description="Weight of the KL penalty; 0 needs no reference.")
    estimator: Literal["k1", "k2", "k3"] = Field(
        "k3", description="Per-token estimate: k1 = d (Tulu 3), k2 = d²/2, k3 = e^-d - 1 + d, d = log π - log π_ref."
    )
    place: Literal["reward", "loss"] = Field(
        "loss", description="Subtracted from each token's reward (Tulu 3), or added to the policy's loss (Tulu 3.1)."
    )
    score_function: Annotated[bool, UsedIf("place", "loss")] = Field(
        True,
        description="In the loss only: weigh each token's estimate by π/π_old, whose gradient is the score-function "
        "term; false leaves it out, as Tulu 3.1 does.",
    )

    @model_validator(mode="after")
    def _has_the_gradient_of_kl(self) -> Self:
        if self.beta == 0:
            return self
        if self.place == "reward":
            if self.estimator != "k1":
                fault = f"{self.estimator} in the reward is no leash: near the reference its pull is of second order."
                raise refuse(self, "estimator", f"{fault} Set estimator: k1, or place: loss")
            return self
        if self.estimator == "k1" and not self.score_function:
            fault = "k1 in the loss without its score-function term is no leash: its gradient is 0 on average."
            raise refuse(self, "score_function", f"{fault} Set score_function: true, or the estimator k2 or k3")
        if self.estimator == "k2" and self.score_function:
            fault = "k2 in the loss has the gradient of the KL by itself, and another one with the score-function term."
            raise refuse(self, "estimator", f"{fault} Set score_function: false, or the estimator k1 or k3")
        return self


class CorrectionSettings(Settings):
    """Importance sampling against the sampler's own log-probabilities, w = π_old/π_generator, where these differ."""

    rule: Literal["truncate", "mask"] = Field(
        "truncate",
        description="truncate: weigh by min(w, high) (TIS); mask: leave out what is below low or above high, the rest "
        "weighs w (IcePop).",
    )
    level: Literal["token", "sequence"] = Field(
        "token", description="w of each token, or of a whole reply (the product of its tokens')."
    )
    high: Annotated[float, Field(ge=1)] = Field(2.0, description="Largest weight.")
    low: Annotated[float, Field(ge=0, le=1), UsedIf("rule", "mask")] = Field(
        0.5, description="Below it a token or reply is left out."
    )


class ParitySettings(Settings):
    """How far the generator's log-probabilities may be from the trainer's, on the step's own replies (nats a token).

    Measured after every update of the generator's weights. Beyond a bound the run stops: the policy that replies is not
    the one that is trained.
    """

    mean: Annotated[float, Field(gt=0)] = Field(0.05, description="Largest mean of |generator - trainer|.")
    most: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Largest at any one token; null: any, for a rounded tail may be far off."
    )
    staleness: Annotated[int, Field(ge=0)] = Field(
        0, description="Most updates that the weights which made a token may be behind; 0: on policy."
    )
