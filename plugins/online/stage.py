"""The stage `online`: per step, replies to a batch of problems, verdicts, rewards, updates (F26–F28, F30, F37).

Everything random is derived from the seed and the step, so that a resume repeats the same bits from a checkpoint of
policy and critic alone. Replies of step t are made with the weights of step t - 1: the stage is on-policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.component import aside
from aftertrain.core.dataset import Dataset
from aftertrain.core.environment import Environment
from aftertrain.core.errors import ModelError, RunError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.ground.usage import Unused
from aftertrain.core.packed.router import untrained
from aftertrain.core.records import Artifact, PlanItem
from aftertrain.core.settings import Use
from aftertrain.core.stage import PlanContext, Replayed, Stage, StageContext, StageInput
from aftertrain.core.text.chat import UnusableRow, load_tokenizer
from aftertrain.core.text.endings import unnamed_ends
from aftertrain.core.text.growing import check_growth
from aftertrain.core.verification.checks import contents, ready, reward_name
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.comparing import refuse_single_replies
from aftertrain.plugins.online.judgeable import only_judgeable
from aftertrain.plugins.online.judges import any_pooled, judges
from aftertrain.plugins.online.models import REWARD, build_loss
from aftertrain.plugins.online.problems import Prompts, load_prompts, prompt_limits
from aftertrain.plugins.online.rollout import Stand, make_stand, try_opening
from aftertrain.plugins.online.settings import OnlineSettings
from aftertrain.plugins.online.training import Training

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.core.learning.trial import Trial
    from aftertrain.core.text import template_checks
    from aftertrain.plugins.online import plan, replaying, trial
else:
    template_checks = aside("aftertrain.core.text.template_checks")
    plan = aside("aftertrain.plugins.online.plan")
    replaying = aside("aftertrain.plugins.online.replaying")
    trial = aside("aftertrain.plugins.online.trial")


class Online(Stage[OnlineSettings]):
    """Reinforcement learning from verifiable rewards, by the method that `advantages` names."""

    Config = OnlineSettings

    def inputs(self) -> Sequence[StageInput]:
        """The model, which is the reference too, the critic's start if it is another stage's, and a reward model."""
        parents = [StageInput("model", self.settings.from_, frozenset({"model"}))]
        if self.settings.critic is not None:
            parents.append(StageInput("critic", self.settings.critic, frozenset({"reward_model", "model"})))
        if self.settings.reward.base is not None:
            parents.append(StageInput(REWARD, self.settings.reward.base, frozenset({"reward_model"})))
        return parents

    @property
    def output(self) -> str:
        """The trained policy."""
        return "model"

    def fingerprints(self) -> Mapping[str, str]:
        """Of the problems, and of what verifiers have beside their settings, as a judge has a model."""
        digests = {"data": self.builder.build(self.settings.data).content()} | contents(self._judges())
        if found := self.builder.build(self.settings.environment).content():
            digests["environment"] = found
        if self.settings.validation is not None:
            digests["validation"] = self.builder.build(self.settings.validation.data).content()
        return digests

    def without_use(self) -> Mapping[str, Unused]:
        """The pool's settings where no verifier is judged by it."""
        if any_pooled(self._judges()):
            return {}
        return {"verification": Unused("none of the rewards is judged in processes of its own")}

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Whether the loss asks for what the stage supplies, the chat template and the generation config; figures."""
        build_loss(self.settings, self.builder)
        engine = self.builder.build(self.settings.engine)
        if misfits := engine.misfits(context.model):
            return [PlanItem("engine", misfit, "error") for misfit in misfits]
        self.builder.build(self.settings.generator).preflight(context.model)
        items = [PlanItem("model", note, "warning") for note in untrained(read_config(context.model))]
        tokenizer = load_tokenizer(context.model, context.chat_template)
        unnamed_ends(context.model, tokenizer)
        items += [PlanItem("template", fault, "warning") for fault in template_checks.template_faults(tokenizer)]
        environment = self._environment(tokenizer)
        if context.figures:
            items += [PlanItem("engine", note, "warning") for note in engine.notes()]
            verifiers = self._verifiers()
            prompts = self._prompts(context.model, tokenizer, verifiers, environment)
            held_out = self._held_out(context.model, tokenizer, verifiers, environment)
            items += plan.plan_items(self.settings, prompts)
            items += plan.environment_items(self.settings.environment.name, environment)
            items += plan.validation_items(self.settings, prompts, held_out)
            config = read_config(context.model)
            items += plan.sharing(self.settings, prompts, config, shares=engine.shares_prefixes)
            items += plan.drawn_alike(self.settings, context)
        return items

    def trial(self, context: PlanContext, rows: int) -> Trial:
        """The first problems' prompts with random replies."""
        return trial.make_trial(self.settings, context, rows)

    def check_data(self, context: PlanContext, stopping: Callable[[], bool]) -> None:
        """The problems, what their verifiers need, and the engine's needs."""
        self.builder.build(self.settings.engine).preflight(context.model)
        self.builder.build(self.settings.generator).preflight(context.model)
        tokenizer = load_tokenizer(context.model, context.chat_template)
        verifiers, environment = self._verifiers(), self._environment(tokenizer)
        prompts = self._prompts(context.model, tokenizer, verifiers, environment)
        self._held_out(context.model, tokenizer, verifiers, environment)
        stand = self._stand(environment, tokenizer, context.model)
        try:
            try_opening(stand, prompts.kept[0])
        finally:
            stand.close()
        for item in plan.plan_items(self.settings, prompts):
            if item.status == "error":
                raise RunError(f"stage {context.name!r}: {item.label}: {item.value}")

    def run(self, context: StageContext) -> Artifact:
        """Train for `steps` steps, going on from the last checkpoint.

        Raises:
            DataError: the problems cannot be used. RunError: the loss asks for what the stage has not.
            NumericsError: a score, loss or gradient is not finite; the last checkpoint stays.
            Interrupted: the user asked to stop; a checkpoint is saved.
        """
        base, verifiers = context.inputs["model"].path, self._verifiers()
        tokenizer = load_tokenizer(base, context.chat_template)
        environment = self._environment(tokenizer)
        prompts = self._prompts(base, tokenizer, verifiers, environment)
        training = Training(
            self.settings,
            self.builder,
            context,
            tokenizer=tokenizer,
            verifiers=verifiers,
            stand=self._stand(environment, tokenizer, base),
            prompts=prompts,
            held_out=self._held_out(base, tokenizer, verifiers, environment),
        )
        return training.run()

    def replay(
        self, context: StageContext, step: int, start: tuple[int, Path] | None, changed: Stage[Any] | None
    ) -> Replayed:
        """Make a step again from its recorded rollouts, and by the settings of `changed` too."""
        if changed is not None and not isinstance(changed, Online):
            raise RunError(f"stage {context.name!r} is an online stage, the changed one is none")
        replay = replaying.Replay(self.settings, self.builder, context, start)
        return replay.step(step, None if changed is None else changed.settings)

    def _judges(self) -> dict[str, Verifier[Any]]:
        """By name, as they are built."""
        return judges(self.settings.rewards, self.settings.reward, self.builder)

    def _verifiers(self) -> dict[str, Verifier[Any]]:
        """By name, isolated; each has what it needs."""
        built = self._judges()
        refuse_single_replies(built, self.settings.batch.samples_per_prompt)
        return ready(built, self.settings.verification)

    def _environment(self, tokenizer: PreTrainedTokenizerBase) -> Environment[Any]:
        """The environment, with what it needs, under a chat template that lets its conversations grow.

        Raises:
            AftertrainError: something is missing, or the template rewrites earlier turns.
        """
        environment = self.builder.build(self.settings.environment)
        environment.preflight()
        if environment.max_turns > 1:
            try:
                check_growth(tokenizer, environment.answers, environment.tools)
            except UnusableRow as error:
                raise ModelError(f"environment {self.settings.environment.name!r}: {error}") from error
        return environment

    def _stand(self, environment: Environment[Any], tokenizer: PreTrainedTokenizerBase, model: str) -> Stand:
        limits = prompt_limits(self.settings, model)
        return make_stand(environment, tokenizer, limits, generator=self.settings.generator.name, model=model)

    def _held_out(
        self,
        model: str,
        tokenizer: PreTrainedTokenizerBase,
        verifiers: Mapping[str, Verifier[Any]],
        environment: Environment[Any],
    ) -> Prompts | None:
        """The problems of the validation; None where there is none."""
        chosen = self.settings.validation
        return None if chosen is None else self._prompts(model, tokenizer, verifiers, environment, chosen.data)

    def _prompts(
        self,
        model: str,
        tokenizer: PreTrainedTokenizerBase,
        verifiers: Mapping[str, Verifier[Any]],
        environment: Environment[Any],
        data: Use[Dataset[Any]] | None = None,
    ) -> Prompts:
        """The problems of a data set, by default the one that is trained on."""
        settings = self.settings
        use = settings.data if data is None else data
        prompts = load_prompts(
            self.builder.build(use),
            use.name,
            tokenizer,
            names := [reward_name(use) for use in settings.rewards],
            limits=prompt_limits(settings, model),
            checks=settings.checks,
            everywhere=[name for name in names if verifiers[name].every_problem],
            tools=environment.tools,
            unchecked=settings.turns_are_rewarded,
        )
        shaping = settings.reward.shaping
        return only_judgeable(prompts, verifiers, settings.unjudgeable, use.name, shaping=shaping)
