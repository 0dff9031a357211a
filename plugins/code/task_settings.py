"""Settings of the benchmarks of programs; the defaults are Tülu 3's protocol."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.benchmark import ReplyBenchmarkSettings
from aftertrain.core.ground.usage import used_unless
from aftertrain.core.settings import Fraction, PositiveInt
from aftertrain.plugins.code.settings import Seconds


class ProgramTaskSettings(ReplyBenchmarkSettings):
    """What all benchmarks of programs have."""

    samples: PositiveInt = Field(1, description="Replies that are drawn to each question.")
    temperature: Annotated[float, Field(ge=0)] = Field(0.0, description="At which replies are drawn; 0 is greedy.")
    top_p: Annotated[Fraction, used_unless("temperature", 0)] = Field(
        1.0, description="Only the likeliest tokens that together have this probability are drawn."
    )
    k: tuple[PositiveInt, ...] | None = Field(
        None, description="For pass@k, the headline first; null takes the protocol's that 'samples' allow."
    )
    timeout: Seconds = Field(3.0, description="Seconds after which a program's tests have failed.")
    memory_mib: Annotated[int, Field(ge=64)] = Field(
        4096, description="Mebibytes of memory, of each process and of all processes of a program together."
    )
    sandbox: Literal["auto", "required"] = Field(
        "auto",
        description="auto: the best isolation that this machine has, with a warning where it is none; required: refuse "
        "to start where programs cannot be kept from network and files.",
    )

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.k is not None and (not self.k or max(self.k) > self.samples or len(set(self.k)) < len(self.k)):
            raise ValueError(f"k must name numbers from 1 to samples ({self.samples}), each once, not {list(self.k)}")
        return self


class HumanEvalSettings(ProgramTaskSettings):
    """Settings of HumanEval."""

    samples: PositiveInt = Field(20, description="Replies that are drawn to each question.")
    temperature: Annotated[float, Field(ge=0)] = Field(0.8, description="At which replies are drawn; 0 is greedy.")
    top_p: Annotated[Fraction, used_unless("temperature", 0)] = Field(
        0.95, description="Only the likeliest tokens that together have this probability are drawn."
    )
    announced: bool = Field(
        True,
        description="End the user's turn with the beginning of the reply, too, as OLMES's code does; false asks with "
        "the function alone.",
    )


class HumanEvalPlusSettings(HumanEvalSettings):
    """Settings of HumanEval+."""

    timeout: Seconds = Field(20.0, description="Seconds after which a program's tests have failed.")


class BigCodeBenchSettings(ProgramTaskSettings):
    """Settings of BigCodeBench-Hard."""

    max_new_tokens: PositiveInt = Field(1280, description="Tokens after which a reply is cut.")
    timeout: Seconds = Field(
        240.0,
        description="Seconds for importing libraries and running the tests of one program: the benchmark's own.",
    )
    memory_mib: Annotated[int, Field(ge=64)] = Field(
        8192, description="Mebibytes of memory, of each process and of all processes of a program together."
    )
    missing: Literal["stop", "keep"] = Field(
        "stop",
        description="Of questions that cannot be judged here, for want of libraries or by 'check': stop before the "
        "first reply, or keep them and count them as not judged.",
    )
    check: Literal["libraries", "solutions"] = Field(
        "libraries",
        description="What is looked for before the first reply. libraries: those that a question's tests import; "
        "solutions: also that the data's own solution passes here, which takes minutes.",
    )
    compat: bool = Field(
        False,
        description="Keep two faults of olmo-eval: 3 seconds in place of 'timeout', and a missing library is a "
        "failure of the program.",
    )
