"""What benchmarks of programs share: how replies are drawn, where they end, and pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from aftertrain.core.benchmark import ReplyBenchmark
from aftertrain.core.benchmark.rows import digest
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, pass_at
from aftertrain.core.generator import Sampling
from aftertrain.core.records import JSON
from aftertrain.plugins.code.task_settings import ProgramTaskSettings

S = TypeVar("S", bound=ProgramTaskSettings)


class ProgramTask(ReplyBenchmark[S]):
    """Replies that are programs, of which each passes or does not.

    What tests a program is kept here and not in an instance's target, which is saved with every reply: tests of
    HumanEval+ are megabytes. The target is their digest.

    Attributes:
        ks: for pass@k, the headline first.
    """

    joint = ""
    ks: ClassVar[tuple[int, ...]]

    @cached_property
    def _tests(self) -> dict[str, dict[str, Any]]:
        return {}

    def kept(self, fields: dict[str, Any]) -> JSON:
        """Keep what tests the programs of a question; its target."""
        target = digest(fields)
        self._tests[target] = fields
        return target

    def tests_of(self, instance: Instance) -> dict[str, Any]:
        """What `kept` has kept for this instance."""
        super().instances()
        return self._tests[str(instance.target)]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Whether a program passes."""
        return ("passed",)

    @property
    def samples(self) -> int:
        """The setting."""
        return self.settings.samples

    def sampling(self) -> Sampling:
        """As the settings say, with the benchmark's stops."""
        chosen = self.settings
        drawn = {"top_p": chosen.top_p} if chosen.temperature else {}
        return Sampling(max_new_tokens=chosen.max_new_tokens, temperature=chosen.temperature, stop=self.stop, **drawn)

    def figures(self) -> Sequence[Figure]:
        """pass@k without bias, of a question's replies together."""
        ks = self.settings.k or tuple(k for k in self.ks if k <= self.settings.samples)
        return [pass_at("passed", k) for k in ks]

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """Run one program."""
        return self.judge_all([(instance, text)])[0]

    def cut(self, text: str) -> str:
        """A reply up to the first stop string, whoever made it: servers take few of them, or none."""
        return text[: min((place for stop in self.stop if (place := text.find(stop)) >= 0), default=len(text))]
