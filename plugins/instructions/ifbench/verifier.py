"""The verifier `ifbench`: does a reply follow the out-of-domain instructions of IFBench (Pyatkin et al. 2025)?

The same verdicts as allenai/IFBench at commit db69a6f, whose checks were written anew from their behaviour: without
random arguments, in time linear in the reply. Differences are listed in docs/verifiers/ifbench.md.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from functools import cached_property

from aftertrain.core.errors import MissingExtra
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.text.answer import WHOLE, judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.ifbench.needs import lacking
from aftertrain.plugins.instructions.ifbench.truth import instructions
from aftertrain.plugins.instructions.ifeval.verifier import IFEval
from aftertrain.plugins.instructions.label import is_list
from aftertrain.plugins.instructions.score import score
from aftertrain.plugins.instructions.settings import IFBenchSettings, IFEvalSettings
from aftertrain.plugins.instructions.variants import variants

PACKAGES = ("emoji", "syllapy")


class IFBench(Verifier[IFBenchSettings]):
    """Ground truth: `{"instruction_id_list": [id, ...], "kwargs": [{name: value, ...}, ...]}`, or that as JSON;
    or a list of `{"instruction_id": id, "kwargs": {...}}`, in which ids of IFEval may stand as well."""

    Config = IFBenchSettings

    def preflight(self) -> None:
        """Find NLTK's sentence model and stop words, langdetect, emoji and syllapy.

        The tagger that only words:start_verb needs is not demanded: `objections` names it for such cases.

        Raises:
            MissingExtra: a package is not installed.
            MissingResource: NLTK's data are not installed.
        """
        for package in PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, "verifiers", "verifier 'ifbench'")
        resources.require("punkt", "stopwords", "langdetect", used_by="verifier 'ifbench'")

    def warm_up(self) -> None:
        """Read the sentence model and the stop words.

        Raises:
            AftertrainError: see `preflight`.
        """
        super().warm_up()
        resources.load(*PACKAGES, "langdetect", used_by="verifier 'ifbench'")
        resources.sentences("One. Two.")
        resources.stopwords()

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored in [0, 1]; an error where the ground truth cannot be read or what a kind needs is not installed."""
        return [
            self._mixed.verdict(case)
            if is_list(case.ground_truth)
            else judged(case, self.settings, self._verdict, reference=True, block=False)
            for case in cases
        ]

    @property
    def note(self) -> str:
        """Of the reference's form of ground truths."""
        return f"ifbench {WHOLE}" if self.settings.thoughts is None else ""

    @cached_property
    def _mixed(self) -> IFEval:
        """The verifier of labels that list instructions of IFEval and of IFBench."""
        return IFEval(IFEvalSettings.model_construct(**dict(self.settings)), self.builder)

    def _verdict(self, case: VerificationCase) -> Verdict:
        try:
            asked = instructions(case.ground_truth)
        except ValueError as error:
            return Verdict.error(str(error))
        for instruction in asked:
            for need in instruction.kind.needs:
                if missing := lacking(need):
                    return Verdict.error(f"{instruction.id} needs {missing}")
        followed = [any(map(instruction.followed, self._texts(case.response))) for instruction in asked]
        weights = [self.settings.weights.get(instruction.id, 1.0) for instruction in asked]
        try:
            value = score(weights, followed, self.settings.level)
        except ValueError as error:
            return Verdict.error(str(error))
        told = "; ".join(f"{one.id} {'yes' if does else 'no'}" for one, does in zip(asked, followed, strict=True))
        return Verdict.scored(value, None, f"{self.settings.mode}, {sum(followed)} of {len(asked)} followed: {told}")

    def _texts(self, response: str) -> Iterable[str]:
        return variants(response) if self.settings.mode == "loose" else (response,)
