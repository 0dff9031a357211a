"""HumanEval (Chen et al. 2021) and HumanEval+ (Liu et al. 2023) as Tülu 3 has them: OLMES `codex_humaneval::tulu` and
`codex_humanevalplus::tulu`.

A program is the prompt and the reply after it, up to the first stop string. It passes when `check` does, in the sandbox
and in another process than `check` (`aftertrain.core.sandbox`). Too late is failed, as in the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from aftertrain.core.benchmark import Question, Row, Source
from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.records import Message, Verdict, VerificationCase
from aftertrain.plugins.code.code import Code
from aftertrain.plugins.code.program_task import ProgramTask
from aftertrain.plugins.code.settings import CodeSettings
from aftertrain.plugins.code.task_settings import HumanEvalPlusSettings, HumanEvalSettings

COLUMNS = ("prompt", "test", "entry_point", "canonical_solution")


class HumanEval(ProgramTask[HumanEvalSettings]):
    """164 functions to complete; pass@10 of 20 replies."""

    Config = HumanEvalSettings
    task = "humaneval"
    sources = (Source("openai/openai_humaneval", "openai_humaneval", "test"),)
    prefill = "Here is the completed function:\n\n```python\n"
    stop = ("\nclass", "\nif", "\nprint", "\n#", "\n```", "\n```\n\n", "<|eot_id|>")
    ks = (10, 1)
    packages: ClassVar[bool] = False
    """Whether tests may import what is installed beside aftertrain."""

    def question(self, row: Row, source: Source) -> Question:
        """The function's beginning."""
        fields = {column: row.text(column) for column in COLUMNS}
        if not fields["entry_point"].isidentifier() or "def check(" not in fields["test"]:
            raise DataError(
                f"{row.where}: entry_point must name a function and test define check, found "
                f"{fields['entry_point']!r:.80} and {fields['test']!r:.80}"
            )
        return Question(row.text("task_id"), fields["prompt"], self.kept(fields))

    def messages(self, question: Question, examples: Sequence[Question]) -> tuple[Message, ...]:
        """The function's beginning and, with `announced`, how the reply begins; then the beginning of the reply."""
        if not self.settings.chat:
            return (Message("user", question.text + self.prefill),)
        asked = question.text + self.prefill if self.settings.announced else question.text
        return (Message("user", asked), Message("assistant", self.prefill))

    def instances(self) -> Sequence[Instance]:
        """The functions; the sandbox passes the data's own solution of the first.

        Raises:
            DataError: a row does not fit.
            Unavailable: that solution does not pass on this machine.
        """
        instances = super().instances()
        if self._fault:
            raise Unavailable(self._fault)
        return instances

    @cached_property
    def _fault(self) -> str:
        """Why programs cannot be judged on this machine; "" where they can."""
        self._verifier.preflight()
        first = super().instances()[0]
        (score,) = self.judge_all([(first, self.tests_of(first)["canonical_solution"])])
        if score.metrics["passed"]:
            return ""
        return f"task {self.task!r}: the data's own solution of {first.id} does not pass here: {score.detail}"

    @cached_property
    def _verifier(self) -> Code:
        """The whole of a response is a program: no fence, no thoughts are looked for."""
        chosen = self.settings
        settings = CodeSettings(
            extract="all",
            thoughts="keep",
            timeout=chosen.timeout,
            case_timeout=max(60.0, 2 * chosen.timeout),
            memory_mib=chosen.memory_mib,
            packages=self.packages,
            sandbox=chosen.sandbox,
        )
        return Code(settings, self.builder)

    def judge_all(self, cases: Sequence[tuple[Instance, str]]) -> list[InstanceScore]:
        """Run each program once, several at a time."""
        programs = {(instance.id, self.cut(text)): instance for instance, text in cases}
        asked = []
        for (id_, text), instance in programs.items():
            truth = self.tests_of(instance)
            asked.append(VerificationCase(id_, "", truth["prompt"] + text, truth, ""))
        scores = dict(zip(programs, map(score_of, self._verifier.verify(asked)), strict=True))
        return [scores[instance.id, self.cut(text)] for instance, text in cases]

    def fingerprint(self) -> str:
        """Questions, tests, and limits that decide."""
        rules = {name: value for name, value in self.settings.affecting().items() if name in {"timeout", "memory_mib"}}
        return digest([super().fingerprint(), rules, self.stop])


class HumanEvalPlus(HumanEval):
    """The same functions with the tests of EvalPlus, about 80 times as many; those import NumPy."""

    Config = HumanEvalPlusSettings
    task = "humaneval_plus"
    sources = (Source("evalplus/humanevalplus", "default", "test"),)
    packages = True


def score_of(verdict: Verdict) -> InstanceScore:
    """What a verdict of the verifier `code` is worth: time that runs out is the program's failure, as published."""
    outcome = "scored" if verdict.outcome in ("timeout", "unparsable") else verdict.outcome
    return InstanceScore({"passed": verdict.value or 0.0}, outcome=outcome, detail=verdict.detail)
