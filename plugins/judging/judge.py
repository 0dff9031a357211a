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
from typing import ClassVar

from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.settings import Builder
from aftertrain.core.text.answer import ENDLESS, WHOLE, answer_of
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.judging import templates
from aftertrain.plugins.judging.asking import Asker
from aftertrain.plugins.judging.exchange import Answer, Question, Spent
from aftertrain.plugins.judging.parsing import find, value_of
from aftertrain.plugins.judging.prompting import clean
from aftertrain.plugins.judging.settings import JudgeSettings, ParseSettings

SHOWN = 200
"""Characters of a judge's reply that a verdict keeps; the transcript has all of it."""


class Judge(Verifier[JudgeSettings]):
    """Ground truth: any JSON; not null where the template shows it.

    A reply of the judge's in which the rule finds nothing is asked for again `retries` times, then unparsable. A prompt
    that is too long, a spent budget and a generator that fails are errors; a model that cannot be loaded is raised.
    """

    Config = JudgeSettings
    isolated: ClassVar[bool] = False

    def __init__(self, settings: JudgeSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        ready = templates.READY.get(settings.template)
        self._template = settings.template if ready is None else ready.text
        chat = ready.chat if ready is not None else True
        self._chat = chat if settings.chat is None else settings.chat
        self._rule = settings.parse or _ready_rule(settings)
        self._needs_truth = templates.uses(self._template, "ground_truth")
        self._asker = Asker(settings, builder, needs_template=self._chat)

    @property
    def deadline(self) -> float:
        """As long as the judge may keep silent, once for each time it is asked."""
        return self.settings.timeout * (self.settings.retries + 1)

    @property
    def spent(self) -> Spent:
        """Calls, tokens and cost so far."""
        return self._asker.spent

    def preflight(self) -> None:
        """Find model folder, tokenizer and transcript, without loading weights."""
        self._asker.preflight()

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """A ground truth that the template cannot use; the judge is not asked."""
        wrong = [self._wrong_truth(case.ground_truth) for case in cases]
        return [None if verdict is None else verdict.detail for verdict in wrong]

    def close(self) -> None:
        """Free the judge's model."""
        self._asker.close()

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored by the parse rule.

        Raises:
            ModelError: the judge cannot be loaded. RunError: the transcript cannot be written.
        """
        asked = [self._question(case) for case in cases]
        questions = [entry for entry in asked if isinstance(entry, Question)]
        replies = iter(self._asker.ask(questions, self._read) if questions else [])
        answers = [entry if isinstance(entry, Verdict) else next(replies) for entry in asked]
        verdicts = [entry if isinstance(entry, Verdict) else self._verdict(entry) for entry in answers]
        self._asker.record(asked, answers, verdicts)
        return verdicts

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
        wrong = self._wrong_truth(case.ground_truth)
        if wrong is not None:
            return wrong
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
        return Question(case.id, prompting.chat(text) if self._chat else text)

    def _wrong_truth(self, truth: JSON) -> Verdict | None:
        try:
            json.dumps(truth)
        except (TypeError, ValueError, RecursionError):
            return Verdict.error(f"the ground truth must be JSON, not {type(truth).__name__}")
        if truth is None and self._needs_truth:
            return Verdict.error("the template shows the judge the ground truth, and the case has none (null)")
        return None

    def _judgement(self, reply: str) -> tuple[str, float] | None:
        """What the reply judges, and its value."""
        text = find(self._rule.pattern, reply, self._rule.which)
        value = None if text is None else value_of(text, self._rule.labels, self._rule.scale)
        return None if text is None or value is None else (text, value)

    def _read(self, reply: str) -> str | None:
        judgement = self._judgement(reply)
        return None if judgement is None else judgement[0]

    def _verdict(self, answer: Answer) -> Verdict:
        judgement = self._judgement(answer.reply)
        if judgement is None:
            return Verdict.unparsable(f"no judgement in the judge's reply {answer.reply[:SHOWN]!r}; {answer.told}")
        return Verdict.scored(judgement[1], judgement[0], answer.told)


def _ready_rule(settings: JudgeSettings) -> ParseSettings:
    ready = templates.READY[settings.template]
    if ready.by_label is not None:
        other = {"yes": "no", "no": "yes"}[settings.wanted or "yes"]
        labels = {settings.wanted or "yes": 1.0, other: 0.0}
        return ParseSettings(pattern=ready.by_label[settings.label or ""], which="first", labels=labels)
    labels_or_none = None if ready.labels is None else dict(ready.labels)
    return ParseSettings(pattern=ready.pattern, labels=labels_or_none, scale=ready.scale)


def _fence(case: VerificationCase) -> str:
    """A line that stands in none of the case's texts, since it is a hash of them all."""
    parts = (case.id, case.source, case.prompt, case.response)
    return f"=== {hashlib.sha256(clean(chr(0).join(parts)).encode()).hexdigest()[:16]} ==="
