"""Answer extraction by a model (F29): A(y) = f_extract(y + "Thus, the final answer is: "), then a verifier compares.

The answer is the first line with anything on it that the model writes, without surrounding space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Builder
from aftertrain.core.text.answer import ENDLESS, answer_of
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.judging.asking import Asker
from aftertrain.plugins.judging.exchange import Answer, Question, Spent
from aftertrain.plugins.judging.prompting import clean
from aftertrain.plugins.judging.settings import ExtractSettings

SHOWN = 200
"""Characters of an extracted answer that a verdict keeps."""


class Extract(Verifier[ExtractSettings]):
    """Ground truth: what the inner verifier needs.

    A completion without any text is asked for again `retries` times, then unparsable. A reply that is too long for the
    model, a spent budget and a generator that fails are errors; a model that cannot be loaded is raised.
    """

    Config = ExtractSettings
    isolated: ClassVar[bool] = False

    def __init__(self, settings: ExtractSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._inner: Verifier[Any] = builder.build(settings.verifier)
        self._chat = settings.context == "conversation"
        self._asker = Asker(settings, builder, needs_template=self._chat)

    @property
    def deadline(self) -> float:
        """As long as the model may keep silent, once for each time it is asked, and the inner verifier's."""
        return self.settings.timeout * (self.settings.retries + 1) + self._inner.deadline

    @property
    def spent(self) -> Spent:
        """Calls, tokens and cost so far."""
        return self._asker.spent

    @property
    def parts(self) -> tuple[Verifier[Any], ...]:
        """The verifier that compares."""
        return (self._inner,)

    def with_parts(self, parts: Sequence[Verifier[Any]]) -> Self:
        """The same model, cache and budget with another verifier that compares.

        Raises:
            ValueError: there is not exactly one.
        """
        if len(parts) != 1:
            raise ValueError(f"extract has 1 part, not {len(parts)}")
        other = object.__new__(type(self))
        vars(other).update(vars(self), _inner=parts[0])
        return other

    def preflight(self) -> None:
        """Find what the model is asked with, without its weights, and what the inner verifier needs."""
        self._asker.preflight()
        super().preflight()

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """The inner verifier's; the model is not asked."""
        return self._inner.objections(cases)

    def close(self) -> None:
        """Free the model and what the inner verifier holds."""
        self._asker.close()
        super().close()

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """The inner verifier's verdicts on the extracted answers, in one batch.

        Raises:
            ModelError: the model cannot be loaded. RunError: the transcript cannot be written.
        """
        asked = [self._question(case) for case in cases]
        questions = [entry for entry in asked if isinstance(entry, Question)]
        replies = iter(self._asker.ask(questions, first_line) if questions else [])
        answers = [entry if isinstance(entry, Verdict) else next(replies) for entry in asked]
        compared = [
            replace(
                case,
                response=self.settings.before + answer.found + self.settings.after,
                response_with_special=None,
                part="answer",
                whole=case.reply,
            )
            for case, answer in zip(cases, answers, strict=True)
            if isinstance(answer, Answer) and answer.found is not None
        ]
        inner = iter(self._inner.verify(compared) if compared else [])
        verdicts = [entry if isinstance(entry, Verdict) else self._verdict(entry, inner) for entry in answers]
        self._asker.record(asked, answers, verdicts)
        return verdicts

    def _verdict(self, answer: Answer, inner: Any) -> Verdict:
        if answer.found is None:
            return Verdict.unparsable(f"the model wrote no answer; {answer.told}")
        verdict: Verdict = next(inner)
        shown = answer.found[:SHOWN]
        told = f"{self.settings.verifier.name} on {shown!r}: {verdict.detail}; {answer.told}"
        return replace(verdict, extracted=shown if verdict.outcome == "scored" else None, detail=told)

    def _question(self, case: VerificationCase) -> Question | Verdict:
        part = answer_of(case, self.settings, block=False)
        if part.text is None:
            return Verdict.unparsable(ENDLESS)
        case = replace(case, response=part.text, response_with_special=None)
        prompting = self._asker.prompting
        refused = prompting.too_long(case.response, case.prompt if self._chat else "")
        if refused is not None:
            return refused
        reply = prompting.defused(case.response)
        space = "" if not reply or reply[-1].isspace() else " "
        # A space at the end would be a token of its own, after which models do not go on as they do elsewhere.
        text = f"{reply}{space}{clean(self.settings.phrase).rstrip(' ')}"
        if not self._chat:
            return Question(case.id, text, add_special=True)
        return Question(case.id, prompting.chat(prompting.defused(case.prompt)) + text)


def first_line(completion: str) -> str | None:
    """The first line that is not blank, stripped; None where all are.

    >>> first_line(" 42 \\nbecause"), first_line(" \\n ")
    ('42', None)
    """
    return next((line.strip() for line in completion.splitlines() if line.strip()), None)
