"""The verifier `ifbench`: does a reply follow the out-of-domain instructions of IFBench (Pyatkin et al. 2025)?

The same verdicts as allenai/IFBench at commit db69a6f, whose checks were written anew from their behaviour: without
random arguments, in time linear in the reply. Differences are listed in docs/verifiers/ifbench.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifbench.truth import instructions
from aftertrain.plugins.instructions.kind import Instruction
from aftertrain.plugins.instructions.settings import IFBenchSettings
from aftertrain.plugins.instructions.verifier import InstructionVerifier


class IFBench(InstructionVerifier):
    """Ground truth: `{"instruction_id_list": [id, ...], "kwargs": [{name: value, ...}, ...]}`, or that as JSON;
    or a list of `{"instruction_id": id, "kwargs": {...}}`, in which ids of IFEval may stand as well.

    The tagger that only words:start_verb needs is not demanded before a run: `objections` names it for such cases.
    """

    Config = IFBenchSettings
    name = "ifbench"
    needs = ("emoji", "syllapy", "punkt", "stopwords", "langdetect")

    def instructions(self, truth: Any) -> Sequence[Instruction]:
        """See `truth.instructions`."""
        return instructions(truth)

    def warm_up(self) -> None:
        """Further read the stop words."""
        super().warm_up()
        resources.stopwords()
