"""IFEval and IFEval-OOD as evaluation tasks: what share of prompts, and of instructions, do replies follow? (F46)

Strict judges the reply as it is, loose takes any of eight readings of it. A prompt is followed when all its
instructions are; V(I, R) = Σ wᵢ·vᵢ(I, R) is the weighted share of its checks that are met.
"""

from __future__ import annotations

import random
import string
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Source
from aftertrain.core.benchmark.rows import digest, need
from aftertrain.core.errors import AftertrainError, DataError, Unavailable, unknown
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, mean, ratio
from aftertrain.core.records import JSON
from aftertrain.plugins.instructions import resources
from aftertrain.plugins.instructions.by_kind import Mode, of_kind, over_kinds
from aftertrain.plugins.instructions.ifbench import truth
from aftertrain.plugins.instructions.ifbench.kinds import IFBENCH, TULU
from aftertrain.plugins.instructions.ifeval import google
from aftertrain.plugins.instructions.kind import Instruction, Lacking, Unusable
from aftertrain.plugins.instructions.label import columns
from aftertrain.plugins.instructions.score import score
from aftertrain.plugins.instructions.settings import IFEvalOODTaskSettings, IFEvalTaskSettings, InstructionTaskSettings
from aftertrain.plugins.instructions.verifier import followed_both

S = TypeVar("S", bound=InstructionTaskSettings)
FORM = "the columns instruction_id_list and kwargs"
METRICS = (
    "prompt_level_loose_acc",
    "prompt_level_strict_acc",
    "weighted_checks",
    "weighted_checks_strict",
    "followed_loose",
    "followed_strict",
    "instructions",
)
SHOWN = 5
"""Questions that an error names."""


@dataclass(frozen=True, slots=True)
class Checks:
    """A question's instructions, ready to check, with their weights; or why they cannot be checked here."""

    asked: tuple[Instruction, ...]
    weights: tuple[float, ...]
    missing: str = ""


class InstructionTask(ReplyBenchmark[S]):
    """Prompts with instructions that a program checks, in the columns of google/IFEval."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Prompt level first; the last three are counts, of which the instruction-level rates are made."""
        return METRICS

    @property
    @abstractmethod
    def kinds(self) -> Collection[str]:
        """Ids that a row may name."""

    @abstractmethod
    def instruction(self, question: str, place: int, name: str, given: Mapping[str, Any]) -> Instruction:
        """One instruction of a question.

        Raises:
            Unusable: it cannot be checked.
        """

    def question(self, row: Row, source: Source) -> Question:
        """A row: its prompt as it is; arguments that are null are left out."""
        id_ = need(row.fields, "key", (int, str), row.where)
        asked = {column: need(row.fields, column, list, row.where) for column in ("instruction_id_list", "kwargs")}
        try:
            named = columns(asked, FORM)
        except Unusable as problem:
            raise DataError(f"{row.where}: {problem}") from None
        for name, _ in named:
            if name not in self.kinds:
                raise DataError(f"{row.where}: {unknown('instruction', name, self.kinds)}")
        kept = [{key: value for key, value in given.items() if value is not None} for _, given in named]
        target = {"instruction_id_list": [name for name, _ in named], "kwargs": kept}
        return Question(str(id_), row.text("prompt"), target)

    def instances(self) -> Sequence[Instance]:
        """The prompts in the order of the split; each can be checked.

        Raises:
            DataError: a row does not fit, or all its weights are 0.
            Unavailable: something that checks need is not on this machine, and `missing` is `stop`.
        """
        instances = super().instances()
        lacking = {id_: checks.missing for id_, checks in self._checks.items() if checks.missing}
        if lacking and self.settings.missing == "stop":
            reasons = "; ".join(dict.fromkeys(lacking.values()))
            named = ", ".join(list(lacking)[:SHOWN]) + " …" * (len(lacking) > SHOWN)
            raise Unavailable(
                f"task {self.task!r}: {len(lacking):,} of {len(instances):,} questions cannot be checked here "
                f"({named}): {reasons}. missing=keep asks all and counts these as not judged"
            )
        return instances

    @cached_property
    def _checks(self) -> dict[str, Checks]:
        return {instance.id: self._checks_of(instance) for instance in super().instances()}

    def _checks_of(self, instance: Instance) -> Checks:
        target: Any = instance.target
        named = list(zip(target["instruction_id_list"], target["kwargs"], strict=True))
        weights = tuple(self.settings.weights.get(name, 1.0) for name, _ in named)
        if not any(weights):
            raise DataError(f"task {self.task!r}: question {instance.id!r}: the weights of all its instructions are 0")
        try:
            asked = [self.instruction(instance.id, place, *pair) for place, pair in enumerate(named)]
        except Lacking as lack:
            return Checks((), weights, str(lack))
        except Unusable as problem:
            raise DataError(f"task {self.task!r}: question {instance.id!r}: {problem}") from None
        return Checks(tuple(asked), weights)

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """Both readings of one reply."""
        checks = self._checks.get(instance.id) or self._checks_of(instance)
        if checks.missing:
            return self._unjudged(instance, checks.missing)
        strict, loose = followed_both(checks.asked, text)
        marks = (f"{i.name} {_MARKS[s, follows]}" for i, s, follows in zip(checks.asked, strict, loose, strict=True))
        return InstanceScore(
            {
                "prompt_level_loose_acc": float(all(loose)),
                "prompt_level_strict_acc": float(all(strict)),
                "weighted_checks": score(checks.weights, loose, "instruction"),
                "weighted_checks_strict": score(checks.weights, strict, "instruction"),
                "followed_loose": float(sum(loose)),
                "followed_strict": float(sum(strict)),
                "instructions": float(len(checks.asked)),
            },
            detail="; ".join(marks),
            parts={
                "loose": [[i.name, follows] for i, follows in zip(checks.asked, loose, strict=True)],
                "strict": [[i.name, follows] for i, follows in zip(checks.asked, strict, strict=True)],
            },
        )

    def _unjudged(self, instance: Instance, why: str) -> InstanceScore:
        """Of a question that cannot be checked here; its instructions count among those that were asked."""
        target: Any = instance.target
        none: list[JSON] = [[name, False] for name in target["instruction_id_list"]]
        metrics = {**dict.fromkeys(METRICS, 0.0), "instructions": float(len(none))}
        return InstanceScore(metrics, outcome="error", detail=why, parts={"loose": none, "strict": none})

    def figures(self) -> Sequence[Figure]:
        """Prompt level; instruction level over all instructions (micro) and over kinds (macro); V (F46)."""
        modes: tuple[Mode, ...] = ("loose", "strict")
        prompts = [mean(f"prompt_level_{mode}_acc") for mode in modes]
        micro = [
            replace(ratio(f"inst_level_{mode}_acc", f"followed_{mode}", "instructions"), share=True) for mode in modes
        ]
        macro = [over_kinds(f"inst_level_{mode}_acc (macro)", mode) for mode in modes]
        kinds = [of_kind(kind) for kind in self._present] if self.settings.by_kind else []
        return [*prompts, *micro, *macro, mean("weighted_checks"), mean("weighted_checks_strict"), *kinds]

    @cached_property
    def _present(self) -> list[str]:
        """Kinds that some prompt asks for."""
        targets: list[Any] = [instance.target for instance in super().instances()]
        return sorted({name for target in targets for name in target["instruction_id_list"]})

    def fingerprint(self) -> str:
        """Prompts, instructions, weights, and faults of the reference that are kept."""
        rules = {name: value for name, value in self.settings.affecting().items() if name in _RULES}
        return digest([super().fingerprint(), rules])


