"""What verifiers that ask a model have in common: a question for each case, and verdicts on the answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from aftertrain.core.asking.asker import Asker
from aftertrain.core.asking.exchange import Answer, Question, Spent
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Builder
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.judging.settings import JudgingSettings

SHOWN = 200
"""Characters of what a model wrote that a verdict keeps; the transcript has all of it."""
A = TypeVar("A", bound=JudgingSettings)


class AskingVerifier(Verifier[A]):
    """Holds a model, so that it judges in the run's own process.

    What says nothing that can be used is asked for again `retries` times, then unparsable. A prompt that is too long, a
    spent budget and a generator that fails are errors; a model that cannot be loaded is raised.
    """

    isolated: ClassVar[bool] = False

    def __init__(
        self,
        settings: A,
        builder: Builder,
        *,
        needs_template: bool,
        begins_reply: bool = False,
        asker: Asker | None = None,
    ) -> None:
        super().__init__(settings, builder)
        self._asker = asker or Asker(settings, builder, needs_template=needs_template, begins_reply=begins_reply)

    @property
    def timeout(self) -> float:
        """As long as the model may keep silent, once for each time it is asked, and the parts'."""
        return self.settings.timeout * (self.settings.retries + 1) + sum(part.timeout for part in self.parts)

    @property
    def spent(self) -> Spent:
        """Calls, tokens and cost so far."""
        return self._asker.spent

    @property
    def cost(self) -> float:
        """Of calls, and of the parts."""
        return self._asker.cost + super().cost

    def content(self) -> str:
        """Of the model's files, and of what the parts have."""
        return self._asker.content() + super().content()

    def preflight(self) -> None:
        """Find model folder, tokenizer and transcript, without loading weights, and what the parts need."""
        self._asker.preflight()
        super().preflight()

    def close(self) -> None:
        """Free the model and what the parts hold."""
        self._asker.close()
        super().close()

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Asked in one batch.

        Raises:
            ModelError: the model cannot be loaded. RunError: the transcript cannot be written.
        """
        asked = [self._question(case) for case in cases]
        answers = self._asker.ask(asked, self._read)
        verdicts = self._verdicts(cases, answers)
        self._asker.record(asked, answers, verdicts)
        return verdicts

    @abstractmethod
    def _question(self, case: VerificationCase) -> Question | Verdict:
        """What is asked about a case, or the verdict on one that cannot be asked about."""

    @abstractmethod
    def _read(self, reply: str) -> str | None:
        """What is looked for in a reply, or None."""

    @abstractmethod
    def _verdicts(self, cases: Sequence[VerificationCase], answers: Sequence[Answer | Verdict]) -> list[Verdict]:
        """A verdict for each case."""
