"""The stage `preferences`: replies to prompts, rated, and made into pairs or conversations for the stages after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from aftertrain.core.completions.keeping import sharing
from aftertrain.core.errors import AftertrainError, DataError, Interrupted
from aftertrain.core.events import Progress
from aftertrain.core.ground.endpoint import is_endpoint
from aftertrain.core.preference import RatesAspects
from aftertrain.core.records import Artifact, ArtifactType, PlanItem
from aftertrain.core.run.base_model import find_model, model_digest
from aftertrain.core.run.folder import remove
from aftertrain.core.stage import PlanContext, Stage, StageContext, StageInput
from aftertrain.core.verification.checks import contents
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.preferences.artifact import Publisher
from aftertrain.plugins.preferences.choosing import Chooser
from aftertrain.plugins.preferences.prompts import Prompts, read_prompts
from aftertrain.plugins.preferences.rating import JUDGE, ByChecks, ByJudge, ByRewardModel, Rater, scale_of
from aftertrain.plugins.preferences.replying import Replier, Replying, replier
from aftertrain.plugins.preferences.settings import (
    PreferencesSettings,
    RaterSettings,
    ReplierSettings,
    WeighedRater,
)
from aftertrain.plugins.preferences.weighted import Part, Weighted
from aftertrain.plugins.preferences.work import Work

REWARD = "reward_model"
"""Ends the role of a reward model among the stage's inputs, behind the path of its rater."""
UNJUDGEABLE = "no reply could be rated"
EXAMPLES = 5


