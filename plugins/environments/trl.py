"""Environments as TRL's `environment_factory` takes them, without TRL.

The convention (TRL 1.16, `GRPOTrainer`): a class with `reset(**columns)` that returns a text or None, added to the last
turn of the prompt; public methods with types and docstrings, which are the tools; `get_reward()`, or an attribute
`reward` that a reward function reads, asked when the rollout is over.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import importlib.util
import inspect
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from aftertrain.core.environment import Environment, Episode, Observation, Reply
from aftertrain.core.errors import PluginError, unknown
from aftertrain.core.ground.cleaning import described
from aftertrain.core.ground.module_file import module_file
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.records import JSON, Message, Problem, Role
from aftertrain.core.text.tool_calls import Tool, schema_of
from aftertrain.core.tool_environment import ToolEpisode
from aftertrain.plugins.environments.settings import TRLSettings

OWN = ("reset", "get_reward")
"""Public methods that are no tools."""


class TRL(Environment[TRLSettings]):
    """Runs a class that was written for TRL, in a process of its own."""

    Config = TRLSettings
    answers: ClassVar[Role] = "tool"

    @functools.cached_property
    def _schemas(self) -> tuple[JSON, ...]:
        return tuple(map(schema_of, tools_of(self.made())))

    @property
    def tools(self) -> Sequence[JSON]:
        """Of its public methods."""
        return self._schemas

    def made(self) -> Any:
        """A new environment.

        Raises:
            PluginError: there is no such factory, it fails, or what it makes has no reset.
        """
        factory = found(self.settings.factory)
        try:
            environment = factory()
        except Exception as error:
            raise PluginError(f"{self.settings.factory} makes no environment: {described(error)}") from error
        if not callable(getattr(environment, "reset", None)):
            raise PluginError(f"{self.settings.factory}: an environment of TRL's has a method reset; this one has none")
        return environment

    def preflight(self) -> None:
        """Make one, and look at its tools.

        Raises:
            PluginError: see `made`; or a tool lacks types or a docstring.
        """
        self.tools  # noqa: B018 (made when it is looked at)

    def content(self) -> str:
        """Digest of the file that holds the factory."""
        where = self.settings.factory.rpartition(":")[0]
        file = Path(where) if where.endswith(".py") else module_file(where)
        return hashlib.sha256(file.read_bytes()).hexdigest() if file is not None and file.is_file() else ""

    def episode(self) -> Episode:
        """One environment of TRL's."""
        return Rollout(self.made(), self.settings)


class Rollout(Episode):
    """One environment of TRL's, whose randomness is the seed's: `random` and NumPy are seeded before each call."""

    def __init__(self, environment: Any, settings: TRLSettings) -> None:
        self._environment, self._settings = environment, settings
        self._tools = ToolEpisode(tools_of(environment, as_answers=True))
        self._seed, self._turn = 0, 0

    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        """The problem's prompt, with the text that the environment's own reset adds to its last turn."""
        self._seed = seed
        self._seeded()
        columns: dict[str, Any] = {
            **self._settings.fields,
            "prompt": [{"role": message.role, "content": message.content} for message in problem.prompt],
            "id": problem.id,
            "source": problem.source,
            "seed": seed,
        }
        if problem.checks:
            columns[self._settings.truth] = problem.checks[0].ground_truth
        said = awaited(self._environment.reset(**_accepted(self._environment.reset, columns)))
        if said is None:
            return problem.prompt
        if not isinstance(said, str):
            raise TypeError(f"reset returns a text or None, not {said!r:.100}; pictures cannot be shown")
        *before, last = problem.prompt
        return (*before, Message(last.role, last.content + said))

    def step(self, reply: Reply) -> Observation:
        """What the tools say that the reply calls; done where it calls none."""
        self._turn += 1
        self._seeded()
        return self._tools.step(reply)

    def finish(self) -> float:
        """`get_reward()`, else the attribute `reward`, else 0: reward functions of the recipe may judge then."""
        if hasattr(self._environment, "get_reward"):
            return float(awaited(self._environment.get_reward()))
        return float(getattr(self._environment, "reward", 0.0))

    def _seeded(self) -> None:
        """A library that draws from global states draws the same in every episode of this seed."""
        seed = sub_seed(self._seed, "turn", self._turn)
        random.seed(seed)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(seed % 2**32)


def found(factory: str) -> Callable[[], Any]:
    """What MODULE:NAME or FILE.py:NAME names.

    Raises:
        PluginError: it cannot be imported, or holds no such name.
    """
    where, _, name = factory.rpartition(":")
    try:
        module = _file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:
        raise PluginError(f"environment trl: {where} cannot be imported: {described(error)}") from error
    if not hasattr(module, name):
        raise PluginError(f"environment trl: {where}: {unknown('factory', name, vars(module))}")
    made: Callable[[], Any] = getattr(module, name)
    return made


def tools_of(environment: Any, *, as_answers: bool = False) -> list[Tool]:
    """Its public methods, as TRL finds them: the functions of its class, by name.

    Args:
        as_answers: what they raise is their answer, as it is in TRL. Only errors of the machine (a file, a connection)
            are failures of the environment.
    """
    names = [name for name, _ in inspect.getmembers(type(environment), predicate=inspect.isfunction)]
    tools = [getattr(environment, name) for name in names if not name.startswith("_") and name not in OWN]
    return [_answering(tool) for tool in tools] if as_answers else tools


def _answering(tool: Tool) -> Tool:
    @functools.wraps(tool)
    def answer(*args: Any, **kwargs: Any) -> str:
        try:
            return str(awaited(tool(*args, **kwargs)))
        except (OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - TRL hands the model whatever a tool raises
            return str({"error": str(error)})

    return answer


def awaited(value: Any) -> Any:
    """The value, or what comes of it where it is a coroutine."""

    async def wait() -> Any:
        return await value

    return asyncio.run(wait()) if inspect.isawaitable(value) else value


def _accepted(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments that a function takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return arguments
    return {parameter.name: arguments[parameter.name] for parameter in parameters if parameter.name in arguments}


def _file(path: Path) -> Any:
    """A file's module, under a name of its own."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"aftertrain_environment_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no such file: {path.resolve()}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
