"""The verifier `ifeval` (F32): which instructions of its prompt does a reply follow?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aftertrain.core.errors import AftertrainError, unknown
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.text.answer import WHOLE, judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifbench import truth as ifbench
from aftertrain.plugins.instructions.ifbench.needs import lacking
from aftertrain.plugins.instructions.ifeval.arguments import Check, Unusable, make
from aftertrain.plugins.instructions.ifeval.google import KINDS
from aftertrain.plugins.instructions.ifeval.reply import Reply
from aftertrain.plugins.instructions.ifeval.tulu import FUNCTIONS, answer
from aftertrain.plugins.instructions.label import FORM, is_list, listed
from aftertrain.plugins.instructions.score import score
from aftertrain.plugins.instructions.settings import IFEvalSettings
from aftertrain.plugins.instructions.variants import variants

Mode = Literal["strict", "loose"]
_FORMS = (
    '{"instruction_id_list": [id, ...], "kwargs": [{argument: value, ...}, ...]} (IFEval) or '
    '{"func_name": name, argument: value, ...} (Tulu 3), as a mapping or as JSON text, or '
    f"{FORM} (open-instruct)"
)
_BESIDE = ("key", "prompt")
"""Further fields of IFEval's own rows, which are not looked at."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, ready to check.

    Attributes:
        name: its id (IFEval) or function name (Tulu 3).
        check: whether a reading of a reply follows it.
        reading: what is checked. IFEval takes the whole reply, and a blank one follows nothing. Tulu 3 takes the answer
            after the thinking, however blank; without any argument field in the constraint, the whole reply. Listed
            instructions take Tulu 3's answer, and a blank one follows nothing.
    """

    name: str
    check: Check
    reading: Literal["ifeval", "answer", "whole", "listed"]


class IFEval(Verifier[IFEvalSettings]):
    """Ground truth: IFEval's `instruction_id_list` and `kwargs`, or a constraint of Tulu 3 with its `func_name`."""

    Config = IFEvalSettings

    def preflight(self) -> None:
        """Find NLTK's sentence model and langdetect.

        Raises:
            MissingExtra: langdetect is not installed.
            MissingResource: the sentence model is not installed.
        """
        resources.require("punkt", "langdetect", used_by="verifier 'ifeval'")

    def warm_up(self) -> None:
        """Read the sentence model and the languages' profiles.

        Raises:
            AftertrainError: see `preflight`.
        """
        super().warm_up()
        resources.load("langdetect", used_by="verifier 'ifeval'")
        resources.sentences("One. Two.")
        resources.language("A sentence in English.")

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored in [0, 1]; an error where the ground truth is none, or what it needs is not installed."""
        return [self.verdict(case) for case in cases]

    @property
    def note(self) -> str:
        """Of the references' forms of ground truths."""
        return (
            f"ifeval {WHOLE}; labels that list instructions judge the answer" if self.settings.thoughts is None else ""
        )

    def verdict(self, case: VerificationCase) -> Verdict:
        """The verdict on one case; the references' forms judge the whole reply, listed instructions its answer."""
        reference = not is_list(case.ground_truth)
        return judged(case, self.settings, self._verdict, reference=reference, block=False)

    def _verdict(self, case: VerificationCase) -> Verdict:
        try:
            asked = instructions(case.ground_truth)
        except Unusable as problem:
            return Verdict.error(str(problem))
        weights = [self.settings.weights.get(instruction.name, 1.0) for instruction in asked]
        if not any(weights):
            return Verdict.error(
                f"nothing counts: the weights of {', '.join(instruction.name for instruction in asked)} are 0"
            )
        try:
            follows = followed(asked, case.response, self.settings.mode)
        except AftertrainError as problem:
            return Verdict.error(str(problem))
        outcomes = "; ".join(
            f"{instruction.name} {'yes' if does else 'no'}" for instruction, does in zip(asked, follows, strict=True)
        )
        detail = f"{self.settings.mode}, {sum(follows)} of {len(asked)} followed: {outcomes}"
        return Verdict.scored(score(weights, follows, self.settings.level), None, detail)


