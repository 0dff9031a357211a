"""Low-rank adapters through peft: put into a model, merged into its weights, saved alone."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.core.learning.seeding import global_seed
from aftertrain.plugins.torch_engine.origin import origin, write_card
from aftertrain.plugins.torch_engine.settings import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "default"


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
        exclude_modules=[outputs, *_special(model)],
    )
    try:
        with global_seed(seed), warnings.catch_warnings():
            # peft looks for a rank of its own for fused experts before it has found them.
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning)
            inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    except ValueError as error:
        names = sorted({name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        raise ModelError(f"engine.lora.targets: {error} Linear layers of the model: {', '.join(names)}") from error
    if head is not None:
        head.requires_grad_(True)


def _special(model: nn.Module) -> list[str]:
    """Linear layers with a forward of their own (PhiMoE's routers): an adapter would add to what is no product."""
    return [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and type(part).forward is not nn.Linear.forward
    ]


def merged_state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names as in the plain model's state, and weights with what their adapters add.

    An adapted layer, or a module whose parameters are adapted (experts that are stored in one tensor), lies inside one
    wrapper for each of its adapted parameters; their names are left out of the weights' own.
    """
    wrappers, added = _wrappers(model), _added(model)
    for name, tensor in model.state_dict().items():
        plain, own = _unwrapped(name, wrappers)
        if own:
            continue
        for layer in added.get(plain, ()):
            with torch.no_grad():
                tensor = tensor + layer.get_delta_weight(ADAPTER)  # noqa: PLW2901
        yield plain, tensor


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """What an adapter's file holds, by the names in it: the adapters, and a scalar head beside them."""
    from peft import get_peft_model_state_dict

    # Embeddings are never trained whole beside adapters; to find that out peft would ask the hub for the base.
    state = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    head: Any = getattr(model, "score", None)
    if head is not None:
        state |= {"score.weight": head.weight.detach()}
    return {f"base_model.model.{name}": tensor.detach().contiguous() for name, tensor in state.items()}


def save_adapters(model: nn.Module, folder: Path, base: str) -> None:
    """Write `adapter_model.safetensors`, `adapter_config.json` and a card, which peft loads onto the folder `base`.

    The base is named as the hub names it, or not at all: a path of this machine would lead nowhere on another.
    """
    from safetensors.torch import save_file

    configs: Any = model.peft_config
    config = configs[ADAPTER]
    on_hub = origin(base)
    config.base_model_name_or_path, config.revision = (on_hub.name, on_hub.revision) if on_hub else (None, None)
    config.task_type = "SEQ_CLS" if hasattr(model, "score") else "CAUSAL_LM"
    config.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    save_file(adapter_state(model), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    write_card(folder, base, config.task_type)


def _wrappers(model: nn.Module) -> dict[str, Any]:
    """The modules that peft put around others, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: part for name, part in model.named_modules() if isinstance(part, BaseTunerLayer)}


def _unwrapped(name: str, wrappers: Collection[str]) -> tuple[str, bool]:
    """A name without the steps from wrappers to what they wrap, and whether the weight is a wrapper's own."""
    parts = name.split(".")
    plain, own = parts[:1], False
    for n, part in enumerate(parts[1:], 1):
        wrapped = ".".join(parts[:n]) in wrappers
        if wrapped:
            own = part != "base_layer"
        if own or not wrapped:
            plain.append(part)
    return ".".join(plain), own


def _added(model: nn.Module) -> dict[str, list[Any]]:
    """For each adapted weight, by its plain name, the wrappers that add to it."""
    wrappers = _wrappers(model)
    added: dict[str, list[Any]] = {}
    for name, layer in wrappers.items():
        weight = f"{_unwrapped(name, wrappers)[0]}.{getattr(layer, 'parameter_name', 'weight')}"
        added.setdefault(weight, []).append(layer)
    return added
