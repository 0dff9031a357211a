"""Settings of the losses. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.loss import Loss
from aftertrain.core.settings import Settings, Use

Positive = Annotated[float, Field(gt=0)]
Smoothing = Annotated[float, Field(ge=0, lt=0.5)]
Reduction = Literal["sum", "token_mean", "sequence_mean", "micro_batch_mean"]


class ReducedSettings(Settings):
    """A loss that is a number per target token."""

    reduction: Reduction = Field(
        "sum",
        description="sum: each sequence's sum, averaged over sequences (Tülu 3); token_mean: over all target tokens of "
        "the step; sequence_mean: each sequence's mean, averaged over sequences; micro_batch_mean: each micro-batch's "
        "mean, averaged over them, for comparison only: it makes results depend on how a step is cut.",
    )


class SFTSettings(ReducedSettings):
    """Cross-entropy of the target tokens."""

    regularizer: Use[Loss[Any]] | None = Field(
        None,
        description="A loss R to add, such as confidence_penalty or reference_kl; it must be divided by the same unit.",
    )
    regularizer_weight: Annotated[float, Field(ge=0), UsedIf("regularizer")] = Field(
        0.1, description="λ, the weight of the regularizer."
    )


class ConfidencePenaltySettings(ReducedSettings):
    """Negative entropy of the model's predictions."""


class ReferenceKLSettings(ReducedSettings):
    """Distance from the model that training started from."""


class PairSettings(Settings):
    """What losses of two replies have in common."""

    beta: Positive = Field(0.1, description="Scale of the rewards.")
    beta_schedule: Literal["constant", "adaptive"] = Field(
        "constant", description="adaptive: β rises as √(t/T) over the stage (F22)."
    )
    target_loss: Annotated[Positive | None, UsedIf("beta_schedule", "adaptive")] = Field(
        None,
        description="For the adaptive schedule: β is also lowered by √(target_loss/loss) while the step's loss is "
        "above this. Costs a second forward. null leaves it out.",
    )


class ReferenceSettings(PairSettings):
    """Rewards are log-probs against the reference's."""

    beta: Positive = Field(
        0.1, description="Strength of the pull to the reference. Tülu 3 uses 5 with normalize: length."
    )
    normalize: Literal["none", "length"] = Field(
        "none", description="none: a reply's summed log-probs; length: their mean per token (Tülu 3)."
    )


class DPOSettings(ReferenceSettings):
    """Direct preference optimisation (Rafailov et al. 2023)."""

    label_smoothing: Smoothing = Field(
        0.0, description="Assumed share of pairs labelled the wrong way round (conservative DPO)."
    )


class IPOSettings(ReferenceSettings):
    """Identity preference optimisation (Azar et al. 2023)."""

    beta: Positive = Field(0.1, description="τ of the paper: rewards are driven to differ by 1/(2β).")
    normalize: Literal["none", "length"] = Field(
        "length", description="length: mean log-probs per token, as the authors ran it and TRL does; none: sums."
    )


class HingeSettings(ReferenceSettings):
    """Hinge loss on the rewards of DPO (SLiC, RSO)."""

    beta: Positive = Field(0.1, description="Pairs whose rewards differ by 1/β or more push no longer.")


class RobustSettings(ReferenceSettings):
    """DPO made robust to flipped labels (Chowdhury et al. 2024)."""

    label_smoothing: Smoothing = Field(0.1, description="Share of pairs labelled the wrong way round.")


class WPOSettings(DPOSettings):
    """DPO that weights pairs by how likely the policy is to write them (Zhou et al. 2024)."""

    max_weight: Positive | None = Field(None, description="Largest weight of a pair; null does not cap.")


class SimPOSettings(PairSettings):
    """SimPO (Meng et al. 2024). Codes differ on whether γ is divided by β: name the one you mean."""

    beta: Positive = Field(2.0, description="Scale of the mean log-prob per token.")
    gamma: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Target margin, subtracted from the difference of rewards as it is."
    )
    gamma_beta_ratio: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Target margin divided by beta. 0.5 where neither this nor gamma is given."
    )
    label_smoothing: Smoothing = Field(0.0, description="Assumed share of pairs labelled the wrong way round.")

    @model_validator(mode="after")
    def _one_margin(self) -> Self:
        if self.gamma is not None and self.gamma_beta_ratio is not None:
            raise ValueError("give gamma or gamma_beta_ratio (= gamma / beta), not both")
        return self

    def margin(self, beta: float) -> float:
        """γ, whichever way it was given."""
        if self.gamma is not None:
            return self.gamma
        return beta * (0.5 if self.gamma_beta_ratio is None else self.gamma_beta_ratio)


class ORPOSettings(Settings):
    """Odds-ratio preference optimisation (Hong et al. 2024)."""

    beta: Positive = Field(0.1, description="λ of the paper: weight of the odds ratio beside the likelihood.")
    likelihood: Literal["reply", "sequence"] = Field(
        "reply",
        description="Tokens of the chosen sample whose likelihood is raised: its reply's (the paper's equation), or "
        "its prompt's too (the authors' code, TRL).",
    )


class KTOSettings(Settings):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024)."""

    beta: Positive = Field(0.1, description="Strength of the pull to the reference.")
    desirable_weight: Positive = Field(
        1.0,
        description="Weight of desirable replies: weight × count should be 1 to 4/3 times that of the others.",
    )
    undesirable_weight: Positive = Field(1.0, description="Weight of undesirable replies.")
    kl: Literal["mismatched", "none"] = Field(
        "mismatched",
        description="What rewards are measured from: an estimate of the policy's KL to the reference, from each prompt "
        "with another row's reply (one more forward); none: 0.",
    )


class RewardModelSettings(Settings):
    """Bradley-Terry reward model."""

    margin: bool = Field(
        False, description="Demand that scores differ by the pair's margin (rating of chosen minus that of rejected)."
    )
    centering: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Weight of (score of chosen + score of rejected)², which keeps scores around 0."
    )
