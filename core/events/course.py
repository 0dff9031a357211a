"""The course of a run and of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aftertrain.core.events.event import Event
from aftertrain.core.records import JSON, Artifact


@dataclass(frozen=True, slots=True)
class Timing:
    """Time taken.

    Attributes:
        seconds: of wall time.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine of a run.

    Attributes:
        cpu: its name.
        capability: vector instructions that torch uses.
        cores: of the CPU.
        memory: bytes.
        gpus: their names.
        system: name and release.
    """

    cpu: str = ""
    capability: str = ""
    cores: int | None = None
    memory: int | None = None
    gpus: tuple[str, ...] = ()
    system: str = ""


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin as it was installed when the run started.

    Attributes:
        plugin: its entry-point name.
        distribution: the installed package that declares it.
        version: of that package.
        module: the registering module.
        file: that module's file.
        state: `ok`, or why it could not be used.
        commit: of a package that was installed from git.
    """

    plugin: str
    distribution: str = ""
    version: str = ""
    module: str = ""
    file: str = ""
    state: str = "ok"
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """An attempt at a run begins.

    Attributes:
        name: the recipe's name.
        recipe: the recipe as it was resolved.
        order: the stages' names in their order.
        hardware: the machine's.
        threads: of the CPU.
        plugins: those that are loaded, with their versions.
        versions: of Python and the main packages.
    """

    event: ClassVar[str] = "run_started"
    name: str
    recipe: Mapping[str, JSON] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    hardware: Hardware | None = None
    threads: int | None = None
    plugins: tuple[LoadedPlugin, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataCheck(Event):
    """The data of a stage are checked before the first stage runs.

    Attributes:
        at: the stage's name.
    """

    event: ClassVar[str] = "data_check"
    at: str


@dataclass(frozen=True, slots=True)
class StageStarted(Event):
    """A stage begins, or goes on.

    Attributes:
        use: name of the stage's component.
        hash: of its settings, code, data and parents.
        why: why it runs instead of being reused.
        resumed_from: step of the checkpoint it goes on from, 0 for none.
        inputs: the parents' names by role.
    """

    event: ClassVar[str] = "stage_started"
    use: str
    hash: str = ""
    why: tuple[str, ...] = ()
    resumed_from: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageReused(Event):
    """A stage was done already under the same hash.

    Attributes:
        hash: of the stage.
        artifact: what it left.
    """

    event: ClassVar[str] = "stage_reused"
    hash: str
    artifact: Artifact | None = None


@dataclass(frozen=True, slots=True)
class Rewind(Event):
    """What was said of the stage's steps after this one no longer holds: they are done again."""

    event: ClassVar[str] = "rewind"


@dataclass(frozen=True, slots=True)
class Checkpointed(Event):
    """A checkpoint of the step was saved.

    Attributes:
        path: its folder, relative to the run's.
    """

    event: ClassVar[str] = "checkpoint"
    path: str


@dataclass(frozen=True, slots=True)
class StageDone(Event):
    """A stage is done.

    Attributes:
        artifact: what it left.
        timing: of this attempt.
    """

    event: ClassVar[str] = "stage_done"
    artifact: Artifact | None = None
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class RunDone(Event):
    """All stages are done.

    Attributes:
        timing: of this attempt.
    """

    event: ClassVar[str] = "run_done"
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class RunFailed(Event):
    """The run ended early.

    Attributes:
        error: its message.
        type: the error's class.
        at: the stage's name, empty outside stages.
        interrupted: whether the user asked to stop.
        traceback: of a defect.
    """

    event: ClassVar[str] = "run_failed"
    error: str
    type: str = ""
    at: str = ""
    interrupted: bool = False
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something a person should know.

    Attributes:
        message: in words.
    """

    event: ClassVar[str] = "warning"
    message: str
