"""Settings of the stage `online`. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, ValidationInfo, model_validator

from aftertrain.core.advantage import Advantage, AdvantageSettings, Method
from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine
from aftertrain.core.environment import Environment, EnvironmentSettings
from aftertrain.core.errors import unknown
from aftertrain.core.generator import Generator, Sampling
from aftertrain.core.ground.usage import Unused, refuse
from aftertrain.core.learning.schedule import Optimizer
from aftertrain.core.loss import Loss
from aftertrain.core.selection import Selection, SelectionSettings
from aftertrain.core.settings import PositiveInt, Settings, Use, unhashed
from aftertrain.core.stage import StageSettings
from aftertrain.core.verification.checks import reward_name
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.memory_settings import MemorySettings
from aftertrain.plugins.online.method import as_the_method_sets_it
from aftertrain.plugins.online.policy_settings import CorrectionSettings, KLSettings, ParitySettings
from aftertrain.plugins.online.reward_settings import RewardSettings
from aftertrain.plugins.online.validation_settings import ValidationSettings

Unjudgeable = Literal["stop", "drop", "keep"]


class RolloutBatch(Settings):
    """What one online step is."""

    prompts: PositiveInt = Field(256, description="Problems in one step.")
    incomplete: Literal["keep", "drop"] = Field(
        "keep",
        description="What becomes of an epoch's last problems where they do not fill a step: a smaller step, or they "
        "are left out of this epoch (Tülu 3), others in the next.",
    )
    samples_per_prompt: PositiveInt = Field(1, description="Replies to each.")
    updates: PositiveInt = Field(1, description="Passes over the step's replies (PPO epochs).")
    minibatches: PositiveInt = Field(1, description="Optimizer steps in each pass.")
    micro_tokens: PositiveInt = Field(16_384, description="Packing budget of one forward and backward, in tokens.")
    max_prompt_tokens: PositiveInt = Field(2048, description="Problems with longer prompts are left out, and counted.")
    by_memory: MemorySettings | None = Field(
        None, description="Makes steps smaller where verification needs more memory than is free; null: all alike."
    )

    @property
    def replies_per_update(self) -> float:
        """Replies that a full optimizer step sees, on average where the minibatches of a step differ in size."""
        return self.prompts * self.samples_per_prompt / self.minibatches

    def without_use(self) -> dict[str, Unused]:
        """Further: what becomes of an epoch's end where steps go across it."""
        if self.by_memory is None:
            return super().without_use()
        reason = "by_memory sizes every step, across the ends of epochs"
        return {**super().without_use(), "incomplete": Unused(reason, ("by_memory",))}

    @model_validator(mode="after")
    def _minibatches_have_prompts(self) -> Self:
        if self.minibatches > self.prompts:
            raise ValueError(f"{self.minibatches} minibatches need at least as many prompts, not {self.prompts}")
        return self


