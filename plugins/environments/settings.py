"""Settings of the environments."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.environment import EnvironmentSettings, TurnSettings
from aftertrain.core.settings import PositiveInt, Settings, unhashed
from aftertrain.core.tool_environment import ToolSettings


class SingleTurnSettings(EnvironmentSettings):
    """Settings of the environment `single_turn`, of which there are none."""


class CalculatorSettings(ToolSettings):
    """Settings of the environment `calculator`."""


class PythonSettings(ToolSettings):
    """Settings of the environment `python`: what a program may use."""

    seconds: Annotated[float, Field(gt=0, le=3600)] = Field(3.0, description="Seconds for each program.")
    memory_mib: Annotated[int, Field(ge=64)] = Field(1024, description="Mebibytes of memory for each program.")
    shown: PositiveInt = Field(2000, description="Characters of a program's output that the policy reads.")
    packages: bool = Field(
        False,
        description="Whether programs may import the packages installed beside aftertrain (NumPy); without, an answer "
        "does not depend on what this machine has.",
    )
    sandbox: Literal["auto", "required"] = Field(
        "auto",
        description="auto: the best isolation that this machine has, with a warning where it is none; required: refuse "
        "to start where programs cannot be kept from network and files.",
    )


class GuessNumberSettings(TurnSettings):
    """Settings of the environment `guess_number`."""

    rewards_turns: ClassVar[bool] = True

    lowest: int = Field(1, description="Lowest number that may have to be guessed.")
    highest: int = Field(100, description="Highest number that may have to be guessed.")
    reward: float = Field(1.0, description="Reward of the turn that names the number.")
    miss: float = Field(0.0, description="Reward of a turn that names another one, or none.")

    @model_validator(mode="after")
    def _some_numbers(self) -> Self:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest ({self.lowest}) must be below highest ({self.highest})")
        if self.reward <= self.miss:
            raise ValueError(f"reward ({self.reward:g}) must be above miss ({self.miss:g})")
        return self


class TRLSettings(TurnSettings):
    """Settings of the environment `trl`."""

    rewards_turns: ClassVar[bool] = True

    factory: str = Field(
        pattern=r"^.+:[A-Za-z_]\w*$",
        description="What makes an environment: MODULE:CLASS, or FILE.py:CLASS with the path from the current folder.",
    )
    truth: str = Field("answer", description="Argument of reset that is given the ground truth of the first check.")
    fields: dict[str, Any] = Field(
        {}, description="Further arguments of reset, the same for every problem, as columns of the data set would be."
    )


class TasksetSettings(Settings):
    """A taskset of the package verifiers, and the Python that runs it."""

    taskset: str = Field(description="Name of the taskset's package, as verifiers finds it.")
    options: dict[str, Any] = Field({}, description="The taskset's own settings.")
    roles: tuple[str, ...] = Field(("agent",), description="Seats of its environment that the policy takes.")
    python: str = unhashed(
        description="The Python of an environment in which verifiers and the taskset are installed: "
        "~/verifiers/bin/python."
    )
    path: str | None = unhashed(None, description="Folder in which the taskset lies, where it is not installed.")


class VerifiersSettings(TasksetSettings, TurnSettings):
    """Settings of the environment `verifiers`."""

    rewards_turns: ClassVar[bool] = True


class TasksSettings(TasksetSettings):
    """Settings of the data set `verifiers`."""

    tasks: PositiveInt = Field(1000, description="Tasks, from the first on; fewer where the taskset has fewer.")
