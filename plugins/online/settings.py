"""Settings of the stage `online`. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine
from aftertrain.core.errors import unknown
from aftertrain.core.generator import Generator, Sampling
from aftertrain.core.ground.usage import Unused, UsedIf, refuse
from aftertrain.core.learning.schedule import Optimizer
from aftertrain.core.loss import Loss
from aftertrain.core.settings import Fraction, PositiveInt, Settings, Use, unhashed
from aftertrain.core.stage import StageSettings
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.reward_settings import RewardSettings

Unjudgeable = Literal["stop", "drop", "keep"]
GAE = UsedIf("advantages", "gae")


class KLSettings(Settings):
    """The leash to the model the stage started from (F28)."""

    beta: Annotated[float, Field(ge=0)] = Field(0.05, description="Weight of the KL penalty; 0 needs no reference.")
    estimator: Literal["k1", "k2", "k3"] = Field(
        "k1", description="Per-token estimate: k1 = d (Tulu 3), k2 = d²/2, k3 = e^-d - 1 + d, d = log π - log π_ref."
    )
    place: Literal["reward", "loss"] = Field(
        "reward", description="Subtracted from each token's reward (Tulu 3), or added to the policy's loss (Tulu 3.1)."
    )
    score_function: Annotated[bool, UsedIf("place", "loss")] = Field(
        True,
        description="In the loss only: weigh each token's estimate by π/π_old, whose gradient is the score-function "
        "term; false leaves it out, as Tulu 3.1 does.",
    )

    @model_validator(mode="after")
    def _has_the_gradient_of_kl(self) -> Self:
        if self.place == "reward" or self.beta == 0:
            return self
        if self.estimator == "k1" and not self.score_function:
            fault = "k1 in the loss without its score-function term is no leash: its gradient is 0 on average."
            raise refuse(self, "score_function", f"{fault} Set score_function: true, or the estimator k2 or k3")
        if self.estimator == "k2" and self.score_function:
            fault = "k2 in the loss has the gradient of the KL by itself, and another one with the score-function term."
            raise refuse(self, "estimator", f"{fault} Set score_function: false, or the estimator k1 or k3")
        return self


class RolloutBatch(Settings):
    """What one online step is."""

    prompts: PositiveInt = Field(256, description="Problems in one step.")
    incomplete: Literal["keep", "drop"] = Field(
        "keep",
        description="What becomes of an epoch's last problems where they do not fill a step: a smaller step, or they "
        "are left out of this epoch (Tülu 3), others in the next.",
    )
    samples_per_prompt: PositiveInt = Field(1, description="Replies to each.")
    updates: PositiveInt = Field(4, description="Passes over the step's replies (PPO epochs).")
    minibatches: PositiveInt = Field(1, description="Optimizer steps in each pass.")
    micro_tokens: PositiveInt = Field(16_384, description="Packing budget of one forward and backward, in tokens.")
    max_prompt_tokens: PositiveInt = Field(2048, description="Problems with longer prompts are left out, and counted.")

    @property
    def replies_per_update(self) -> float:
        """Replies that a full optimizer step sees, on average where the minibatches of a step differ in size."""
        return self.prompts * self.samples_per_prompt / self.minibatches

    @model_validator(mode="after")
    def _minibatches_have_prompts(self) -> Self:
        if self.minibatches > self.prompts:
            raise ValueError(f"{self.minibatches} minibatches need at least as many prompts, not {self.prompts}")
        return self


class OnlineSettings(StageSettings):
    """Settings of the stage `online`; the defaults are Tülu 3's (8B) where it has them."""

    data: Use[Dataset[Any]] = Field(
        description="Problems. Each check is judged by the reward of the same name, unless 'checks' names another."
    )
    rewards: Annotated[tuple[Use[Verifier[Any]], ...], Field(min_length=1)] = Field(description="Verifiers.")
    checks: dict[str, str] = Field(
        {},
        description="Reward that judges the problems' checks of a name, where it is called otherwise: "
        "{gsm8k: weighted}.",
    )
    loss: Use[Loss[Any]] = Field(cast("Any", "ppo"), description="What the policy and the critic minimise.")
    critic: Annotated[str | None, GAE] = Field(
        None, description="Stage (reward_model or model) the critic starts from; null: a new head on the policy."
    )
    generator: Use[Generator[Any]] = Field(cast("Any", "transformers"), description="Makes the replies.")
    sampling: Sampling = Field(
        Sampling(max_new_tokens=2048), description="How replies are drawn; the trainer uses its temperature too."
    )
    reward: RewardSettings = Field(RewardSettings(), description="From verdicts to rewards.")
    unjudgeable: Unjudgeable = Field(
        "stop",
        description="What becomes of problems that no reply could be judged by (a ground truth that cannot be read, a "
        "resource that is not installed), found before the first reply: stop ends the run, drop leaves them out and "
        "counts them, keep warns (each reply is then an error).",
    )
    verification: PoolSettings = Field(PoolSettings(), description="The processes that judge, and their limits.")
    kl: KLSettings = Field(KLSettings(), description="Penalty for leaving the model the stage starts from.")
    advantages: Literal["gae", "group"] = Field(
        "gae",
        description="gae: from a critic's values (PPO); group: a reply's reward against those of the other replies to "
        "its prompt (GRPO), without a critic.",
    )
    gamma: Annotated[Fraction, GAE] = Field(1.0, description="gae: discount of later rewards.")
    gae_lambda: Annotated[Fraction, GAE] = Field(0.95, description="gae: λ; 1 trusts the rewards alone.")
    whiten: Annotated[bool, GAE] = Field(True, description="gae: scale advantages to mean 0, variance 1 over the step.")
    batch: RolloutBatch = Field(RolloutBatch(), description="What one step is.")
    steps: PositiveInt = Field(description="Online steps; each makes new replies.")
    engine: Use[Engine[Any]] = Field(cast("Any", "torch"), description="Holds policy, critic and reference.")
    optimizer: Optimizer = Field(description="The policy's. Its schedule runs over all optimizer steps of the stage.")
    critic_optimizer: Annotated[Optimizer | None, GAE] = Field(
        None, description="The critic's; null takes the policy's."
    )
    checkpoint_every: PositiveInt = unhashed(10, description="Steps between checkpoints.")
    shown: Annotated[int, Field(ge=0)] = unhashed(4, description="Replies per step sent to the observers.")
    timeout: Annotated[float, Field(gt=0)] = unhashed(
        3600.0, description="Seconds without any finished reply after which the stage gives up."
    )

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps of one online step."""
        return self.batch.updates * self.batch.minibatches

    @model_validator(mode="after")
    def _on_policy(self) -> Self:
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature 0 is greedy: replies must be drawn to learn from them")
        if self.sampling.top_p < 1:
            raise ValueError(
                "sampling.top_p below 1 draws from another distribution than the one that is trained; it must be 1"
            )
        return self

    @model_validator(mode="after")
    def _groups_compare(self) -> Self:
        if self.advantages != "group":
            return self
        if self.batch.samples_per_prompt < 2:
            raise ValueError("advantages: group compares replies to one prompt: samples_per_prompt must be 2 or more")
        if self.kl.place == "reward" and self.kl.beta > 0:
            fault = (
                "with advantages: group a KL penalty in the reward is divided by the spread of the group's rewards, "
                "which may be the penalty's own: β would not say how strong it is"
            )
            raise refuse(self, "kl.place", f"{fault}. Set kl.place: loss, or kl.beta: 0")
        return self

    def without_use(self) -> dict[str, Unused]:
        """Further: factors of the whole reward, which a group's advantages divide by again."""
        unused = super().without_use()
        if self.advantages == "group" and self.reward.missing_eos is None:
            scaling = ["normalize"] if self.reward.base is not None else ["weight", "weight_schedule", "normalize"]
            reason = "of the replies to one prompt only differences count, by their spread, and it scales all alike"
            unused |= {f"reward.{name}": Unused(reason, ("advantages", "reward")) for name in scaling}
        return unused

    @model_validator(mode="after")
    def _rewards_and_checks(self) -> Self:
        names = [use.name for use in self.rewards]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rewards: {', '.join(twice)} stands there more than once")
        for check, reward in self.checks.items():
            if reward not in names:
                raise ValueError(f"checks: {check}: {unknown('reward', reward, names)}")
        return self