class Preferences(Stage[PreferencesSettings]):
    """Several models reply to each prompt, a rater says what the replies are worth, and rows are made of them.

    Replies, ratings and rows are joined by id. What is done survives a kill, and the bytes that come out are those of a
    run that was never killed.
    """

    Config = PreferencesSettings

    def inputs(self) -> Sequence[StageInput]:
        """The models of stages, each under `models:NAME`, and reward models, each under the path of its setting."""
        replies = frozenset({"model", "endpoint"})
        found = [
            StageInput(f"models:{model.called}", model.from_, replies)
            for model in self.settings.models
            if model.from_ is not None
        ]
        rewards = [
            StageInput(f"{path}.{REWARD}", rater.reward_model, frozenset({"reward_model"}))
            for path, rater in self.settings.rating.raters.items()
            if rater.reward_model is not None
        ]
        return [*found, *rewards]

    @property
    def output(self) -> ArtifactType:
        """Rows."""
        return "data"

    def fingerprints(self) -> Mapping[str, str]:
        """Of the prompts, of models of no stage, and of what raters have beside their settings."""
        digests = {"data": self.builder.build(self.settings.data).content()}
        for path, verifiers in self._verifiers.items():
            found = contents(verifiers)
            digests |= found if path == "rating" else {f"{path} {name}": digest for name, digest in found.items()}
        for model in self.settings.models:
            if model.model is not None and not is_endpoint(model.model):
                digests[f"model {model.called}"] = model_digest(find_model(model.model, Path.cwd()))
        return digests

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Whether each model can be asked, and whether the rater can rate; how many replies that makes."""
        items: list[PlanItem] = []
        for model in self.settings.models:
            place = model.model if model.model is not None else context.model
            try:
                if place:
                    self._replier(model, self._found(place, weights=False), context.chat_template)
            except AftertrainError as error:
                items.append(PlanItem(f"model {model.called}", str(error), "error"))
        items += self._rating_items(context)
        if context.figures and not any(item.status == "error" for item in items):
            items += self._figures()
        return items

    def run(self, context: StageContext) -> Artifact:
        """Ask, rate, choose; what an earlier attempt did is not done again.

        Raises:
            DataError: a prompt has no check, or none that can be judged; or no row came out.
            Interrupted: the user asked to stop; what is done is kept.
        """
        settings = self.settings

        def stop() -> None:
            if context.stopping():
                raise Interrupted(f"stage {context.name!r}: stopped; replies and ratings that are there are kept")

        rater = self._rater(context)
        try:
            prompts = self._prompts(rater)
            names = [model.called for model in settings.models]
            work = Work(context.folder / "work", names, prompts.kept, settings.block)
            with sharing(context.replies_in(self.settings.store)):
                for model in settings.models:
                    self._reply(context, model, work, stop)
                self._rate(context, rater, work, stop)
        finally:
            rater.close()
        on_policy = {model.called: model.on_policy for model in settings.models}
        chooser = Chooser(settings, on_policy, self._at_least, context.seed, prompts)
        artifact = Publisher(settings, context, work, prompts, chooser).publish()
        remove(context.folder / "work")
        return artifact

    def _reply(self, context: StageContext, model: ReplierSettings, work: Work, stop: Callable[[], None]) -> None:
        missing, total = work.missing(model.called), len(work.blocks)
        if not missing:
            return
        folder = model.model or context.inputs[f"models:{model.called}"].path
        asked = self._replier(model, self._found(folder), context.chat_template)
        replying = Replying(asked, self.builder, context.seed, self.settings.cut, self.settings.timeout)
        try:
            for done, block in enumerate(missing, total - len(missing) + 1):
                stop()
                replying.write(work.blocks[block], work.replies_of(model.called), block)
                context.emit(Progress(done, total, f"blocks of replies ({model.called})"))
        finally:
            replying.close()

    def _rate(self, context: StageContext, rater: Rater, work: Work, stop: Callable[[], None]) -> None:
        missing, total = work.unrated(), len(work.blocks)
        for done, block in enumerate(missing, total - len(missing) + 1):
            stop()
            work.rate(block, rater, self.settings.thoughts)
            context.emit(Progress(done, total, "blocks rated"))

    def _prompts(self, rater: Rater) -> Prompts:
        """All prompts, as the rater needs them.

        Raises:
            DataError: some could not be rated whatever was replied, and the setting is to stop; or none is left.
        """
        name = self.settings.data.name
        prompts = read_prompts(self.builder.build(self.settings.data), name)
        prompts = replace(prompts, kept=rater.prompts(prompts.kept))
        objections = rater.objections(prompts.kept)
        if not objections:
            return prompts
        some = "; ".join(f"prompt {id!r}: {reason}" for id, reason in list(objections.items())[:EXAMPLES])
        fault = f"data set {name!r}: of {len(objections):,} of {len(prompts.kept):,} prompts {UNJUDGEABLE}; {some}"
        if self.settings.unjudgeable == "stop":
            raise DataError(f"{fault}. Mend what is named, or set 'unjudgeable: drop', which leaves them out")
        if len(objections) == len(prompts.kept):
            raise DataError(f"{fault}. None is left")
        return prompts.without(objections, UNJUDGEABLE)

    def _rater(self, context: StageContext) -> Rater:
        """Of all that rate."""

        def rater(path: str, rating: RaterSettings) -> Rater:
            if rating.reward_model is None:
                return self._by_verdicts(path, rating)
            folder = context.inputs[f"{path}.{REWARD}"].path
            return ByRewardModel(rating, self.builder, folder, context.chat_template, self.settings.thoughts)

        return self._together({path: rater(path, rating) for path, rating in self.settings.rating.raters.items()})

    def _together(self, raters: Mapping[str, Rater]) -> Rater:
        """The one rater, or the weighted sum of several.

        Args:
            raters: by the path of their settings; some may be missing in a plan.
        """
        settings = self.settings.rating.raters
        weighed = [(settings[path], rater) for path, rater in raters.items()]
        parts = [Part(own.called, own.weight, rater) for own, rater in weighed if isinstance(own, WeighedRater)]
        return Weighted(parts) if self.settings.rating.weighted else raters["rating"]

    def _by_verdicts(self, path: str, rating: RaterSettings) -> Rater:
        verifiers = self._verifiers[path]
        return ByJudge(rating, verifiers[JUDGE]) if rating.judge is not None else ByChecks(rating, verifiers)

    def _rating_items(self, context: PlanContext) -> Iterator[PlanItem]:
        """What keeps the raters from rating."""
        raters: dict[str, Rater] = {}
        for path, rating in self.settings.rating.raters.items():
            try:
                if rating.reward_model is None:
                    raters[path] = self._by_verdicts(path, rating)
                elif context.model and not is_endpoint(context.model):
                    self.builder.build(rating.engine).preflight(context.model, head="scalar")
            except AftertrainError as error:
                yield PlanItem(path, str(error), "error")
        try:
            if raters:
                self._prompts(self._together(raters))
        except AftertrainError as error:
            yield PlanItem("rating", str(error), "error")

    def _figures(self) -> Iterator[PlanItem]:
        settings = self.settings
        data = self.builder.build(settings.data)
        prompts = len(data)
        asked = [(model.called, settings.samples_of(model)) for model in settings.models]
        replies = " + ".join(f"{samples} by {name}" for name, samples in asked)
        total = prompts * sum(samples for _, samples in asked)
        yield PlanItem("replies", f"{total:,}: to each of {prompts:,} prompts {replies}")
        for path, rating in settings.rating.raters.items():
            judge = self._verifiers[path].get(JUDGE)
            if judge is not None and judge.compares:
                n = sum(samples for _, samples in asked)
                yield PlanItem("comparisons", f"at most {prompts * n * (n - 1):,}, each two replies in both orders")
            low, high = scale_of(rating, judge)
            told = f"from {low:g} to {high:g}" + (" by aspects" if isinstance(judge, RatesAspects) else "")
            if isinstance(rating, WeighedRater):
                own = "in its own units" if rating.reward_model is not None else told
                yield PlanItem("rating", f"{rating.weight:g} times {rating.called}, {own}")
            elif rating.reward_model is None:
                yield PlanItem("rating", told)
        for note in data.notes():
            yield PlanItem("data", note, "warning")

    def _replier(self, model: ReplierSettings, place: str, template: str | None) -> Replier:
        settings = self.settings
        own = model.chat_template or (template if model.from_ is not None else None)
        return replier(
            model.called,
            place,
            settings.generator_of(model),
            self.builder,
            settings.sampling_of(model),
            settings.samples_of(model),
            own,
        )

    def _found(self, place: str, *, weights: bool = True) -> str:
        return place if is_endpoint(place) else str(find_model(place, Path.cwd(), weights=weights))

    @cached_property
    def _verifiers(self) -> dict[str, dict[str, Verifier[Any]]]:
        """As they are built, by the path of their rater and their name."""
        return {path: self._built(rating) for path, rating in self.settings.rating.raters.items()}

    def _built(self, rating: RaterSettings) -> dict[str, Verifier[Any]]:
        if rating.judge is not None:
            return {JUDGE: self.builder.build(rating.judge)}
        return {name: self.builder.build(use) for name, use in zip(rating.names, rating.verifiers, strict=True)}

    @property
    def _at_least(self) -> float | None:
        """The bound of best replies: where verifiers judge, all that can be had."""
        settings = self.settings
        if settings.output != "best" or settings.at_least is not None or not settings.rating.verifiers:
            return settings.at_least
        return scale_of(settings.rating, None)[1]
