"""Low-rank adapters through peft: put into a model, merged into its weights, saved alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.core.seeding import global_seed
from aftertrain.plugins.torch_engine.settings import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "default"
BASE = ".base_layer."


def add_adapters(model: PreTrainedModel, settings: Lora, seed: int) -> None:
    """Freeze the model and put adapters in place; their product starts at zero, so that no score changes.

    Raises:
        MissingExtra: peft is not installed.
        ModelError: no layer has a name that was asked for, or the output head has, or one that shares its weight.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise MissingExtra("peft", "lora", "engine.lora") from error
    head: Any = getattr(model, "score", None)
    output: Any = model.get_output_embeddings() if head is None else head  # type: ignore[no-untyped-call]
    (outputs,) = [name for name, part in model.named_modules() if part is output]
    if not isinstance(settings.targets, str) and outputs in settings.targets:
        raise ModelError(f"engine.lora.targets: the output head, {outputs}, cannot have an adapter; leave it out")
    shared = {name for name, part in model.named_modules() if getattr(part, "weight", None) is output.weight}
    for name in shared - {outputs}:
        # The two would part: a folder whose configuration says that they are one cannot hold that.
        if not isinstance(settings.targets, str) and any(f".{name}".endswith(f".{t}") for t in settings.targets):
            raise ModelError(
                f"engine.lora.targets: {name} shares its weight with the output head, {outputs}, which cannot have an "
                "adapter; leave it out"
            )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        target_modules=settings.targets if isinstance(settings.targets, str) else list(settings.targets),
        exclude_modules=[outputs],
    )
    try:
        with global_seed(seed):
            inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    except ValueError as error:
        names = sorted({name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        raise ModelError(f"engine.lora.targets: {error} Linear layers of the model: {', '.join(names)}") from error
    if head is not None:
        head.requires_grad_(True)


def merged_state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names as in the plain model's folder, and weights with what their adapters add."""
    layers = dict(model.named_modules())
    for name, tensor in model.state_dict().items():
        if ".lora_" in name:
            continue
        if BASE in name:
            owner, _, part = name.rpartition(BASE)
            if part == "weight":
                layer: Any = layers[owner]
                with torch.no_grad():
                    tensor = tensor + layer.get_delta_weight(ADAPTER)  # noqa: PLW2901
            yield f"{owner}.{part}", tensor
        else:
            yield name, tensor


def save_adapters(model: nn.Module, folder: Path, base: str) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`, which peft loads onto the folder `base`."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    configs: Any = model.peft_config
    config = configs[ADAPTER]
    config.base_model_name_or_path = base
    config.task_type = "SEQ_CLS" if hasattr(model, "score") else "CAUSAL_LM"
    config.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    state = get_peft_model_state_dict(model, adapter_name=ADAPTER)
    head: Any = getattr(model, "score", None)
    if head is not None:
        state |= {"score.weight": head.weight.detach()}
    save_file(
        {f"base_model.model.{name}": tensor.contiguous() for name, tensor in state.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
