"""Observers: the console, TensorBoard, Weights & Biases. `events.jsonl` is the core's own and always written."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

HERE = "aftertrain.plugins.observers"
ROWS = (
    ("console", "Console", "Console", "progress on standard output: a live view on a terminal, plain lines elsewhere"),
    ("tensorboard", "TensorBoard", "TensorBoard", "curves and samples for TensorBoard, in the run's folder"),
    ("wandb", "WeightsAndBiases", "Wandb", "curves and samples for Weights & Biases (pip install 'aftertrain[wandb]')"),
)
"""Name, which is also the module's, class, what its settings are named after, and summary."""


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the observers."""
    for name, component, settings, summary in ROWS:
        registry.add("observer", name, f"{HERE}.{name}:{component}", f"{HERE}.settings:{settings}Settings", summary)
