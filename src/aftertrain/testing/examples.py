"""Examples that a plugin gives of its own components, so that the kit can make and try them.

They stand in the plugin's registering module or, better, in a module `examples` beside it, which nothing imports but
this kit:

    EXAMPLES = {
        ("loss", "acme/margin"): {"margin": 0.5},
        ("dataset", "acme/lines"): lines_example,   # a function from an empty folder to settings, writing files into it
    }
    CASES = {"acme/contains": [("the answer is 4", "4", 1.0), ("five", "4", 0.0), ("", "4", "unparsable")]}

A component whose settings all have defaults needs no entry in `EXAMPLES`. `CASES` holds, for each verifier, responses
with ground truth and the value or outcome they must get; at least one of value 0.0.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from aftertrain.registry.tables import Origin
from aftertrain.testing.promise import Case

Example = Mapping[str, Any] | Callable[[Path], Mapping[str, Any]]


def example(origin: Origin, kind: str, name: str, folder: Path) -> Mapping[str, Any]:
    """The plugin's example for one component, empty when it gives none."""
    settings: Example = _find(origin, "EXAMPLES").get((kind, name), {})
    return settings(folder) if callable(settings) else settings


def cases(origin: Origin, name: str) -> Sequence[Case]:
    """The plugin's cases of known outcome for one verifier."""
    return cast("Sequence[Case]", _find(origin, "CASES").get(name, ()))


def _find(origin: Origin, attribute: str) -> Mapping[Any, Any]:
    for name in (origin.module, _beside(origin.module)):
        if name and hasattr(module := importlib.import_module(name), attribute):
            return cast("Mapping[Any, Any]", getattr(module, attribute))
    return {}


def _beside(module: str) -> str | None:
    """Name of the module `examples` beside a registering module, if there is one."""
    package = module if hasattr(importlib.import_module(module), "__path__") else module.rpartition(".")[0]
    if not package:
        return None
    name = f"{package}.examples"
    return name if importlib.util.find_spec(name) is not None else None
