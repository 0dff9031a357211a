r"""MATH's check (F32; Hendrycks et al. 2021): is the reply's answer, in LaTeX, the reference answer?

Extraction follows Tülu 3's verifier (Lambert et al. 2024): the last `\boxed{…}`, the sentence that Minerva's prompt
asks for (Lewkowycz et al. 2022), else the last `$…$`; or Math-Verify's (`symbolic.py`). Equality is that of texts after
normalisation (`latex.py`), Math-Verify's by value, or both with a guard (`meaning.py`). All but Math-Verify runs in
linear time on any text; the process pool bounds that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from aftertrain.core.errors import AftertrainError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.text.answer import WHOLE, judged
from aftertrain.core.text.notation import latex
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers import number, symbolic
from aftertrain.plugins.verifiers.candidate import Candidate
from aftertrain.plugins.verifiers.extraction import boxed, boxes, dollars, final_line, formula, phrase, signed
from aftertrain.plugins.verifiers.latex import hendrycks, minerva
from aftertrain.plugins.verifiers.meaning import conflict, leftover, trusted, unordered
from aftertrain.plugins.verifiers.reference import reference
from aftertrain.plugins.verifiers.settings import MathSettings
from aftertrain.plugins.verifiers.spelling import joined, spelt, without_signs_of_units

SHOWN = 200
"""Characters of an extracted answer that a verdict keeps."""

_FORMULA = re.compile(r"\s*(?=.{1,200}\s*$)(?:\\[A-Za-z]+|[A-Za-z]{1,2}(?![A-Za-z])|[^A-Za-z\n\\]|\\[^A-Za-z\n])+\s*")
"""A reply of one line without words, at most 200 characters: nothing but a formula."""


class Math(Verifier[MathSettings]):
    r"""Ground truth: the reference answer's LaTeX (`"\\frac{1}{2}"`) or a number."""

    Config = MathSettings

    def preflight(self) -> None:
        """Find out whether math-verify is there, where the settings need it, in versions that give its verdicts.

        Raises:
            AftertrainError: it is missing, or would give other verdicts; the message has the line that mends it.
        """
        if self._needs_sympy:
            symbolic.preflight("verifier 'math'")

    def warm_up(self) -> None:
        """Import SymPy, a second's work, where it may be needed, and see that it can tell equal values.

        Raises:
            AftertrainError: see `preflight`; or a package is there and broken: equal values would be "wrong".
        """
        super().warm_up()
        if self._needs_sympy:
            (verdict,) = self.verify([VerificationCase("", "", r"$\boxed{2x + 2}$", "2(x + 1)")])
            if verdict.value != 1.0:
                raise AftertrainError(
                    "verifier 'math': math-verify, SymPy or ANTLR is installed and does not work: 2x + 2 is not found "
                    "equal to 2(x + 1); pip install --force-reinstall 'aftertrain[verifiers]', or use equality: string"
                )

    @property
    def _needs_sympy(self) -> bool:
        return "math_verify" in (self.settings.extract, self.settings.equality) or self._either

    @property
    def _either(self) -> bool:
        """Whether our own rule decides, and not one that carries a reference's name."""
        return self.settings.equality == "either"

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0; unparsable where the reply holds no answer; an error where the ground truth is no answer."""
        return [judged(case, self.settings, self._judge, reference=not self._either) for case in cases]

    @property
    def note(self) -> str:
        """Of equality string and math_verify."""
        mine = not self._either and self.settings.thoughts is None
        return f"math's equality {self.settings.equality} {WHOLE}" if mine else ""

    def _judge(self, case: VerificationCase) -> Verdict:
        try:
            truth = reference(case.ground_truth)
        except AftertrainError as no_answer:
            return Verdict.error(str(no_answer))
        response = latex(case.response) if self._either else case.response
        if self.settings.extract == "math_verify":
            return self._found(joined(response) if self._either else response, truth)
        verdict = self._verdict(response, truth)
        if verdict.outcome == "unparsable" and case.part == "block" and self.settings.extract == "flexible":
            return self._block(response, truth)
        return verdict

    def _block(self, answer: str, truth: str) -> Verdict:
        """A block that is marked as the answer needs no mark within it: it is the answer, or a sentence with it."""
        if not answer.strip():
            return Verdict.unparsable("the answer block is empty")
        rule, _ = self._same(answer.strip(), truth, both=True)
        if rule is None and self.settings.equality != "string":
            return self._found(answer, truth)
        return Verdict.scored(float(rule is not None), answer[:SHOWN], f"answer block, {rule or 'not equal'}")

    def _verdict(self, response: str, truth: str) -> Verdict:
        refused: tuple[str, str] | None = None
        for place, answer in self._answers(response):
            rule, why = self._same(answer, truth, both=not place.startswith("box"))
            if rule:
                return Verdict.scored(1.0, answer[:SHOWN], f"{place}, {rule}")
            refused = refused or (answer, f"{place}, {why}")
        if refused:
            return Verdict.scored(0.0, refused[0][:SHOWN], refused[1])
        if self.settings.extract == "flexible" and (rule := self._whole(response, truth)):
            return Verdict.scored(1.0, response[:SHOWN], f"whole reply, {rule}")
        return Verdict.unparsable(f"no answer by the {self.settings.extract} rule")

    def _found(self, response: str, truth: str) -> Verdict:
        """With Math-Verify's extraction: its first candidate as text, what it could read by value."""
        head = symbolic.first(response)
        if head is None:
            return Verdict.unparsable("no answer by the math_verify rule")
        if self._either:
            rule, why = self._candidate(head, response, truth)
        elif self.settings.equality == "string":
            rule, why = same(head.raw, truth, both=True), "not equal"
        else:
            rule, why = self._by_value(response, truth)
        return Verdict.scored(float(rule is not None), head.raw[:SHOWN], f"math_verify, {rule or why}")

    def _candidate(self, head: Candidate, response: str, truth: str) -> tuple[str | None, str]:
        """`either` for Math-Verify's first candidate."""
        answer, truth = spelt(head.raw), spelt(truth)
        if head.minus:
            return None, "a minus sign before the number"
        if head.part:
            return None, "only a part could be read"
        if against := conflict(answer + head.follows, truth):
            return None, against
        answer, truth = without_signs_of_units(answer), without_signs_of_units(truth)
        if trusted(answer + "%" * ("%" in head.follows), truth) and (rule := same(answer, truth, both=True)):
            return rule, ""
        respelt = answer != head.raw.removesuffix(".")
        return self._by_value(f"\\boxed{{{answer}}}" if respelt else response, truth)

    def _same(self, answer: str, truth: str, both: bool) -> tuple[str | None, str]:
        """The rule by which an answer equals the truth, or None and why it does not."""
        if self.settings.equality == "string":
            return same(answer, truth, both), "not equal"
        if self._either:
            if len(answer) > symbolic.LONGEST_TEXT:
                return ("same text", "") if answer == truth else (None, "not equal")
            answer, truth = spelt(answer), spelt(truth)
            if against := conflict(answer, truth):
                return None, against
            answer, truth = without_signs_of_units(answer), without_signs_of_units(truth)
            if trusted(answer, truth) and (rule := same(answer, truth, both)):
                return rule, ""
        if (equal := number.equal(answer, truth)) is not None:
            return "number" if equal else None, "not equal"
        return self._by_value(f"\\boxed{{{answer}}}", truth)

    def _by_value(self, text: str, truth: str) -> tuple[str | None, str]:
        rules = symbolic.Rules(self.settings.precision, self.settings.strict, self.settings.set_relations)
        equal = bool(symbolic.verdict(truth, text, rules))
        if not self._either or not (answer := symbolic.find(text)):
            return ("math-verify", "") if equal else (None, "not equal")
        if not equal:
            return (
                ("math-verify, complex", "") if symbolic.equal_as_complex(truth, answer, rules) else (None, "not equal")
            )
        if (read := answer.candidate) and any(leftover(other.raw, read.raw) for other in answer.skipped):
            return None, "only a part could be read"
        if symbolic.equal_by_rounding_only(truth, answer, rules):
            return None, "equal only by rounding"
        if (pairs := unordered(answer.candidate.raw if answer.candidate else "", truth)) and not all(
            symbolic.verdict(wanted, f"\\boxed{{{given}}}", rules) for given, wanted in pairs
        ):
            return None, "the values of other names"
        return "math-verify", ""

    def _whole(self, response: str, truth: str) -> str | None:
        """The rule by which a reply without a marked answer is the answer as a whole."""
        if self.settings.equality == "string":
            return "hendrycks" if alike(response, truth) else None
        if _FORMULA.fullmatch(response):
            return self._same(response.strip(), truth, both=True)[0]
        if self.settings.equality == "math_verify" or len(response) > symbolic.LONGEST_TEXT:
            return None
        if conflict(response, truth) or not trusted(response, truth):
            return None
        return "hendrycks" if alike(response, truth) else None

    def _answers(self, response: str) -> Iterator[tuple[str, str]]:
        """Where each answer was found, and the answer. As in Tülu 3 a box and a sentence both count, a formula does not
        beside them. Our own rule takes a list of boxes as a whole."""
        extract = self.settings.extract
        box = boxed(response) if extract != "minerva" else None
        if box is not None:
            run = boxes(response) if self._either else []
            several = len({listed.inside for listed in run}) > 1 and run[-1].inside == box
            if several:
                yield "boxes", ", ".join(listed.named for listed in run)
            else:
                yield "boxed", signed(response, run[-1]) if run and run[-1].inside == box else box
        sentence = phrase(response) if extract != "boxed" else None
        if sentence is not None:
            yield "sentence", sentence
        if extract != "flexible" or box is not None or sentence is not None:
            return
        if self.settings.final_line and (line := final_line(response)) is not None:
            yield "final line", line
        elif (inside := formula(response) if self.settings.equality != "string" else dollars(response)) is not None:
            yield "dollars" if inside == dollars(response) else "formula", inside


def alike(answer: str, truth: str) -> bool:
    """Equal by Hendrycks' rule; where it does not apply to both, or leaves nothing, equal as they stand."""
    first, second = hendrycks(answer), hendrycks(truth)
    return first == second if first and second else answer == truth


def same(answer: str, truth: str, both: bool) -> str | None:
    """The first rule by which two answers are the same text, or None. `both` allows Hendrycks' rule after Minerva's,
    as Tülu 3 has it for all answers but boxed ones: there `73 degrees` would be `73\\%`."""
    if alike(answer, truth):
        return "hendrycks"
    plain = minerva(answer)
    if plain and plain == minerva(truth):
        return "minerva"
    return "minerva then hendrycks" if both and alike(plain, truth) else None
