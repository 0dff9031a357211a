"""Settings of rewards: what a verdict earns, and how that changes over the steps. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import PositiveInt, Settings, Use
from aftertrain.core.verifier import Verifier

BASE, OVERLONG, VERIFICATION = "base", "overlong", "verification"
OWN_PARTS = (BASE, OVERLONG, VERIFICATION)
"""Parts of a reward that no single verifier gives."""


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


class OverlongSettings(Settings):
    """DAPO's soft punishment of overlong replies (Yu et al. 2025, arXiv 2503.14476, equation 13)."""

    cache: PositiveInt = Field(
        description="L_cache: tokens before the limit over which the penalty grows from 0 to 1 (DAPO: 4,096 of 20,480)."
    )
    limit: PositiveInt | None = Field(None, description="L_max, in tokens; null: sampling.max_new_tokens.")
    weight: Annotated[float, Field(gt=0)] = Field(1.0, description="Factor of the penalty (DAPO: 1).")

    @model_validator(mode="after")
    def _room_for_the_cache(self) -> Self:
        if self.limit is not None and self.cache > self.limit:
            raise ValueError(f"cache ({self.cache:,}) must not be above limit ({self.limit:,})")
        return self


class ShapingSettings(Settings):
    """A verifier that is asked about every reply, whatever its problem's checks, and what it adds to the reward."""

    verifier: Use[Verifier[Any]] = Field(
        description="The verifier. It gets the ground truth of the problem's check; where there are several, a mapping "
        "of them by the checks' names."
    )
    weight: float = Field(
        1.0,
        description="Factor of its verdict's value, or of its reward where it has a scale of its own; below 0 it takes "
        "away. A reply that it cannot judge gets nothing, and is counted.",
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.weight == 0:
            raise ValueError("a weight of 0 adds nothing")
        return self


class TaskWeightSettings(Settings):
    """Weights of tasks, w_i = softmax(-α·L_i) (F36), over their mean: factors of their replies' advantages."""

    alpha: float = Field(
        description="α: above 0 a task that fails gets less weight, below 0 more. With 1, a task that never succeeds "
        "weighs 1/e of one that always does."
    )
    by: Literal["source", "check"] = Field(
        "source", description="What a task is: the problem's source (its data set), or its checks' names."
    )
    loss: Literal["failure", "value"] = Field(
        "failure",
        description="L_i: 1 - the running success rate of the task, or the running mean of the critic's squared "
        "error on it, ½(V - R)². There is no policy loss to choose: on policy it is about 0 whatever the task.",
    )
    decay: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="What a step counts in these running means against the step after it; 1: all alike."
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.alpha == 0:
            raise ValueError("an alpha of 0 weighs all tasks alike; leave task_weights out")
        return self


class RewardSettings(Settings):
    """From verdicts to one reward per reply (F26, F27)."""

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
    on_timeout: float | None = Field(
        0.0,
        description="Reward where the verifier ran out of time; null leaves the reply out: nothing is learnt of it, "
        "and the others to its prompt are compared without it.",
    )
    on_error: float | None = Field(0.0, description="Reward where the verifier failed; null leaves the reply out.")
    on_environment: float | None = Field(
        None,
        description="Reward where the environment failed, or took too long over an answer; null leaves the rollout "
        "out, since it is the machine's fault and not the policy's.",
    )
    on_unparsable: float = Field(0.0, description="Reward where the reply holds no answer.")
    on_abstained: float = Field(
        0.0, description="Reward where no check applies to the reply; one check of several that abstains is left out."
    )
    combine: Literal["min", "product", "weighted_sum"] = Field(
        "min",
        description="Of several checks of one problem: the lowest reward counts; the reward of the product of their "
        "values, to which rewards of a verifier's own scale are factors; or the sum of their rewards, by 'weights' (as "
        "TRL does).",
    )
    weights: Annotated[dict[str, float], UsedIf("combine", "weighted_sum")] = Field(
        {},
        description="Factors of checks' rewards in the weighted sum, by the name of the reward; 1 where none stands.",
    )
    weight: float = Field(
        1.0, description="Factor λ of all of these but missing_eos (R = R_base + λ·R_verify + what shaping adds)."
    )
    weight_schedule: WeightSchedule | None = Field(
        None, description="Changes λ over the steps, from 'weight' on (F31); null: it stays (Tulu 3)."
    )
    base: str | None = Field(
        None,
        description="Stage of a reward model whose score of prompt and reply is R_base (F26); null: R_base is 0, which "
        "was best in Tulu 3. It must have the policy's tokenizer.",
    )
    base_weight: Annotated[float, UsedIf("base")] = Field(1.0, description="Factor of the reward model's score.")
    overlong: OverlongSettings | None = Field(
        None, description="Takes away from replies that come near the limit of their length; null: nothing (Tulu 3)."
    )
    shaping: dict[str, ShapingSettings] = Field(
        {},
        description="Further verifiers by a name of yours, each asked about every reply, whose values are added with "
        "their weights: {form: {verifier: {use: format, tags: [think, answer]}, weight: 0.5}}.",
    )
    task_weights: TaskWeightSettings | None = Field(
        None, description="Weighs the tasks of a mixture by how well they go (F36); null: all alike (Tulu 3)."
    )
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

    @model_validator(mode="after")
    def _names_of_shaping(self) -> Self:
        for name in self.shaping:
            if name in OWN_PARTS or not name.strip():
                raise ValueError(f"shaping: {name!r} is no name for a part: {', '.join(OWN_PARTS)} have theirs")
        return self
