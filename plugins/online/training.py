"""One attempt at an online stage: from the last checkpoint to the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.component import aside
from aftertrain.core.errors import CheckpointError, Interrupted, ModelError
from aftertrain.core.events import Metrics, Warned
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.ground.reading import CURE, read_json
from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.core.learning.saved import save_checked
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.packed.router import untrained
from aftertrain.core.records import Artifact
from aftertrain.core.settings import Builder
from aftertrain.core.stage import StageContext
from aftertrain.core.text.endings import name_ends
from aftertrain.core.verification import shared_pool
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.accounts import Accounts
from aftertrain.plugins.online.asking import Asking
from aftertrain.plugins.online.early import Early
from aftertrain.plugins.online.learner import Learner
from aftertrain.plugins.online.measure import Stopwatch, reply_metrics
from aftertrain.plugins.online.memory import MemoryBatch
from aftertrain.plugins.online.memory_settings import MemorySettings
from aftertrain.plugins.online.models import STATE, load_models
from aftertrain.plugins.online.problems import Prompt, Prompts
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.rewarding import Rewarding
from aftertrain.plugins.online.rollout import Stand, roll_out
from aftertrain.plugins.online.settings import OnlineSettings
from aftertrain.plugins.online.validation import Validation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.core.text import template_checks
    from aftertrain.plugins.online import telling
else:
    template_checks = aside("aftertrain.core.text.template_checks")
    telling = aside("aftertrain.plugins.online.telling")


class Training:
    """One attempt at a stage."""

    def __init__(
        self,
        settings: OnlineSettings,
        builder: Builder,
        context: StageContext,
        *,
        tokenizer: PreTrainedTokenizerBase,
        verifiers: Mapping[str, Verifier[Any]],
        stand: Stand,
        prompts: Prompts,
        held_out: Prompts | None = None,
    ) -> None:
        self.settings, self.context = settings, context
        self.base = context.inputs["model"].path
        self.tokenizer, self.verifiers, self.prompts = tokenizer, verifiers, prompts
        self.stand = stand
        batch, self.steps, n = self.settings.batch, self.settings.steps, len(self.prompts.kept)
        seed = sub_seed(context.seed, "problems")
        one_epoch = BatchPlan(n, min(batch.prompts, n), 1, seed, batch.incomplete == "drop")
        self.order = replace(one_epoch, epochs=-(-self.steps // one_epoch.steps_per_epoch))
        folders = {role: artifact.path for role, artifact in context.inputs.items()}
        self.models = load_models(self.settings, builder, folders, context.seed)
        self.learner = Learner(self.settings, builder, self.models)
        self.telling = telling.Telling(context, self.settings, self.steps)
        reward, longest = self.settings.reward, self.settings.sampling.max_new_tokens
        self.rewarding = Rewarding(reward, self.models.reward, batch.micro_tokens, max_new_tokens=longest)
        compares = self.settings.method.samples > 1
        self.accounts = Accounts(context.book, batch.samples_per_prompt, compares=compares)
        selection = builder.build(self.settings.selection)
        varying = batch.by_memory is not None
        self.asking = Asking(selection, prompts.kept, self.order, batch.prompts, context.seed, varying=varying)
        self.accounts.expect(self.prompts, self.order, self.steps if self.asking.planned else 0)
        self.sizes = None if batch.by_memory is None else self._sizes(batch.by_memory)
        self.validation = None if held_out is None else self._validation(held_out.kept)

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
            self.stand.close()
            for verifier in self.verifiers.values():
                verifier.close()
        return self._finish(done)

    def _step(self, step: int) -> None:
        """One online step, counted from 1."""
        settings, watch = self.settings, Stopwatch()

        def replies(prompts: Sequence[Prompt], first: int) -> list[Judged]:
            if not self.asking.planned:
                self.accounts.ask(step, first, len(prompts))
            with Early(self.verifiers) as early:
                with watch.part("generate"):
                    rollouts = roll_out(
                        self.models.generator,
                        self.stand,
                        prompts,
                        settings.sampling,
                        settings.batch.samples_per_prompt,
                        seed=self.context.seed,
                        step=step,
                        timeout=settings.timeout,
                        first=first,
                        arrived=early.take,
                    )
                with watch.part("verify"):
                    return self.rewarding.judge(rollouts, self.verifiers, step, early.verdicts())

        size = {} if self.sizes is None else self.sizes.measured(step)
        asked = self.asking.ask(step, replies, int(size["prompts"]) if size else None)
        judged = asked.every
        with watch.part("verify"):
            probed = self.telling.probe(judged, self.verifiers, step)
        learnt = self.learner.learn(step, asked.judged, judged, watch.part)
        states = self.accounts.step(step, asked.judged, learnt.experience.minibatches, learnt.experience.left_out)
        states |= self.accounts.drop(step, asked.dropped)
        with watch.part("publish"):
            self.models.publish(step)
        metrics = {
            **reply_metrics(judged),
            **self.rewarding.metrics(judged, step),
            **asked.metrics,
            **{f"batch_{name}": figure for name, figure in size.items()},
            **learnt.metrics,
        }
        timing = watch.timing(len(judged), metrics["response_length"])
        if self.validation is not None and self.validation.settings.due(step, self.steps):
            # Apart from the step's own time, which F38's throughput is of.
            with watch.part("validate"):
                metrics |= self._validate(self.validation, step)
            timing |= {name: watch.timing(0, 0.0)[name] for name in ("validate", "seconds")}
        self.telling.step(
            step,
            judged,
            learnt.batches,
            states=states,
            dropped=asked.left_out,
            metrics=Metrics(metrics, timing),
            probed=probed,
        )

    def _sizes(self, settings: MemorySettings) -> MemoryBatch:
        batch, judging = self.settings.batch, shared_pool(self.settings.verification).pids
        most = len(self.prompts.kept)
        return MemoryBatch(
            settings, batch.prompts, self.context.folder, judging, least=min(batch.minibatches, most), most=most
        )

    def _validation(self, held_out: Sequence[Prompt]) -> Validation:
        settings = self.settings
        assert settings.validation is not None
        return Validation(
            settings.validation,
            held_out,
            stand=self.stand,
            sampling=settings.sampling,
            threshold=settings.reward.threshold,
            folder=self.context.folder,
            seed=self.context.seed,
            timeout=settings.timeout,
        )

    def _validate(self, validation: Validation, step: int) -> dict[str, float]:
        """Held-out figures of the policy after that step, whose weights the generator has."""
        figures = validation.measure(self.models.generator, self.verifiers, step)
        accuracy = figures.get("validation_accuracy")
        return figures | validation.rank(step, accuracy, self.models.policy.save_state)

    def _save(self, step: int, folder: Path) -> None:
        self.models.save(folder)
        parts = {**self.rewarding.state(), **self.asking.state(), **self.learner.state()}
        state = {"step": step, **parts, "alarms": self.telling.watch.state()}
        if self.validation is not None:
            state["validation"] = self.validation.state()
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
        self.learner.restore(state)
        self.telling.watch.restore(state.get("alarms", {}))
        if self.validation is not None:
            self.validation.restore(state.get("validation", {}))
        return step

    def _finish(self, done: int) -> Artifact:
        folder = self.context.folder / "model"
        best = None if self.validation is None else self.validation.best_weights(self.steps)
        if best is not None:
            self.models.policy.load_state(best)
        rows = (prompt.token_ids for prompt in self.prompts.kept)
        try:
            saved = save_checked(self.models.policy, folder, head="lm", base=self.base, rows=rows)
        except ModelError:
            # What was learnt is not at fault, and a later attempt has only to save it.
            if done < self.steps and best is None:
                self.context.checkpoints.save(self.steps, partial(self._save, self.steps))
            raise
        self.accounts.close(self.prompts)
        self.context.emit(saved, self.steps)
        self.tokenizer.save_pretrained(folder)
        name_ends(folder, self.tokenizer, self.base)
        details: dict[str, Any] = {"saved": saved.facts()}
        if self.validation is not None and self.validation.best is not None:
            step, accuracy = self.validation.best
            details["validation"] = {"best_step": step, "accuracy": accuracy, "kept": self.validation.settings.keep}
            self.validation.clear()
        return Artifact("model", str(folder), self.context.name, digest="", details=details)
