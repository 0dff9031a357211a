"""Reading a ground truth: which instructions a reply must follow, with which arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aftertrain.core.errors import unknown
from aftertrain.plugins.instructions.ifbench import count, custom, format, ood, ratio, repeat, sentence, words
from aftertrain.plugins.instructions.ifbench.needs import lacking
from aftertrain.plugins.instructions.ifeval import google
from aftertrain.plugins.instructions.kind import Instruction, Kind, Lacking, Unusable, make
from aftertrain.plugins.instructions.label import FORM, columns, is_list, listed, mapping

KINDS: dict[str, Kind] = {
    id: kind
    for family in (count, custom, format, ood, ratio, repeat, sentence, words)
    for id, kind in family.KINDS.items()
}
_FORMS = (
    '{"instruction_id_list": [id, ...], "kwargs": [{argument: value, ...}, ...]}, as a mapping or as JSON text, or '
    f"{FORM} (open-instruct)"
)


def instructions(truth: Any) -> list[Instruction]:
    """The instructions of a ground truth, in either form.

    Raises:
        Unusable: it has neither form, or an id or argument is unknown, missing or of the wrong type, or what an
            instruction needs is not installed; the message names it.
    """
    if is_list(truth):
        return labelled(truth)
    return [instruction(name, given) for name, given in columns(mapping(truth, _FORMS), _FORMS)]


def labelled(truth: Any) -> list[Instruction]:
    """The instructions, of IFEval or of IFBench, that a label lists; the answer is checked, as open-instruct does.

    Raises:
        Unusable: see `instructions`.
    """
    asked = []
    for name, given in listed(truth):
        if name not in google.KINDS and name not in KINDS:
            raise Unusable(unknown("instruction", name, [*google.KINDS, *KINDS]))
        read = google.instruction if name in google.KINDS else instruction
        asked.append(read(name, given, of_answer=True))
    return asked


def instruction(name: str, given: Mapping[str, Any], *, of_answer: bool = False) -> Instruction:
    """One instruction; arguments that are null count as not given.

    Raises:
        Unusable: see `instructions`.
    """
    check = make(KINDS, name, {argument: value for argument, value in given.items() if value is not None})
    for need in KINDS[name].needs:
        if missing := lacking(need):
            raise Lacking(f"{name} needs {missing}")
    return Instruction(name, check, of_answer)
