"""A model that says which of two replies is better.

The case's response is shown first and the other one second: whoever asks turns them round (`core.preference`), and so
can tell how much the judge's preference follows the order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from aftertrain.core.asking.exchange import Answer, Question
from aftertrain.core.asking.prompting import clean
from aftertrain.core.engine import Continuation, Engine
from aftertrain.core.packed.likelihoods import likelihoods
from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.settings import Builder
from aftertrain.core.text.answer import ENDLESS, WHOLE, answer_of
from aftertrain.plugins.judging import comparisons, likelihood, templates
from aftertrain.plugins.judging.parsing import LOOKED_AT, find, value_of
from aftertrain.plugins.judging.settings import PairwiseSettings
from aftertrain.plugins.judging.verifier import SHOWN, AskingVerifier


class Pairwise(AskingVerifier[PairwiseSettings]):
    """Ground truth: `{"other": reply, "reference": a human's reply or null}`.

    Scored 1 where the response is better than the other, 0 where it is worse, ½ for a tie; by log-likelihoods the
    probability of the first name against the second (`likelihood`). `extracted` is what the judge called it.
    """

    Config = PairwiseSettings
    compares = True

    def __init__(self, settings: PairwiseSettings, builder: Builder) -> None:
        super().__init__(settings, builder, needs_template=True)
        self._ready = comparisons.READY.get(settings.template)
        self._engine: Engine[Any] | None = None

    @property
    def note(self) -> str:
        """That thoughts are compared, as published."""
        return f"judge {self.settings.template} {WHOLE}" if self._published and self.settings.thoughts is None else ""

    @property
    def _published(self) -> bool:
        return self.settings.template in ("alpaca_eval", "href")

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """A ground truth without the other reply; the judge is not asked."""
        return [_objection(case.ground_truth) for case in cases]

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Asked in one batch.

        Raises:
            ModelError: the model cannot be loaded. RunError: the transcript cannot be written.
        """
        if self.settings.read == "text":
            return super().verify(cases)
        asked = [self._question(case) for case in cases]
        if self._asker.prompting.remote:
            answers = self._asker.ask(asked, str, likeliest=likelihood.LIKELIEST)
            verdicts = [
                entry if isinstance(entry, Verdict) else likelihood.by_likeliest(self._names, entry)
                for entry in answers
            ]
        else:
            answers, verdicts = [Answer() for _ in asked], self._by_likelihood(asked)
        self._asker.record(asked, answers, verdicts)
        return verdicts

    def close(self) -> None:
        """Free the model."""
        self._engine = None
        super().close()

    def _question(self, case: VerificationCase) -> Question | Verdict:
        if objection := _objection(case.ground_truth):
            return Verdict.error(objection)
        other, reference = case.ground_truth["other"], case.ground_truth.get("reference") or ""
        part = answer_of(case, self.settings, reference=self._published, block=False)
        if part.text is None:
            return Verdict.unparsable(ENDLESS)
        prompting = self._asker.prompting
        if (refused := prompting.too_long(case.prompt, part.text, other, reference)) is not None:
            return refused
        texts = (case.prompt, part.text, other, reference)
        shown = dict(zip(("prompt", "first", "second", "reference"), map(prompting.defused, texts), strict=True))
        try:
            text = templates.render(self._template(reference), {**shown, "fence": _fence(texts)})
        except ValueError as error:
            return Verdict.error(str(error))
        return prompting.question(case.id, clean(text), self._ready.system if self._ready else "")

    def _template(self, reference: str) -> str:
        if self._ready is None:
            return self.settings.template
        return self._ready.with_reference if reference and self._ready.with_reference else self._ready.text

    def _read(self, reply: str) -> str | None:
        if self._ready is not None:
            match = self._ready.rule.search(reply[:LOOKED_AT])
            return None if match is None else match[1]
        rule = self.settings.parse
        assert rule is not None
        name = find(rule.pattern, reply, rule.which)
        return None if name is None or value_of(name, rule.labels, rule.scale) is None else name

    def _verdicts(self, cases: Sequence[VerificationCase], answers: Sequence[Answer | Verdict]) -> list[Verdict]:
        return [answer if isinstance(answer, Verdict) else self._verdict(answer) for answer in answers]

    def _verdict(self, answer: Answer) -> Verdict:
        if answer.usable is None:
            return Verdict.error(f"the judge's reply {answer.reply[:SHOWN]!r} prefers none; {answer.spent}")
        if self._ready is not None:
            value: float | None = self._ready.values[answer.usable]
        else:
            assert self.settings.parse is not None
            value = value_of(answer.usable, self.settings.parse.labels, self.settings.parse.scale)
        assert value is not None
        return Verdict.scored(value, answer.usable, str(answer.spent))

    def _by_likelihood(self, asked: Sequence[Question | Verdict]) -> list[Verdict]:
        """By the log-likelihoods of both names after the prompt."""
        items: list[Continuation] = []
        verdicts: list[Verdict | None] = []
        for entry in asked:
            ids = (
                entry
                if isinstance(entry, Verdict)
                else self._asker.prompting.encoded(entry.text, add_special=entry.add_special)
            )
            verdicts.append(ids if isinstance(ids, Verdict) else None)
            if not isinstance(ids, Verdict):
                names = (self._asker.prompting.encoded(name, add_special=False) for name in self._names)
                items += [Continuation((*ids, *name), len(ids)) for name in names if not isinstance(name, Verdict)]
        scored = iter(likelihoods(self._loaded(), items, self.settings.micro_tokens) if items else [])
        found = []
        for verdict in verdicts:
            if verdict is not None:
                found.append(verdict)
                continue
            found.append(likelihood.preference(self._names, next(scored).logprob, next(scored).logprob))
        return found

    @property
    def _names(self) -> tuple[str, str]:
        """What the judge calls the first reply and the second."""
        assert self._ready is not None
        return self._ready.names[:2]

    def _loaded(self) -> Engine[Any]:
        if self._engine is None:
            engine = self.builder.build(self.settings.engine)
            engine.load(str(self._asker.prompting.folder), seed=self.settings.seed)
            self._engine = engine
        return self._engine


def _objection(truth: JSON) -> str | None:
    if not isinstance(truth, dict) or not isinstance(truth.get("other"), str):
        return "the ground truth must hold the reply compared with, as in {'other': '…', 'reference': null}"
    if not isinstance(truth.get("reference"), str | None):
        return f"the ground truth's 'reference' must be a text or null, not {type(truth['reference']).__name__}"
    return None


def _fence(texts: Sequence[str]) -> str:
    """A line that stands in none of the texts, since it is a hash of them all."""
    return f"=== {hashlib.sha256(clean(chr(0).join(texts)).encode()).hexdigest()[:16]} ==="
