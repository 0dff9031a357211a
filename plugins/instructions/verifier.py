"""Which instructions of its ground truth does a reply follow, and what is that worth? (F32, F46)"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from aftertrain.core.errors import AftertrainError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.text.answer import WHOLE, judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifeval.tulu import answer
from aftertrain.plugins.instructions.kind import Instruction, Unusable
from aftertrain.plugins.instructions.label import is_list
from aftertrain.plugins.instructions.reply import Reply
from aftertrain.plugins.instructions.score import score
from aftertrain.plugins.instructions.settings import InstructionSettings
from aftertrain.plugins.instructions.variants import variants


class InstructionVerifier(Verifier[InstructionSettings]):
    """Judges by the instructions that a ground truth names.

    Attributes:
        name: the verifier's, for messages.
        needs: data and packages without which it judges nothing.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[resources.Resource, ...]]

    @abstractmethod
    def instructions(self, truth: Any) -> Sequence[Instruction]:
        """The instructions of a ground truth.

        Raises:
            Unusable: it names none that can be checked; the message says why.
        """

    def preflight(self) -> None:
        """Find what it needs.

        Raises:
            MissingExtra: a package is not installed.
            MissingResource: NLTK's data are not installed.
        """
        resources.require(*self.needs, used_by=f"verifier {self.name!r}")

    def warm_up(self) -> None:
        """Import packages and read the sentence model.

        Raises:
            AftertrainError: see `preflight`.
        """
        super().warm_up()
        packages = (need for need in self.needs if need not in resources.FOLDERS)
        resources.load(*packages, used_by=f"verifier {self.name!r}")
        resources.sentences("One. Two.")

    @property
    def note(self) -> str:
        """Of the references' forms of ground truths."""
        labels = "labels that list instructions judge the answer"
        return f"{self.name} {WHOLE}; {labels}" if self.settings.thoughts is None else ""

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored in [0, 1]; an error where the ground truth is none, or what it needs is not installed.

        The references' forms judge the whole reply, labels its answer.
        """
        return [
            judged(case, self.settings, self._verdict, reference=not is_list(case.ground_truth), block=False)
            for case in cases
        ]

    def _verdict(self, case: VerificationCase) -> Verdict:
        try:
            asked = self.instructions(case.ground_truth)
            follows = followed(asked, case.response, self.settings.mode)
        except (Unusable, AftertrainError) as problem:
            return Verdict.error(str(problem))
        weights = [self.settings.weights.get(instruction.name, 1.0) for instruction in asked]
        if not any(weights):
            names = ", ".join(instruction.name for instruction in asked)
            return Verdict.error(f"nothing counts: the weights of {names} are 0")
        outcomes = "; ".join(
            f"{instruction.name} {'yes' if does else 'no'}" for instruction, does in zip(asked, follows, strict=True)
        )
        detail = f"{self.settings.mode}, {sum(follows)} of {len(asked)} followed: {outcomes}"
        return Verdict.scored(score(weights, follows, self.settings.level), None, detail)


def followed(asked: Sequence[Instruction], response: str, mode: Literal["strict", "loose"]) -> list[bool]:
    """Which instructions the response follows, in their order.

    >>> from aftertrain.plugins.instructions.ifeval.verifier import instructions
    >>> truth = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
    >>> followed(instructions(truth), 'Sure, here:\\n"No, never."', "strict")
    [False, False]
    >>> followed(instructions(truth), 'Sure, here:\\n"No, never."', "loose")
    [False, True]
    """
    forms: dict[bool, list[Reply]] = {}
    for of_answer in {instruction.of_answer for instruction in asked}:
        whole = answer(response) if of_answer else response
        forms[of_answer] = [Reply(form) for form in (variants(whole) if mode == "loose" else (whole,))]
    return [_follows(instruction, forms[instruction.of_answer]) for instruction in asked]


def followed_both(asked: Sequence[Instruction], response: str) -> tuple[list[bool], list[bool]]:
    """Which instructions the response follows strictly, and which loosely: `followed` in both modes, checked once.

    >>> from aftertrain.plugins.instructions.ifeval.verifier import instructions
    >>> truth = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
    >>> followed_both(instructions(truth), 'Sure, here:\\n"No, never."')
    ([False, False], [False, True])
    """
    strict, loose = [], []
    forms: dict[bool, list[Reply]] = {}
    for instruction in asked:
        part = instruction.of_answer
        if part not in forms:
            forms[part] = [Reply(form) for form in variants(answer(response) if part else response)]
        first, *others = forms[part]
        judged = not instruction.blank_fails or bool(first.stripped)
        strict.append(judged and instruction.check(first))
        loose.append(strict[-1] or (judged and any(map(instruction.check, others))))
    return strict, loose


def _follows(instruction: Instruction, forms: Sequence[Reply]) -> bool:
    """Whether one of a reply's forms, of which the first is the reply itself, follows the instruction."""
    if instruction.blank_fails and not forms[0].stripped:
        return False
    return any(map(instruction.check, forms))
