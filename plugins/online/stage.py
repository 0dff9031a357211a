"""The stage `online`: per step, replies to a batch of problems, verdicts, rewards, updates (F26–F28, F30, F37).

Everything random is derived from the seed and the step, so that a resume repeats the same bits from a checkpoint of
policy and critic alone. Replies of step t are made with the weights of step t - 1: the stage is on-policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.batch import PackedBatch
from aftertrain.core.component import aside
from aftertrain.core.errors import CheckpointError, Interrupted, ModelError, RunError
from aftertrain.core.events import Metrics, Warned
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.ground.reading import CURE, read_json
from aftertrain.core.ground.usage import Unused
from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.core.learning.saved import save_checked
from aftertrain.core.learning.schedule import Pace
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.learning.step import StepResult, train_step
from aftertrain.core.loss import Loss
from aftertrain.core.packed.router import untrained
from aftertrain.core.records import Artifact, PlanItem
from aftertrain.core.stage import PlanContext, Stage, StageContext, StageInput
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.core.text.endings import name_ends, unnamed_ends
from aftertrain.core.verification import isolate, shared_pool
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.accounts import Accounts
from aftertrain.plugins.online.asking import Asking
from aftertrain.plugins.online.experience import Experience, make_experience, needs_old_logprobs
from aftertrain.plugins.online.first_pass import FirstPass
from aftertrain.plugins.online.judgeable import only_judgeable
from aftertrain.plugins.online.measure import Stopwatch, reply_metrics, update_metrics
from aftertrain.plugins.online.models import REWARD, build_loss, load_models
from aftertrain.plugins.online.parity import check_parity, policy_metrics
from aftertrain.plugins.online.problems import Prompt, Prompts, load_prompts, prompt_limits
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.rewarding import Rewarding
from aftertrain.plugins.online.rollout import roll_out
from aftertrain.plugins.online.settings import OnlineSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.core.learning.trial import Trial
    from aftertrain.core.text import template_checks
    from aftertrain.plugins.online import plan, telling, trial
else:
    template_checks = aside("aftertrain.core.text.template_checks")
    plan = aside("aftertrain.plugins.online.plan")
    telling = aside("aftertrain.plugins.online.telling")
    trial = aside("aftertrain.plugins.online.trial")

STATE = "online.json"


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
        verifiers = [(use.name, self.builder.build(use).content()) for use in self.settings.rewards]
        judges = {f"verifier {number} {name}": found for number, (name, found) in enumerate(verifiers, 1) if found}
        return {"data": self.builder.build(self.settings.data).content()} | judges

    def without_use(self) -> Mapping[str, Unused]:
        """The pool's settings where no verifier is judged by it."""
        if any(_pooled(self.builder.build(use)) for use in self.settings.rewards):
            return {}
        return {"verification": Unused("none of the rewards is judged in processes of its own")}

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Whether the loss asks for what the stage supplies, the chat template and the generation config; figures."""
        build_loss(self.settings, self.builder)
        engine = self.builder.build(self.settings.engine)
        if misfits := engine.misfits(context.model):
            return [PlanItem("engine", misfit, "error") for misfit in misfits]
        items = [PlanItem("model", note, "warning") for note in untrained(read_config(context.model))]
        tokenizer = load_tokenizer(context.model, context.chat_template)
        unnamed_ends(context.model, tokenizer)
        items += [PlanItem("template", fault, "warning") for fault in template_checks.template_faults(tokenizer)]
        if context.figures:
            items += [PlanItem("engine", note, "warning") for note in engine.notes()]
            prompts = self._prompts(context.model, tokenizer, self._verifiers())
            items += plan.plan_items(self.settings, prompts)
            items += plan.drawn_alike(self.settings, context)
        return items

    def trial(self, context: PlanContext, rows: int) -> Trial:
        """The first problems' prompts with random replies."""
        return trial.make_trial(self.settings, context, rows)

    def check_data(self, context: PlanContext, stopping: Callable[[], bool]) -> None:
        """The problems, what their verifiers need, and the engine's needs."""
        self.builder.build(self.settings.engine).preflight(context.model)
        tokenizer = load_tokenizer(context.model, context.chat_template)
        prompts = self._prompts(context.model, tokenizer, self._verifiers())
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
        return Training(self, context).run()

    def _verifiers(self) -> dict[str, Verifier[Any]]:
        """By name, isolated; each has what it needs."""
        built = {use.name: self.builder.build(use) for use in self.settings.rewards}
        for verifier in built.values():
            verifier.preflight()
        pool = shared_pool(self.settings.verification)
        return {name: isolate(verifier, pool) for name, verifier in built.items()}

    def _prompts(
        self, model: str, tokenizer: PreTrainedTokenizerBase, verifiers: Mapping[str, Verifier[Any]]
    ) -> Prompts:
        settings = self.settings
        prompts = load_prompts(
            self.builder.build(settings.data),
            settings.data.name,
            tokenizer,
            [use.name for use in settings.rewards],
            limits=prompt_limits(settings, model),
            checks=settings.checks,
        )
        return only_judgeable(prompts, verifiers, settings.unjudgeable, settings.data.name)


