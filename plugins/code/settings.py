"""Settings of the verifier of programs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import PositiveInt
from aftertrain.core.text.answer import AnswerSettings

Seconds = Annotated[float, Field(gt=0, le=3600)]


class CodeSettings(AnswerSettings):
    """How a program is found in a reply, tested and scored."""

    extract: Literal["last_fence", "first_fence", "all"] = Field(
        "last_fence",
        description="last_fence: the last Python block between ``` fences, else the last block, else the whole reply; "
        "first_fence: the first instead of the last; all: the whole reply.",
    )
    score: Literal["all_pass", "pass_rate"] = Field(
        "all_pass",
        description="all_pass: 1 when every test passes, else 0; pass_rate: the share of tests that pass. HumanEval's "
        "check function is one test.",
    )
    tests: Literal["auto", "pytest"] = Field(
        "auto",
        description="auto: ground truths in the forms of HumanEval, MBPP, APPS, LiveCodeBench or asserts; pytest: the "
        "source of a test module, as a text or under the key test.",
    )
    module: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$"), UsedIf("tests", "pytest")] = Field(
        "solution", description="Name by which tests for pytest import the program."
    )
    timeout: Seconds = Field(3.0, description="Seconds for each test (3 in HumanEval's own harness), and for loading.")
    case_timeout: Seconds = Field(
        60.0, description="Seconds for all tests of one reply; what is left then is too late."
    )
    memory_mib: Annotated[int, Field(ge=64)] = Field(
        1024, description="Mebibytes of memory, of each process and of all processes of the program together."
    )
    processes: PositiveInt = Field(16, description="Processes and threads that the program may have at a time.")
    scratch_mib: PositiveInt = Field(64, description="Mebibytes that the program may write in its scratch folder.")
    output_kib: PositiveInt = Field(4096, description="Kibibytes that the program may print.")
    tolerance: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        0.0,
        description="Of printed output: how far a number may lie from an expected one that is written with a point or "
        "an exponent, absolutely or relative to it, whichever is more; whole numbers are exact.",
    )
    packages: bool = Field(
        False,
        description="Whether programs may import the packages installed beside aftertrain (NumPy); without, a score "
        "does not depend on what this machine has.",
    )
    sandbox: Literal["auto", "required"] = Field(
        "auto",
        description="auto: the best isolation that this machine has, with a warning where it is none; required: refuse "
        "to start where programs cannot be kept from network and files. `aftertrain doctor` tells which there is.",
    )

    @model_validator(mode="after")
    def _time_for_one(self) -> Self:
        if self.case_timeout < self.timeout:
            raise ValueError(
                f"case_timeout ({self.case_timeout:g}) is less than timeout ({self.timeout:g}), of one test"
            )
        return self
