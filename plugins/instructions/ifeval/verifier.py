"""The verifier `ifeval` (F32): the instructions of IFEval (Zhou et al. 2023) and the constraints of Tulu 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifbench.truth import labelled
from aftertrain.plugins.instructions.ifeval.google import instruction
from aftertrain.plugins.instructions.ifeval.tulu import FUNCTIONS
from aftertrain.plugins.instructions.kind import Instruction, make
from aftertrain.plugins.instructions.label import FORM, columns, is_list, mapping
from aftertrain.plugins.instructions.settings import IFEvalSettings
from aftertrain.plugins.instructions.verifier import InstructionVerifier

_FORMS = (
    '{"instruction_id_list": [id, ...], "kwargs": [{argument: value, ...}, ...]} (IFEval) or '
    '{"func_name": name, argument: value, ...} (Tulu 3), as a mapping or as JSON text, or '
    f"{FORM} (open-instruct)"
)


class IFEval(InstructionVerifier):
    """Ground truth: IFEval's `instruction_id_list` and `kwargs`, or a constraint of Tulu 3 with its `func_name`, or a
    list of `{"instruction_id": id, "kwargs": {...}}`, in which ids of IFBench may stand as well."""

    Config = IFEvalSettings
    name = "ifeval"
    needs = ("punkt", "langdetect")

    def instructions(self, truth: Any) -> Sequence[Instruction]:
        """See the function of this name."""
        return instructions(truth)

    def warm_up(self) -> None:
        """Further read the languages' profiles."""
        super().warm_up()
        resources.language("A sentence in English.")


def instructions(truth: Any) -> list[Instruction]:
    """The instructions of a ground truth, in any form.

    Raises:
        Unusable: it has none of the forms, or an instruction in it is unknown or lacks an argument; the message names
            it.
    """
    if is_list(truth):
        return labelled(truth)
    truth = mapping(truth, _FORMS)
    if "func_name" not in truth:
        return [instruction(name, given) for name, given in columns(truth, _FORMS)]
    # As open-instruct: the answer is checked, however blank; without any argument field, the whole reply.
    arguments = {name: value for name, value in truth.items() if name != "func_name"}
    name = str(truth["func_name"])
    check = make(FUNCTIONS, name, {argument: value for argument, value in arguments.items() if value is not None})
    return [Instruction(name, check, of_answer=bool(arguments), blank_fails=False)]
