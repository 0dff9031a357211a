"""What benchmarks of programs share: how replies are drawn, where they end, and pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from aftertrain.core.benchmark import ReplyBenchmark
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, pass_at
from aftertrain.core.generator import Sampling
from aftertrain.plugins.code.task_settings import ProgramTaskSettings

S = TypeVar("S", bound=ProgramTaskSettings)


class ProgramTask(ReplyBenchmark[S]):
    """Replies that are programs, of which each passes or does not.

    Attributes:
        ks: for pass@k, the headline first.
    """

    joint = ""
    ks: ClassVar[tuple[int, ...]]

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