def followed(asked: Sequence[Instruction], response: str, mode: Mode) -> list[bool]:
    """Which instructions the response follows, in their order.

    >>> truth = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
    >>> followed(instructions(truth), 'Sure, here:\\n"No, never."', "strict")
    [False, False]
    >>> followed(instructions(truth), 'Sure, here:\\n"No, never."', "loose")
    [False, True]
    """
    readings: dict[str, list[Reply]] = {}
    return [_follows(instruction, response, mode, readings) for instruction in asked]


def _follows(instruction: Instruction, response: str, mode: Mode, readings: dict[str, list[Reply]]) -> bool:
    known = readings.get(instruction.reading)
    if known is None:
        known = readings[instruction.reading] = [
            Reply(answer(response) if instruction.reading in ("answer", "listed") else response)
        ]
    whole = known[0]
    if instruction.reading in ("ifeval", "listed") and not whole.stripped:
        return False
    if instruction.check(whole):
        return True
    if mode == "strict":
        return False
    if len(known) == 1:
        known.extend(Reply(form) for form in variants(whole.text)[1:])
    return any(instruction.check(form) for form in known[1:])


def instructions(ground_truth: Any) -> tuple[Instruction, ...]:
    """The instructions of a ground truth, in any form.

    Raises:
        Unusable: it has neither form, or an instruction in it is unknown or lacks an argument; the message names it.
    """
    if is_list(ground_truth):
        return tuple(_listed(name, given) for name, given in listed(ground_truth))
    if isinstance(ground_truth, str):
        try:
            ground_truth = json.loads(ground_truth)
        except (ValueError, RecursionError) as problem:
            raise Unusable(f"the ground truth is no JSON ({problem!s:.80}); it must be {_FORMS}") from None
    if not isinstance(ground_truth, Mapping):
        raise Unusable(f"the ground truth must be {_FORMS}, not {type(ground_truth).__name__}")
    if "func_name" in ground_truth:
        given = {name: value for name, value in ground_truth.items() if name != "func_name"}
        name = ground_truth["func_name"]
        check = make(FUNCTIONS, name, {argument: value for argument, value in given.items() if value is not None})
        return (Instruction(name, check, "answer" if given else "whole"),)
    return _google(ground_truth)


def _google(truth: Mapping[Any, Any]) -> tuple[Instruction, ...]:
    for field in truth:
        if field not in ("instruction_id_list", "kwargs", *_BESIDE):
            raise Unusable(f"the ground truth has a field {field!r}; it must be {_FORMS}")
    names, arguments = truth.get("instruction_id_list"), truth.get("kwargs")
    if not isinstance(names, list | tuple) or not isinstance(arguments, list | tuple):
        raise Unusable(f"instruction_id_list and kwargs must be lists; the ground truth must be {_FORMS}")
    if len(names) != len(arguments):
        raise Unusable(f"{len(names)} in instruction_id_list, but {len(arguments)} in kwargs")
    if not names:
        raise Unusable("instruction_id_list is empty: every reply would follow it")
    checks = []
    for name, given in zip(names, arguments, strict=True):
        if not isinstance(given, Mapping | None):
            raise Unusable(f"kwargs of {name} must be a mapping, not {type(given).__name__}")
        checks.append(Instruction(str(name), make(KINDS, name, _given(given)), "ifeval"))
    return tuple(checks)


def _given(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """As in the reference: null, 0 and empty values count as not given."""
    return {argument: value for argument, value in (arguments or {}).items() if value}


def _listed(name: str, given: Mapping[str, Any]) -> Instruction:
    """An instruction of IFEval or of IFBench.

    Raises:
        Unusable: it is none of theirs, or its arguments are wrong; or what it needs is not installed.
    """
    if name in KINDS:
        return Instruction(name, make(KINDS, name, _given(given)), "listed")
    if name not in ifbench.KINDS:
        raise Unusable(unknown("instruction", name, [*KINDS, *ifbench.KINDS]))
    try:
        asked = ifbench.instruction(name, given)
    except ValueError as problem:
        raise Unusable(str(problem)) from None
    for need in asked.kind.needs:
        if missing := lacking(need):
            raise Unusable(f"{name} needs {missing}")
    return Instruction(name, lambda reply: asked.followed(reply.text), "listed")
