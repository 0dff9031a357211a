"""Errors a user can meet. Each says what was asked, what was found, where, and what mends it.

`AftertrainError` and its children are for mistakes outside the program (a recipe, a file, a machine); the CLI prints
their message without a traceback and exits with `exit_code`. A defect inside aftertrain keeps its traceback.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aftertrain.core.ground.redaction import redacted

LONGEST = 200
"""Characters of a name or path that a message repeats."""


class AftertrainError(Exception):
    """Base of all errors that carry a message meant for the user; secrets in it are hidden."""

    exit_code = 1

    def __str__(self) -> str:
        return redacted(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        """Back from another process without `__init__`, whose arguments are not those of the message."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[AftertrainError], arguments: tuple[Any, ...], state: dict[str, Any]) -> AftertrainError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(state)
    return error


@dataclass(frozen=True, slots=True)
class Issue:
    """One mistake in a recipe: where it stands, what is wrong, and the cure.

    Attributes:
        where: `file:line:column`, or the source of an override such as `command line`.
        path: dotted path of the setting, `stages.dpo.loss.beta`.
        message: what is wrong, what was expected, and the nearest match.
    """

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        path = self.path if len(self.path) <= LONGEST else f"{self.path[:LONGEST]}…"
        return f"{self.where} {path}: {self.message}" if path else f"{self.where}: {self.message}"


class RecipeError(AftertrainError):
    """All mistakes of one recipe, collected and raised once."""

    exit_code = 2

    def __init__(self, issues: Iterable[Issue]) -> None:
        self.issues = tuple(issues)
        super().__init__("\n".join(str(issue) for issue in self.issues))


class UnknownName(AftertrainError):
    """A name that no table holds; the message lists what there is and the nearest match."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], *, note: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        super().__init__(unknown(kind, name, self.known) + (f" {note}" if note else ""))


class PluginError(AftertrainError):
    """A plugin that is broken, blocked, incompatible or clashing, and was asked for."""

    exit_code = 2


class MissingExtra(AftertrainError):
    """An optional package that is not installed; the message ends with the line that installs it."""

    exit_code = 2

    def __init__(self, package: str, extra: str, used_by: str) -> None:
        super().__init__(f"{used_by} needs the package {package!r}: pip install 'aftertrain[{extra}]'")


class DataError(AftertrainError):
    """A row or file that cannot be used; the message names file, line and field."""


class NotMade(DataError):
    """Rows of a stage that is not done."""


class Unavailable(DataError):
    """Something that a task needs is not here: rows, a judge. In a suite its row is missing, and said to be."""


class Unreachable(Unavailable):
    """A data set that is not on this machine and that its hub does not hand out; the recipe itself may be sound."""


class ModelError(AftertrainError):
    """A model or tokenizer folder that cannot be read or does not fit the recipe."""


class NumericsError(AftertrainError):
    """A loss, gradient or reward that is not finite; names step and rows."""


class BrokenWeights(NumericsError):
    """An update has left weights that are not finite, so that nothing can be gone on with but the last checkpoint."""


class CheckpointError(AftertrainError):
    """A checkpoint that cannot be written or is damaged."""


class RunError(AftertrainError):
    """A run that cannot start or go on: locked or unwritable folder, other threads, deadline passed."""


class RankLost(RunError):
    """Another process of the run is gone; which one, and why, is for its own output or the launcher to tell."""


class Interrupted(AftertrainError):
    """The user asked to stop; the last state is saved."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The entry of `known` most like `name`, or None when nothing is close; of equals, one that begins alike.

    >>> nearest("dppo", ["dpo", "ppo", "simpo"])
    'dpo'
    """
    close = difflib.get_close_matches(name[:LONGEST], list(known), n=5, cutoff=0.6)

    def likeness(entry: str) -> tuple[float, int]:
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(entry, name, strict=False))
        return difflib.SequenceMatcher(None, entry, name).ratio(), sum(1 for _ in alike)

    return max(close, key=likeness, default=None)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The one sentence for every failed lookup.

    >>> unknown("loss", "dppo", ["simpo", "dpo"])
    "no loss named 'dppo'. Did you mean 'dpo'? There are: dpo, simpo."
    """
    names = sorted(known)
    guess = nearest(name, names)
    hint = f" Did you mean {guess!r}?" if guess else ""
    there = f" There are: {', '.join(names)}." if names else " There are none."
    asked = repr(name) if len(name) <= LONGEST else f"{name[:LONGEST]!r}…"
    return f"no {kind} named {asked}.{hint}{there}"
