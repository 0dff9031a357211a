"""Observers: the console, TensorBoard, Weights & Biases. `events.jsonl` is the core's own and always written."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

_HERE = "aftertrain.plugins.observers"
_SETTINGS = f"{_HERE}.settings"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the observers."""
    registry.add(
        "observer",
        "console",
        f"{_HERE}.console:Console",
        f"{_SETTINGS}:ConsoleSettings",
        "progress on standard output: a live view on a terminal, plain lines elsewhere",
    )
    registry.add(
        "observer",
        "tensorboard",
        f"{_HERE}.tensorboard:TensorBoard",
        f"{_SETTINGS}:TensorBoardSettings",
        "curves and samples for TensorBoard, in the run's folder",
    )
    registry.add(
        "observer",
        "wandb",
        f"{_HERE}.wandb:WeightsAndBiases",
        f"{_SETTINGS}:WandbSettings",
        "curves and samples for Weights & Biases (pip install 'aftertrain[wandb]')",
    )
