"""Environments: what answers a policy's replies, turn by turn."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
_HERE = "aftertrain.plugins.environments"
ROWS = {
    "single_turn": ("single_turn:SingleTurn", "SingleTurnSettings", "one reply to a prompt, and nothing answers it"),
    "calculator": ("calculator:Calculator", "CalculatorSettings", "a tool that works out sums, exactly"),
    "python": ("python:Python", "PythonSettings", "a tool that runs Python programs in the sandbox"),
    "guess_number": (
        "guess_number:GuessNumber",
        "GuessNumberSettings",
        "a game: guess a number that depends on the seed, told higher or lower",
    ),
    "trl": ("trl:TRL", "TRLSettings", "an environment class as TRL's environment_factory takes it"),
    "verifiers": (
        "verifiers:Verifiers",
        "VerifiersSettings",
        "a taskset of the package verifiers (Prime Intellect), in a Python of its own",
    ),
}
"""Class, settings and summary by name."""


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the rows."""
    for name, (component, settings, summary) in ROWS.items():
        registry.add("environment", name, f"{_HERE}.{component}", f"{_HERE}.settings:{settings}", summary)
    registry.add(
        "dataset",
        "verifiers",
        f"{_HERE}.tasks:Tasks",
        f"{_HERE}.settings:TasksSettings",
        "the tasks of a taskset of the package verifiers (Prime Intellect)",
    )
