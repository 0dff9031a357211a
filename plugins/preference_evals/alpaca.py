"""AlpacaEval 2 as Tülu 3 runs it: a judge prefers the model's reply, or GPT-4 Turbo's (Dubois et al. 2024; F44)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from aftertrain.core.benchmark import Question, Row, Source
from aftertrain.core.benchmark.rows import digest
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Corpus, Figure, Scored, mean
from aftertrain.core.records import JSON, Verdict
from aftertrain.plugins.preference_evals import length_control
from aftertrain.plugins.preference_evals.settings import AlpacaSettings
from aftertrain.plugins.preference_evals.task import PreferenceTask

RESAMPLES = 200
"""Fits behind a length-controlled rate's interval."""


class AlpacaEval(PreferenceTask[AlpacaSettings]):
    """Win rate: the mean preference for the model's reply, a probability where the judge's log-likelihoods are read."""

    Config = AlpacaSettings
    task = "alpaca_eval"
    sources = (Source("tatsu-lab/alpaca_eval", "alpaca_eval_gpt4_baseline", "eval"),)
    cure = (
        "give one, as in 'judge: {use: pairwise, template: alpaca_eval, model: DIR, read: likelihood}'; the published "
        "one is gpt-4-1106-preview"
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The preference, the same as won or lost, and the reply's characters."""
        return (self.named("win_rate"), self.named("discrete_win_rate"), "length")

    @property
    def by_published_judge(self) -> bool:
        """Whether AlpacaEval's own prompt is used; which model reads it is said in the notes."""
        judge = self.settings.judge
        return judge is not None and getattr(judge.settings, "template", None) == "alpaca_eval"

    def notes(self) -> Sequence[str]:
        """Who judges, how it is read, and what of the published rate is missing."""
        judge = self.settings.judge
        if judge is None:
            return super().notes()
        model, read = (getattr(judge.settings, name, None) for name in ("model", "read"))
        told = [
            *super().notes(),
            f"the judge is {model or judge.name}; published rates are by gpt-4-1106-preview, and no others compare",
        ]
        if read == "text":
            told.append(
                "the judge's text is read, so that a preference is 0 or 1; the published ones are probabilities"
            )
        if self.settings.gamed is None:
            told.append("without 'gamed' the length-controlled rate leaves out how hard an instruction is")
        return told

    def figures(self) -> Sequence[Figure]:
        """The length-controlled rate first where it is the published one; else the win rate."""
        win_rate, discrete, length = self.metrics
        name = "length_controlled_win_rate" if self._gamed else "length_controlled_minimal"
        controlled = Figure(
            self.named(name), mean(win_rate).value, corpus=self._controlled(win_rate), resamples=RESAMPLES
        )
        plain = [mean(win_rate), mean(discrete), mean(length, share=False)]
        return [controlled, *plain] if self._gamed else [plain[0], controlled, *plain[1:]]

    @cached_property
    def _gamed(self) -> length_control.Gamed | None:
        return None if self.settings.gamed is None else length_control.read_gamed(self.settings.gamed)

    def _controlled(self, metric: str) -> Corpus:
        control = length_control.LengthControl(self._gamed)

        def rate(scores: Sequence[Sequence[Scored]]) -> float:
            judged = [of_one[0] for of_one in scores if of_one[0].parts["judged"]]
            return control.rate(
                [score.metrics[metric] for score in judged],
                [score.parts["shorter"] for score in judged],
                [score.parts["place"] for score in judged],
            )

        return rate

    def question(self, row: Row, source: Source) -> Question:
        """An instruction; its place is AlpacaEval's index."""
        group = row.fields.get("dataset")
        target = {"other": row.text("output"), "place": row.number}
        return Question(str(row.number), row.text("instruction"), target, group=group if isinstance(group, str) else "")

    def instances(self) -> Sequence[Instance]:
        """The instructions; the regression's package is there."""
        length_control.preflight()
        return super().instances()

    def judge_all(self, cases: Sequence[tuple[Instance, str]]) -> list[InstanceScore]:
        """One pair each, in one call of the judge."""
        return [
            self._score(instance, text, verdict)
            for (instance, text), verdict in zip(cases, self.preferences(cases), strict=True)
        ]

    def _score(self, instance: Instance, text: str, verdict: Verdict) -> InstanceScore:
        win_rate, discrete, length = self.metrics
        parts: dict[str, JSON] = {
            "judged": verdict.value is not None,
            "shorter": len(instance.target["other"]) - len(text),
            "place": instance.target["place"],
        }
        if verdict.value is None:
            failed = self.failed(verdict, self.metrics, parts)
            return replace(failed, metrics={**failed.metrics, length: float(len(text))})
        won = (1.0 if verdict.value > 0.5 else 0.0) if verdict.value != 0.5 else 0.5
        metrics = {win_rate: verdict.value, discrete: won, length: float(len(text))}
        return InstanceScore(metrics, f"{verdict.value:.3f}", detail=verdict.detail, parts=parts)

    def fingerprint(self) -> str:
        """Further the order, and the file of gamed baselines."""
        gamed = None if self._gamed is None else [sorted(self._gamed.difficulty.items()), list(self._gamed.rows)]
        return digest([super().fingerprint(), *self.fingerprint_parts(), gamed])