class Training:
    """One attempt at a stage."""

    def __init__(self, stage: Online, context: StageContext) -> None:
        self.settings, self.context = stage.settings, context
        self.loss: Loss[Any] = build_loss(stage.settings, stage.builder)
        self.estimator = stage.builder.build(stage.settings.advantages)
        self.base = context.inputs["model"].path
        self.tokenizer = load_tokenizer(self.base, context.chat_template)
        self.verifiers = stage._verifiers()
        self.prompts = stage._prompts(self.base, self.tokenizer, self.verifiers)
        batch, self.steps, n = self.settings.batch, self.settings.steps, len(self.prompts.kept)
        seed = sub_seed(context.seed, "problems")
        one_epoch = BatchPlan(n, min(batch.prompts, n), 1, seed, batch.incomplete == "drop")
        self.order = replace(one_epoch, epochs=-(-self.steps // one_epoch.steps_per_epoch))
        folders = {role: artifact.path for role, artifact in context.inputs.items()}
        self.models = load_models(self.settings, stage.builder, folders, context.seed)
        self.telling = telling.Telling(context, self.settings, self.steps)
        self.rewarding = Rewarding(self.settings.reward, self.models.reward, batch.micro_tokens)
        compares = self.settings.method.samples > 1
        self.accounts = Accounts(context.book, batch.samples_per_prompt, compares=compares)
        selection = stage.builder.build(self.settings.selection)
        self.accounts.expect(self.prompts, self.order, self.steps if selection.planned else 0)
        self.asking = Asking(selection, self.prompts.kept, self.order, batch.prompts, context.seed)

    def run(self) -> Artifact:
        done = self._restore()
        if done == 0:
            faults = template_checks.template_faults(self.tokenizer)
            for message in (*faults, *self.models.policy.notes(), *untrained(read_config(self.base))):
                self.context.emit(Warned(message), 0)
            if self.prompts.dropped:
                self.context.emit(self.prompts.dropped_event(), 0)
        try:
            for step in range(done + 1, self.steps + 1):
                self._step(step)
                stopping = self.context.stopping() and step < self.steps
                if stopping or step % self.settings.checkpoint_every == 0:
                    self.context.checkpoints.save(step, partial(self._save, step))
                if stopping:
                    raise Interrupted(f"stage {self.context.name!r} stopped after step {step} of {self.steps}")
        finally:
            self.models.generator.close()
            for verifier in self.verifiers.values():
                verifier.close()
        return self._finish(done)

    def _step(self, step: int) -> None:
        """One online step, counted from 1."""
        settings, watch = self.settings, Stopwatch()

        def replies(prompts: Sequence[Prompt], first: int) -> list[Judged]:
            if not self.asking.planned:
                self.accounts.ask(step, first, len(prompts))
            with watch.part("generate"):
                rollouts = roll_out(
                    self.models.generator,
                    prompts,
                    settings.sampling,
                    settings.batch.samples_per_prompt,
                    seed=self.context.seed,
                    step=step,
                    timeout=settings.timeout,
                    first=first,
                )
            with watch.part("verify"):
                return self.rewarding.judge(rollouts, self.verifiers, step)

        asked = self.asking.ask(step, replies)
        judged = asked.every
        with watch.part("verify"):
            probed = self.telling.probe(judged, self.verifiers, step)
        with watch.part("update"):
            experience = make_experience(
                asked.judged, self.models, settings, self.estimator, atom=self.loss.needs.atom, step=step
            )
            results, batches = self._update(step, experience)
            check_parity(batches, settings.parity, settings.generator.name, step)
            states = self.accounts.step(step, asked.judged, experience.minibatches, experience.left_out)
            states |= self.accounts.drop(step, asked.dropped)
            self.models.publish(step)
        metrics = {
            **reply_metrics(judged),
            **self.rewarding.metrics(judged, step),
            **asked.metrics,
            **experience.metrics,
            **policy_metrics(batches),
            **update_metrics(results),
        }
        told = Metrics(metrics, watch.timing(len(judged), metrics["response_length"]))
        self.telling.step(step, judged, batches, states=states, metrics=told, probed=probed)

    def _update(self, step: int, experience: Experience) -> tuple[list[StepResult], list[PackedBatch]]:
        """Learn from a step's replies; returns their micro-batches with the log-probabilities of before, too."""
        settings = self.settings
        loss = self.loss if needs_old_logprobs(settings) else FirstPass(self.loss)
        optimizers = {"policy": settings.optimizer, "value": settings.critic_optimizer or settings.optimizer}
        results: list[StepResult] = []
        for _ in range(settings.batch.updates):
            for batches in experience.minibatches:
                pace = Pace(
                    (step - 1) * settings.optimizer_steps + len(results),
                    self.steps * settings.optimizer_steps,
                    sum(batch.count("segment") for batch in batches) / settings.batch.replies_per_update,
                    settings.optimizer_steps,
                )
                result = train_step(
                    self.models.trained,
                    loss,
                    batches,
                    pace.rates(optimizers),
                    step=step,
                    progress=pace.progress,
                    temperature=settings.sampling.temperature,
                )
                results.append(result)
        whole = loss.completed(experience.batches) if isinstance(loss, FirstPass) else experience.batches
        return results, whole

    def _save(self, step: int, folder: Path) -> None:
        self.models.save(folder)
        state = {"step": step, **self.rewarding.state(), **self.asking.state(), "alarms": self.telling.watch.state()}
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def _restore(self) -> int:
        saved = self.context.checkpoints.latest()
        if saved is None:
            return 0
        step, folder = saved
        state: dict[str, Any] = read_json(folder / STATE, dict[str, Any], error=CheckpointError, cure=CURE)
        written = state.get("step")
        if written != step:
            raise CheckpointError(f"{folder / STATE}: of step {written}, the folder's name says {step}")
        self.models.restore(folder, step)
        self.rewarding.restore(state)
        self.asking.restore(state)
        self.telling.watch.restore(state.get("alarms", {}))
        return step

    def _finish(self, done: int) -> Artifact:
        folder = self.context.folder / "model"
        rows = (prompt.token_ids for prompt in self.prompts.kept)
        try:
            saved = save_checked(self.models.policy, folder, head="lm", base=self.base, rows=rows)
        except ModelError:
            # What was learnt is not at fault, and a later attempt has only to save it.
            if done < self.steps:
                self.context.checkpoints.save(self.steps, partial(self._save, self.steps))
            raise
        self.accounts.close(self.prompts)
        self.context.emit(saved, self.steps)
        self.tokenizer.save_pretrained(folder)
        name_ends(folder, self.tokenizer, self.base)
        return Artifact("model", str(folder), self.context.name, digest="", details={"saved": saved.facts()})


def _pooled(verifier: Verifier[Any]) -> bool:
    """Whether it, or a part of it, is judged by a pool."""
    return any(map(_pooled, verifier.parts)) if verifier.parts else verifier.isolated