class OnlineSettings(StageSettings):
    """Settings of the stage `online`; what a method's paper sets comes with its `advantages` (PPO: Tülu 3's 8B)."""

    data: Use[Dataset[Any]] = Field(
        description="Problems. Each check is judged by the reward of the same name, unless 'checks' names another."
    )
    rewards: tuple[Use[Verifier[Any]], ...] = Field(
        (),
        description="Verifiers, which judge the last reply; none are needed beside an environment that rewards turns.",
    )
    environment: Use[Environment[Any]] = Field(
        cast("Any", "single_turn"),
        description="Answers the policy's replies turn by turn; the sampling's limit then bounds all that follows the "
        "prompt, answers included.",
    )
    checks: dict[str, str] = Field(
        {},
        description="Reward that judges the problems' checks of a name, where it is called otherwise: "
        "{gsm8k: weighted}.",
    )
    loss: Use[Loss[Any]] = Field(
        cast("Any", "grpo"), description="What the policy and the critic minimise; the method's own where it has one."
    )
    critic: str | None = Field(
        None,
        description="Stage (reward_model or model) the critic starts from; null: a new head on the policy. For a "
        "method with a critic.",
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
    advantages: Use[Advantage[Any]] = Field(
        cast("Any", "gae"),
        description="From rewards to what each token is pushed by, which is the method: gae is PPO, group GRPO, rloo "
        "RLOO, pairs online DPO. It also sets what its paper sets, where the recipe does not (aftertrain show NAME).",
    )
    correction: CorrectionSettings | None = Field(
        None, description="Weighs what is learnt by how likely the trainer finds what was sampled; null: as it is."
    )
    parity: ParitySettings | None = unhashed(
        ParitySettings(), description="Stops the run where generator and trainer disagree; null only measures."
    )
    selection: Use[Selection[Any]] = Field(
        cast("Any", "all"),
        description="Which problems a step asks, and which groups of replies it learns from: all; informative filters "
        "and refills groups that all earned the same (DAPO).",
    )
    batch: RolloutBatch = Field(RolloutBatch(), description="What one step is.")
    steps: PositiveInt = Field(description="Online steps; each makes new replies.")
    validation: ValidationSettings | None = Field(
        None,
        description="Measure accuracy on held-out problems, too (metrics that begin with validation_), and leave the "
        "weights that were best. null: none.",
    )
    engine: Use[Engine[Any]] = Field(cast("Any", "torch"), description="Holds policy, critic and reference.")
    optimizer: Optimizer = Field(description="The policy's. Its schedule runs over all optimizer steps of the stage.")
    critic_optimizer: Optimizer | None = Field(
        None, description="The critic's; null takes the policy's. For a method with a critic."
    )
    checkpoint_every: PositiveInt = unhashed(10, description="Steps between checkpoints.")
    shown: Annotated[int, Field(ge=0)] = unhashed(4, description="Replies per step sent to the observers.")
    respaced: Annotated[int, Field(ge=0)] = unhashed(
        2, description="Paid replies per step that are judged again with other white space, for the alarm of that name."
    )
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
        if reshaping := self.sampling.reshapes:
            name = reshaping[0]
            raise ValueError(
                f"sampling.{name} of {getattr(self.sampling, name):g} draws from another distribution than the one "
                f"that is trained; leave {', '.join(reshaping)} out"
            )
        return self

    @property
    def turns_are_rewarded(self) -> bool:
        """Whether the environment rewards turns, so that problems may have no checks."""
        return cast("EnvironmentSettings", self.environment.settings).rewards_turns

    @property
    def method(self) -> Method:
        """What the advantage estimator needs."""
        return cast("AdvantageSettings", self.advantages.settings).method

    @model_validator(mode="before")
    @classmethod
    def _method_sets(cls, data: Any, info: ValidationInfo) -> Any:
        return as_the_method_sets_it(cls, data, info)

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        name, method, kl = self.advantages.name, self.method, self.kl
        fewest = cast("AdvantageSettings", self.advantages.settings).samples
        if self.batch.samples_per_prompt < fewest:
            raise ValueError(
                f"advantages: {name} compares replies to one prompt: samples_per_prompt must be {fewest} or more"
            )
        if kl.beta > 0 and kl.place not in method.kl:
            if not method.kl:
                raise refuse(self, "kl.beta", f"with advantages: {name} the leash is the loss's own. Set kl.beta: 0")
            raise refuse(
                self,
                "kl.place",
                f"advantages: {name} does not read a KL penalty in the {kl.place}, or divides it by what it is itself "
                f"a part of: β would not say how strong it is. Set kl.place: {min(method.kl)}, or kl.beta: 0",
            )
        chooses = cast("SelectionSettings", self.selection.settings)
        if self.batch.samples_per_prompt < chooses.samples:
            raise ValueError(
                f"selection: {self.selection.name} goes by how replies to one prompt differ: samples_per_prompt must "
                f"be {chooses.samples} or more"
            )
        if self.correction is not None and method.pairs:
            raise refuse(self, "correction", "it weighs advantages, of which pairs have none; take it out")
        return self

    def without_use(self) -> dict[str, Unused]:
        """Further: a critic's settings without one, and factors of the whole reward that a method divides by again."""
        unused, method, name = super().without_use(), self.method, self.advantages.name
        if not method.critic:
            reason = f"it is for a method with a critic, such as advantages: gae, and advantages is {name}"
            unused |= {setting: Unused(reason, ("advantages",)) for setting in ("critic", "critic_optimizer")}
        if not cast("SelectionSettings", self.selection.settings).planned:
            reason = f"selection: {self.selection.name} fills every step, across the ends of epochs"
            unused["batch.incomplete"] = Unused(reason, ("selection",))
        if method.scale_free and self.reward.missing_eos is None:
            beside = self.reward.base is not None or self.reward.overlong is not None or self.reward.shaping
            scaling = ["normalize"] if beside else ["weight", "weight_schedule", "normalize"]
            reason = "of the replies to one prompt only differences count, by their spread, and it scales all alike"
            unused |= {f"reward.{name}": Unused(reason, ("advantages", "reward")) for name in scaling}
        return unused

    @model_validator(mode="after")
    def _something_rewards(self) -> Self:
        if not self.rewards and not self.turns_are_rewarded:
            raise ValueError(
                "rewards is empty, and nothing else would reward a reply: name a verifier, or an environment that "
                "rewards turns"
            )
        if not self.rewards and self.validation is not None:
            raise ValueError("validation measures by verifiers what share of replies is right, and rewards names none")
        return self

    @model_validator(mode="after")
    def _rewards_and_checks(self) -> Self:
        names = [reward_name(use) for use in self.rewards]
        judges = [*names, *self.reward.shaping]
        twice = sorted({name for name in judges if judges.count(name) > 1})
        if twice:
            raise ValueError(f"rewards: {', '.join(twice)} stands there more than once, or as shaping too")
        for check, reward in self.checks.items():
            if reward not in names:
                raise ValueError(f"checks: {check}: {unknown('reward', reward, names)}")
        for name in self.reward.weights:
            if name not in names:
                raise ValueError(f"reward.weights: {unknown('reward', name, names)}")
        return self

    @model_validator(mode="after")
    def _shaping_fits(self) -> Self:
        overlong, tasks, longest = self.reward.overlong, self.reward.task_weights, self.sampling.max_new_tokens
        if overlong is not None and overlong.limit is None and overlong.cache > longest:
            fault = f"it must not be above sampling.max_new_tokens ({longest:,}), the limit where none is set"
            raise refuse(self, "reward.overlong.cache", fault)
        if tasks is not None and "advantages" not in self.method.columns:
            fault = f"they weigh advantages, and advantages: {self.advantages.name} gives none"
            raise refuse(self, "reward.task_weights", fault)
        if tasks is not None and tasks.loss == "value" and not {"returns", "old_values"} <= self.method.columns:
            fault = f"advantages: {self.advantages.name} has no critic whose loss it could be; set loss: failure"
            raise refuse(self, "reward.task_weights.loss", fault)
        return self
