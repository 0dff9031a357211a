"""Answer extraction by a model (F29): A(y) = f_extract(y + "Thus, the final answer is: "), then a verifier compares.

The answer is the first line with anything on it that the model writes, without surrounding space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

from aftertrain.core.asking.exchange import Answer, Question
from aftertrain.core.asking.prompting import clean
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Builder
from aftertrain.core.text.answer import ENDLESS, answer_of
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.judging.settings import ExtractSettings
from aftertrain.plugins.judging.verifier import SHOWN, AskingVerifier


class Extract(AskingVerifier[ExtractSettings]):
    """Ground truth: what the inner verifier needs. A completion without any text says nothing."""

    Config = ExtractSettings

    def __init__(self, settings: ExtractSettings, builder: Builder) -> None:
        self._chat = settings.context == "conversation"
        super().__init__(settings, builder, needs_template=self._chat, begins_reply=True)
        self._inner: Verifier[Any] = builder.build(settings.verifier)

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

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """The inner verifier's; the model is not asked."""
        return self._inner.objections(cases)

    def _read(self, reply: str) -> str | None:
        return first_line(reply)

    def _verdicts(self, cases: Sequence[VerificationCase], answers: Sequence[Answer | Verdict]) -> list[Verdict]:
        """The inner verifier's on the extracted answers, in one batch."""
        compared = [
            replace(
                case,
                response=self.settings.before + answer.usable + self.settings.after,
                response_with_special=None,
                part="answer",
                whole=case.reply,
            )
            for case, answer in zip(cases, answers, strict=True)
            if isinstance(answer, Answer) and answer.usable is not None
        ]
        inner = iter(self._inner.verify(compared) if compared else [])
        return [answer if isinstance(answer, Verdict) else self._verdict(answer, inner) for answer in answers]

    def _verdict(self, answer: Answer, inner: Iterator[Verdict]) -> Verdict:
        if answer.usable is None:
            return Verdict.unparsable(f"the model wrote no answer; {answer.spent}")
        verdict, shown = next(inner), answer.usable[:SHOWN]
        detail = f"{self.settings.verifier.name} on {shown!r}: {verdict.detail}; {answer.spent}"
        return replace(verdict, extracted=shown if verdict.outcome == "scored" else None, detail=detail)

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
