r"""MATH as OLMES judges it (Lewkowycz et al. 2022): Minerva's normal form, then SymPy, or Hendrycks' rule.

Two answers are equal where their texts in Minerva's normal form are (`latex.py`), or where SymPy reads both and their
difference simplifies to 0; with `extract: flexible` also where Hendrycks' rule makes them one text. SymPy reads LaTeX
by its own ANTLR grammar, which it lets nobody use under another runtime than 4.11; the grammar's tables are of a form
that 4.13 reads, too, and the verdicts are the same (`tests/plugins/verifiers/test_minerva.py`). No time limit is set
here: the process pool around a verifier kills.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from aftertrain.core.errors import AftertrainError, MissingExtra
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.text.answer import WHOLE, judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.verifiers import number
from aftertrain.plugins.verifiers.extraction import boxed, phrase
from aftertrain.plugins.verifiers.latex import hendrycks, minerva
from aftertrain.plugins.verifiers.settings import MinervaSettings

SHOWN = 200
LONGEST = 400
"""Characters of an answer, in normal form, beyond which it is compared as text alone."""
LONGEST_TEXT = 4_000
"""Characters of a text beyond which it is no answer: a whole reply of more has none."""
RUNTIMES = ("4.11", "4.13")


class Minerva(Verifier[MinervaSettings]):
    r"""Ground truth: the reference answer's LaTeX, or a solution whose last `\boxed{…}` it is."""

    Config = MinervaSettings

    def preflight(self) -> None:
        """Find out whether SymPy can read LaTeX here.

        Raises:
            AftertrainError: a package is missing, or of a version that was not tried.
        """
        for package, module in (("sympy", "sympy"), ("antlr4-python3-runtime", "antlr4")):
            if find_spec(module) is None:
                raise MissingExtra(package, "verifiers", "verifier 'minerva'")
        try:
            runtime = version("antlr4-python3-runtime")
        except PackageNotFoundError:
            runtime = "none"
        if not runtime.startswith(RUNTIMES):
            raise AftertrainError(
                f"verifier 'minerva' needs antlr4-python3-runtime {' or '.join(RUNTIMES)}, found {runtime}: "
                "pip install 'aftertrain[verifiers]'"
            )

    def warm_up(self) -> None:
        """Import SymPy and see that it can tell equal values.

        Raises:
            AftertrainError: see `preflight`; or a package is there and broken.
        """
        super().warm_up()
        self.preflight()
        if not equal("2x+2", "2(x+1)"):
            raise AftertrainError(
                "verifier 'minerva': SymPy or ANTLR is installed and does not work: 2x + 2 is not found equal to "
                "2(x + 1); pip install --force-reinstall 'aftertrain[verifiers]'"
            )

    @property
    def note(self) -> str:
        """Of a published rule."""
        return f"minerva {WHOLE}" if self.settings.thoughts is None else ""

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored 1 or 0; unparsable where the reply holds no answer; an error where the ground truth is no text."""
        return [judged(case, self.settings, self._judge, reference=True) for case in cases]

    def _judge(self, case: VerificationCase) -> Verdict:
        truth = case.ground_truth
        if not isinstance(truth, str) or not truth.strip():
            return Verdict.error(f"minerva: the ground truth must be a text that is not blank, found {truth!r:.80}")
        inside = boxed(truth)
        gold = minerva(truth if inside is None else inside)
        answers = self._answers(case.response)
        for place, answer in answers:
            if answer == gold != "":
                return Verdict.scored(1.0, answer[:SHOWN], f"{place}, equal as text")
            if self.settings.extract == "flexible" and _same_by_hendrycks(answer, gold):
                return Verdict.scored(1.0, answer[:SHOWN], f"{place}, equal by Hendrycks' rule")
        for place, answer in answers:
            if max(len(answer), len(gold)) <= LONGEST and equal(answer, gold, whole=not self.settings.compat):
                return Verdict.scored(1.0, answer[:SHOWN], f"{place}, equal in value")
        if not answers or answers[0][0] == "whole reply" or not answers[0][1]:
            return Verdict.unparsable(f"no answer by the {self.settings.extract} rule")
        return Verdict.scored(0.0, answers[0][1][:SHOWN], f"{answers[0][0]}, not equal")

    def _answers(self, response: str) -> list[tuple[str, str]]:
        """What the reply gives as its answer, in normal form, each with its place."""
        said = phrase(response)
        found = [] if said is None else [("sentence", said)]
        if self.settings.extract == "flexible":
            if (inside := boxed(response)) is not None:
                found.append(("box", inside))
            if not found:
                pieces = response.rsplit("$", 2)
                found = [("formula", pieces[1])] if len(pieces) == 3 else [("whole reply", response)]
        return [(place, minerva(text)) for place, text in found if len(text) <= LONGEST_TEXT]


def _same_by_hendrycks(answer: str, gold: str) -> bool:
    first, second = hendrycks(answer), hendrycks(gold)
    return answer == gold if first is None or second is None else first == second


def equal(first: str, second: str, *, whole: bool = False) -> bool:
    """Whether SymPy reads both texts and finds their difference to be 0.

    Args:
        whole: read to its end. SymPy's grammar stops where the text fits no longer, so that `3, 5, 7` is 3.
    """
    if (plain := number.equal(first, second)) is not None:
        return plain
    a, b = _read(first, whole), _read(second, whole)
    if a is None or b is None:
        return False
    from sympy import simplify

    try:
        return bool(simplify(a - b) == 0)
    except Exception:  # noqa: BLE001  relations have no difference, and what SymPy raises on others is without end
        return False


@lru_cache(maxsize=10_000)
def _read(text: str, whole: bool) -> Any:
    """The value, None where the grammar does not fit."""
    from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]
    from antlr4.atn.PredictionMode import PredictionMode  # type: ignore[import-untyped]

    lexer, parser, listener, convert = _grammar()
    text = text.strip()
    for mode in (PredictionMode.SLL, PredictionMode.LL):  # the first is quick, and either as good or fails
        tokens = lexer(InputStream(text))
        reader = parser(CommonTokenStream(tokens))
        for part in (tokens, reader):
            part.removeErrorListeners()
            part.addErrorListener(listener(text))
        reader._interp.predictionMode = mode
        try:
            relation = reader.math().relation()
            if whole and relation.stop.stop != len(text) - 1:
                return None
            return convert(relation)
        except Exception:  # noqa: BLE001  of what does not fit; SymPy raises several kinds and bare ones
            continue
    return None


@lru_cache(maxsize=1)
def _grammar() -> tuple[Any, Any, Any, Any]:
    from sympy.parsing.latex import _parse_latex_antlr as latex

    class Lexer(latex.LaTeXLexer):  # type: ignore[misc]
        def checkVersion(self, *_: object) -> None:
            """Would print that the runtime is another."""

    class Parser(latex.LaTeXParser):  # type: ignore[misc]
        def checkVersion(self, *_: object) -> None:
            """As above."""

    return Lexer, Parser, latex.MathErrorListener, latex.convert_relation
