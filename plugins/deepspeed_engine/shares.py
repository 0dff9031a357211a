"""Weights and optimizer state to disk and back, exactly, whatever the number of ranks.

Each parameter is gathered and written whole by one of the ranks, in turn, so that every rank writes its part of the
bytes and a later run of any number of ranks can read them: `state-<rank>.safetensors`, and `engine.json` with the
steps taken.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from aftertrain.core.errors import CheckpointError
from aftertrain.core.ground.reading import CURE, read_json
from aftertrain.core.ranks import Ranks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ABOUT = "engine.json"
MOMENTS = ("exp_avg", "exp_avg_sq")


def write_state(folder: Path, model: PreTrainedModel, engine: Any, ranks: Ranks) -> None:
    """Write this rank's part; all ranks call it together."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    steps = _steps(engine)
    if steps:
        _link(engine.optimizer)
    mine: dict[str, Tensor] = {}
    for number, (name, parameter) in enumerate(model.named_parameters()):
        gathered = {f"weight.{name}": safe_get_full_fp32_param(parameter)}
        if steps:
            gathered |= {f"{key}.{name}": safe_get_full_optimizer_state(parameter, key) for key in MOMENTS}
        if number % ranks.size == ranks.rank:
            mine |= {key: tensor.detach().to("cpu", copy=True) for key, tensor in gathered.items()}
    save_file(mine, folder / f"state-{ranks.rank}.safetensors")
    if ranks.first:
        about = {"optimizer": "adamw", "engine": "deepspeed", "ranks": ranks.size, "steps": steps}
        (folder / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")


def read_state(folder: Path, model: PreTrainedModel, engine: Any, ranks: Ranks) -> None:
    """Copy what `write_state` wrote, under any number of ranks, into this rank's shares.

    Raises:
        CheckpointError: a file is missing or unreadable, or of another model or engine.
    """
    about = _about(folder / ABOUT)
    if about["steps"]:
        _allocate(engine, about["steps"])
    with ExitStack() as stack:
        files = (folder / f"state-{rank}.safetensors" for rank in range(about["ranks"]))
        parts = [stack.enter_context(_part(file)) for file in files]
        where = {key: part for part in parts for key in part.keys()}  # noqa: SIM118 - not a dict
        for name, parameter in model.named_parameters():
            _set(parameter, _tensor(where, f"weight.{name}", parameter, folder), None, ranks)
            for key in MOMENTS if about["steps"] else ():
                _set(parameter, _tensor(where, f"{key}.{name}", parameter, folder), key, ranks)


def _set(parameter: Any, value: Tensor, key: str | None, ranks: Ranks) -> None:
    """Put this rank's share of a whole tensor into the optimizer's copy, and a weight into the model's own as well."""
    from deepspeed import utils

    if hasattr(parameter, "ds_tensor"):
        own = parameter.ds_tensor
        size = own.numel()
        padded = torch.zeros(size * ranks.size)
        padded[: value.numel()] = value.flatten()
        value = padded[size * ranks.rank : size * (ranks.rank + 1)]
        set_weight, set_moment = utils.safe_set_local_fp32_param, utils.safe_set_local_optimizer_state
    else:
        own = parameter
        set_weight, set_moment = utils.safe_set_full_fp32_param, utils.safe_set_full_optimizer_state
    value = value.to(own.device)
    if key is None:
        own.data.copy_(value)
        set_weight(parameter, value)
    else:
        set_moment(parameter, value, key)


def _inner(engine: Any) -> torch.optim.AdamW:
    """The AdamW that DeepSpeed steps; its parameters are this rank's flat shares."""
    inner: torch.optim.AdamW = engine.optimizer.optimizer
    return inner


def _steps(engine: Any) -> float:
    """Updates that AdamW has made: 0 before the first."""
    return max((float(state["step"]) for state in _inner(engine).state.values() if "step" in state), default=0.0)


def _allocate(engine: Any, steps: float) -> None:
    """AdamW's state, which it would otherwise make at its first step."""
    inner = _inner(engine)
    zero = engine.optimizer
    flat = getattr(zero, "single_partition_of_fp32_groups", None)
    flat = zero.fp32_partitioned_groups_flat if flat is None else flat
    for share in flat:
        inner.state[share] = {"step": torch.tensor(steps, dtype=torch.float32)} | {
            key: torch.zeros_like(share) for key in MOMENTS
        }
    _link(zero)


def _link(zero: Any) -> None:
    """Show ZeRO 1 and 2 where each parameter's moments lie.

    DeepSpeed does so after the first group's first step, when those of the other groups do not exist yet.
    """
    if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()


def _about(path: Path) -> dict[str, Any]:
    about: dict[str, Any] = read_json(path, dict[str, Any], error=CheckpointError, cure=CURE)
    if about.get("engine") != "deepspeed":
        raise CheckpointError(f"{path}: the state was written by another engine; go on with that one, or --restart")
    return about


def _part(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: unreadable: {error}") from error


def _tensor(where: dict[str, Any], key: str, parameter: Any, folder: Path) -> Tensor:
    shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
    if key not in where:
        raise CheckpointError(f"{folder}: of another model: there is no {key}")
    tensor: Tensor = where[key].get_tensor(key)
    if tuple(tensor.shape) != shape:
        raise CheckpointError(f"{folder}: {key} is {tuple(tensor.shape)}, the model's is {shape}")
    return tensor
