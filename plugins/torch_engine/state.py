"""Weights and optimizer state to disk and back, exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aftertrain.core.errors import CheckpointError
from aftertrain.core.ground.reading import CURE, read_json

WEIGHTS, MOMENTS, ABOUT = "weights.safetensors", "moments.safetensors", "engine.json"
FULL = frozenset({"exp_avg", "exp_avg_sq"})
"""Moments of a weight's own shape; others are an 8-bit optimizer's."""


@dataclass(frozen=True)
class About:
    """Content of `engine.json`.

    Attributes:
        optimizer: None where the state has none.
        steps: the optimizer's count for each parameter.
    """

    optimizer: str | None
    steps: dict[str, float]


def write_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Write `weights.safetensors`, and with an optimizer `moments.safetensors` and its counts in `engine.json`.

    Weights that are not trained (under adapters) are those of the model's folder, and are left out.
    """
    save_file({name: p.detach().contiguous() for name, p in _written(model, optimizer).items()}, folder / WEIGHTS)
    steps: dict[str, float] = {}
    if optimizer is not None:
        moments: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            state = optimizer.state.get(parameter)
            if state:
                steps[name] = float(state["step"])
                moments |= {
                    f"{key}.{name}": value
                    for key, value in state.items()
                    if key != "step" and isinstance(value, Tensor)
                }
        save_file(moments, folder / MOMENTS)
    about = {"optimizer": None if optimizer is None else "adamw", "steps": steps}
    (folder / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")


def read_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Copy what `write_state` wrote into the allocated tensors.

    Raises:
        CheckpointError: a file is missing or unreadable, or of another model or optimizer.
    """
    about = read_json(folder / ABOUT, About, error=CheckpointError, cure=CURE)
    if (about.optimizer is None) != (optimizer is None):
        raise CheckpointError(
            f"{folder}: the state was written {'with' if optimizer is None else 'without'} an optimizer"
        )
    parameters = _written(model, optimizer)
    _copy(folder / WEIGHTS, {name: parameter.data for name, parameter in parameters.items()})
    if optimizer is None:
        return
    moments: dict[str, dict[str, Tensor]] = {}
    for entry, value in _load(folder / MOMENTS).items():
        key, _, name = entry.partition(".")
        moments.setdefault(name, {})[key] = value
    optimizer.state.clear()
    for name, steps in about.steps.items():
        if name not in parameters:
            raise CheckpointError(f"{folder / ABOUT}: the model has no parameter {name!r}")
        parameter = parameters[name]
        state: dict[str, Any] = {
            key: value.to(parameter.device).clone() for key, value in moments.get(name, {}).items()
        }
        if not state:
            raise CheckpointError(f"{folder / MOMENTS}: of another model: it holds nothing of {name!r}")
        for key, value in state.items():
            if value.shape != parameter.shape and key in FULL:
                raise CheckpointError(
                    f"{folder / MOMENTS}: {key}.{name} is {tuple(value.shape)}, the weight is {tuple(parameter.shape)}"
                )
        if isinstance(optimizer, torch.optim.AdamW):
            where = parameter.device if optimizer.defaults["fused"] else torch.device("cpu")
            state["step"] = torch.tensor(steps, dtype=torch.float32, device=where)
        else:
            state["step"] = int(steps)
        optimizer.state[parameter] = state


def _written(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, nn.Parameter]:
    named = dict(model.named_parameters())
    return named if optimizer is None else {name: p for name, p in named.items() if p.requires_grad}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: unreadable: {error}") from error


def _copy(path: Path, targets: dict[str, Tensor]) -> None:
    weights = _load(path)
    if weights.keys() != targets.keys():
        odd = sorted(weights.keys() ^ targets.keys())
        raise CheckpointError(f"{path}: of another model: {', '.join(odd[:5])} on one side only")
    for name, target in targets.items():
        weight = weights[name]
        if weight.shape != target.shape or weight.dtype != target.dtype:
            raise CheckpointError(
                f"{path}: {name} is {weight.dtype} {tuple(weight.shape)}, "
                f"the model's is {target.dtype} {tuple(target.shape)}"
            )
        target.copy_(weight)
