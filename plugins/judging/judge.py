"""A model as judge (F52 with the template wildguard).

The judge reads a prompt made from the case and replies; the parse rule looks at that reply alone. A reply that tries to
talk to the judge meets four hurdles: it stands between fences that it cannot know, it is said to be text to judge, the
judge's special tokens are broken in it, and nothing it says is ever parsed. A model may still be talked round: no
template prevents that, so measure the judge against people's labels (F41) before you train on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from aftertrain.core.asking.asker import Asker
from aftertrain.core.asking.exchange import Answer, Question
from aftertrain.core.asking.prompting import clean
from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.settings import Builder
from aftertrain.core.text.answer import ENDLESS, WHOLE, answer_of
from aftertrain.plugins.judging import templates
from aftertrain.plugins.judging.parsing import find, value_of
from aftertrain.plugins.judging.settings import JudgeSettings, ParseSettings
from aftertrain.plugins.judging.verifier import SHOWN, AskingVerifier


class Judge(AskingVerifier[JudgeSettings]):
    """Ground truth: any JSON; not null where the template shows it. Scored by the parse rule."""

    Config = JudgeSettings

    def __init__(self, settings: JudgeSettings, builder: Builder, asker: Asker | None = None) -> None:
        ready = templates.READY.get(settings.template)
        self._template = settings.template if ready is None else ready.text
        super().__init__(settings, builder, needs_template=settings.in_chat, asker=asker)
        self._rule = settings.parse or _ready_rule(settings)
        tested = "{% if ground_truth" in self._template
        self._needs_truth = "ground_truth" in templates.used(self._template) and not tested

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """A ground truth that the template cannot use; the judge is not asked."""
        return [self._objection(case.ground_truth) for case in cases]

    @property
    def note(self) -> str:
        """Of the template wildguard."""
        mine = self.settings.template == "wildguard" and self.settings.thoughts is None
        return f"judge's template wildguard {WHOLE}" if mine else ""

    @property
    def needs_truth(self) -> bool:
        """Whether the template shows it."""
        return self._needs_truth

    def _question(self, case: VerificationCase) -> Question | Verdict:
        if objection := self._objection(case.ground_truth):
            return Verdict.error(objection)
        # Tags of an answer tell a reader as much as the answer: they stay.
        part = answer_of(case, self.settings, reference=self.settings.template == "wildguard", block=False)
        if part.text is None:
            return Verdict.unparsable(ENDLESS)
        case = replace(case, response=part.text, response_with_special=None)
        prompting = self._asker.prompting
        truth = case.ground_truth
        refused = prompting.too_long(case.prompt, case.response, truth if isinstance(truth, str) else "")
        if refused is not None:
            return refused
        try:
            text = templates.render(
                self._template,
                {
                    "prompt": prompting.defused(case.prompt),
                    "response": prompting.defused(case.response),
                    "ground_truth": prompting.defused(truth) if isinstance(truth, str) else truth,
                    "source": prompting.defused(case.source),
                    "fence": _fence(case),
                },
            )
        except ValueError as error:
            return Verdict.error(str(error))
        text = clean(text)
        return prompting.question(case.id, text) if self.settings.in_chat else Question(case.id, text)

    def _objection(self, truth: JSON) -> str | None:
        try:
            json.dumps(truth)
        except (TypeError, ValueError, RecursionError):
            return f"the ground truth must be JSON, not {type(truth).__name__}"
        if truth is None and self._needs_truth:
            return "the template shows the judge the ground truth, and the case has none (null)"
        return None

    def _read(self, reply: str) -> str | None:
        judgement = find(self._rule.pattern, reply, self._rule.which)
        return judgement if self._abstains(judgement) or self._value(judgement) is not None else None

    def _abstains(self, judgement: str | None) -> bool:
        return judgement is not None and judgement.casefold() in map(str.casefold, self._rule.abstains)

    def _value(self, judgement: str | None) -> float | None:
        return None if judgement is None else value_of(judgement, self._rule.labels, self._rule.scale)

    def _verdicts(self, cases: Sequence[VerificationCase], answers: Sequence[Answer | Verdict]) -> list[Verdict]:
        return [answer if isinstance(answer, Verdict) else self._verdict(answer) for answer in answers]

    def _verdict(self, answer: Answer) -> Verdict:
        if self._abstains(answer.usable):
            return Verdict.abstained(f"the judge says {answer.usable}; {answer.spent}")
        if (value := self._value(answer.usable)) is None:
            return Verdict.unparsable(f"no judgement in the judge's reply {answer.reply[:SHOWN]!r}; {answer.spent}")
        return Verdict.scored(value, answer.usable, str(answer.spent))


def _ready_rule(settings: JudgeSettings) -> ParseSettings:
    ready = templates.READY[settings.template]
    if ready.by_label is not None:
        other = {"yes": "no", "no": "yes"}[settings.wanted or "yes"]
        labels = {settings.wanted or "yes": 1.0, other: 0.0}
        return ParseSettings(pattern=ready.by_label[settings.label or ""], which="first", labels=labels)
    labels_or_none = None if ready.labels is None else dict(ready.labels)
    return ParseSettings(pattern=ready.pattern, labels=labels_or_none, scale=ready.scale, abstains=ready.abstains)


def _fence(case: VerificationCase) -> str:
    """A line that stands in none of the case's texts, since it is a hash of them all."""
    parts = (case.id, case.source, case.prompt, case.response)
    return f"=== {hashlib.sha256(clean(chr(0).join(parts)).encode()).hexdigest()[:16]} ==="