_RULES = frozenset({"weights", "compat", "kinds"})
_MARKS = {(True, True): "yes", (False, True): "loosely", (False, False): "no"}


class IFEvalTask(InstructionTask[IFEvalTaskSettings]):
    """IFEval (Zhou et al. 2023) as Tülu 3 has it (OLMES `ifeval::tulu`): 541 prompts of 25 kinds."""

    Config = IFEvalTaskSettings
    task = "ifeval"
    sources = (Source("google/IFEval", "default", "train"),)

    @property
    def kinds(self) -> Collection[str]:
        """Google's."""
        return google.KINDS

    def instances(self) -> Sequence[Instance]:
        """The prompts; what checks need is looked for first.

        Raises:
            Unavailable: NLTK's sentence model or langdetect is not on this machine.
        """
        try:
            resources.require("punkt", "langdetect", used_by=f"task {self.task!r}")
        except AftertrainError as error:
            raise Unavailable(str(error)) from error
        return super().instances()

    def instruction(self, question: str, place: int, name: str, given: Mapping[str, Any]) -> Instruction:
        """As the verifier `ifeval` has it; with `compat` a letter that is none becomes a random one."""
        if self.settings.compat and name == "keywords:letter_frequency" and not _is_letter(given.get("letter")):
            # The reference draws anew in each run, and once more between strict and loose.
            given = {**given, "letter": random.Random(f"{question}/{place}").choice(string.ascii_letters)}
        return google.instruction(name, given)


class IFEvalOOD(InstructionTask[IFEvalOODTaskSettings]):
    """IFEval-OOD: Tülu 3's 52 kinds, whose prompts were never published, or IFBench's 58 (Pyatkin et al. 2025)."""

    Config = IFEvalOODTaskSettings
    hub: ClassVar[Source] = Source("allenai/IFBench_test", "default", "train")
    unpublished: ClassVar[Source] = Source(
        "tulu3-ifeval-ood",
        "default",
        "test",
        unpublished="the prompts of Tülu 3's IFEval-OOD were not published; IFBench's are another set, kinds=ifbench",
    )

    @property
    def task(self) -> str:  # type: ignore[override]
        """Each set has a name of its own in a `data.yaml`: they are different rows."""
        return "ifbench" if self.settings.kinds == "ifbench" else "ifeval_ood"

    @property
    def sources(self) -> tuple[Source, ...]:  # type: ignore[override]
        """Those of the setting `kinds`."""
        return (self.hub if self.settings.kinds == "ifbench" else self.unpublished,)

    @property
    def kinds(self) -> Collection[str]:
        """Those of the setting of this name."""
        return IFBENCH if self.settings.kinds == "ifbench" else TULU

    def instruction(self, question: str, place: int, name: str, given: Mapping[str, Any]) -> Instruction:
        """As the verifier `ifbench` has it."""
        return truth.instruction(name, given)


def _is_letter(value: object) -> bool:
    return isinstance(value, str) and len(value) == 1 and "a" <= value.lower() <= "z"
