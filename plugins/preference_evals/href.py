"""HREF: replies against Llama 3.1 405B's, with a person's reply at hand (Lyu et al. 2024; F45), and F47 beside it.

H(r, R) = α·S(r, R) + (1 − α)·C(r, R): likeness to the person's reply, and how much likelier that reply makes this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from aftertrain.core.benchmark import Question, Row, Source
from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import DataError, unknown
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped, mean
from aftertrain.core.records import JSON, Verdict
from aftertrain.core.run.base_model import find_model, model_digest
from aftertrain.plugins.preference_evals.coherence import Coherence
from aftertrain.plugins.preference_evals.settings import HrefSettings
from aftertrain.plugins.preference_evals.similarity import BertScore, rouge_l
from aftertrain.plugins.preference_evals.task import PreferenceTask

WITH_REFERENCE = (
    "Closed QA",
    "Extract",
    "Generation",
    "Rewrite",
    "Classify",
    "Multi-Document Synthesis",
    "Reasoning Over Numerical Data",
)
"""Categories in which the judge sees the person's reply."""
WITHOUT = ("Brainstorm", "Summarize")
BY_LIKENESS = ("Open QA", "Fact Checking or Attributed QA")
"""Categories in which no judge is asked: the reply that is more like the person's wins."""
CATEGORIES = (*WITH_REFERENCE, *WITHOUT, *BY_LIKENESS)


class Href(PreferenceTask[HrefSettings]):
    """Wins and half the ties against the baseline's replies, pooled over the questions."""

    Config = HrefSettings
    task = "href"
    sources = (Source("allenai/href", "default", "dev"),)
    cure = (
        "give one, as in 'judge: {use: pairwise, template: href, model: DIR}'; the published one is "
        "Llama-3.1-70B-Instruct"
    )

    @property
    def by_published_judge(self) -> bool:
        """Whether HREF's own prompt is used; which model reads it is said in the notes."""
        judge = self.settings.judge
        return judge is not None and getattr(judge.settings, "template", None) == "href"

    @property
    def likeness(self) -> str:
        """What S is."""
        return "rouge_l" if self.settings.encoder is None else "bertscore_f1"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The preference, S and, with a scorer, C and H."""
        win_rate = self.named("win_rate")
        first = win_rate if self.settings.encoder is not None else f"{win_rate}_rouge_l"
        return (first, self.likeness, *(("coherence", "similarity_and_coherence") if self._coherence else ()))

    def figures(self) -> Sequence[Figure]:
        """The pooled win rate, as published; the mean of the categories' rates; S, C and H."""
        win_rate, likeness, *f47 = self.metrics
        rate = mean(win_rate)
        return [rate, grouped(rate), mean(likeness), *(mean(metric, share=False) for metric in f47)]

    def notes(self) -> Sequence[str]:
        """Who judges, and by what likeness where no judge is asked."""
        judge = self.settings.judge
        if judge is None:
            return super().notes()
        model = getattr(judge.settings, "model", None)
        told = [
            *super().notes(),
            f"the judge is {model or judge.name}; published rates are by Llama-3.1-70B-Instruct, on hidden prompts",
        ]
        if self.settings.encoder is None:
            told.append(f"without 'encoder' {' and '.join(BY_LIKENESS)} go by ROUGE-L, where BERTScore is published")
        return told

    @cached_property
    def _bertscore(self) -> BertScore | None:
        return None if self.settings.encoder is None else BertScore(self.settings.encoder, self.settings.layer)

    @cached_property
    def _coherence(self) -> Coherence | None:
        if self.settings.scorer is None:
            return None
        return Coherence(self.settings.scorer, self.settings.engine, self.builder)

    def question(self, row: Row, source: Source) -> Question:
        """An instruction with the baseline's reply and the person's."""
        category = row.text("category")
        if category not in CATEGORIES:
            raise DataError(f"{row.where}: column 'category': {unknown('category', category, CATEGORIES)}")
        target = {"other": row.text("output"), "person": row.text("reference"), "category": category}
        return Question(str(row.number), row.text("instruction"), target, group=category)

    def truth(self, instance: Instance) -> JSON:
        """The baseline's reply, and the person's in the categories in which the judge sees it."""
        seen = instance.target["category"] in WITH_REFERENCE
        return {"other": instance.target["other"], "reference": instance.target["person"] if seen else None}

    def instances(self) -> Sequence[Instance]:
        """The instructions; encoder and scorer are there."""
        for part in (self._bertscore, self._coherence):
            if part is not None:
                part.preflight()
        return super().instances()

    def judge_all(self, cases: Sequence[tuple[Instance, str]]) -> list[InstanceScore]:
        """The judge is asked once about all, where it is asked at all."""
        mine = self._like([(text, instance.target["person"]) for instance, text in cases])
        theirs = self._like([(instance.target["other"], instance.target["person"]) for instance, _ in cases])
        asked = [place for place, (instance, _) in enumerate(cases) if instance.target["category"] not in BY_LIKENESS]
        judged: Mapping[int, Verdict] = dict(zip(asked, self.preferences([cases[p] for p in asked]), strict=True))
        gains: Sequence[float | None] = [None] * len(cases)
        if self._coherence is not None:
            gains = self._coherence.gains([(_asked(i), i.target["person"], text) for i, text in cases])
        return [
            self._score(judged.get(place) or _likelier(mine[place], theirs[place]), mine[place], gains[place])
            for place in range(len(cases))
        ]

    def _like(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        if self._bertscore is not None:
            return self._bertscore.f1(pairs)
        return [rouge_l(*pair) for pair in pairs]

    def _score(self, verdict: Verdict, likeness: float, gain: float | None) -> InstanceScore:
        alpha = self.settings.alpha
        rest = [likeness] if gain is None else [likeness, gain, alpha * likeness + (1 - alpha) * gain]
        if verdict.value is None:
            failed = self.failed(verdict, self.metrics)
            known = dict(zip(self.metrics[1:], rest, strict=True))
            return replace(failed, metrics={**failed.metrics, **known})
        won = (1.0 if verdict.value > 0.5 else 0.0) if verdict.value != 0.5 else 0.5
        metrics = dict(zip(self.metrics, (won, *rest), strict=True))
        return InstanceScore(metrics, {1.0: "win", 0.5: "tie", 0.0: "loss"}[won], detail=verdict.detail)

    def fingerprint(self) -> str:
        """Further the order, and what S and C are computed by."""
        settings = self.settings
        by = [settings.encoder, settings.layer, settings.scorer, settings.alpha if settings.scorer else None]
        models = [model_digest(find_model(name, Path.cwd())) for name in (settings.encoder, settings.scorer) if name]
        return digest([super().fingerprint(), *self.fingerprint_parts(), *by, *models])


def _likelier(mine: float, theirs: float) -> Verdict:
    """The verdict of two likenesses to the person's reply."""
    return Verdict.scored(
        (mine > theirs) + (mine == theirs) / 2, detail=f"likeness {mine:.4f}, baseline's {theirs:.4f}"
    )


def _asked(instance: Instance) -> str:
    return "\n".join(message.content for message in instance.messages if message.role == "user")
