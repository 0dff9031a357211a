"""What `load` would refuse on this machine, found without weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from aftertrain.core.attention_kernels import choose_kernel
from aftertrain.core.engine import Head
from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.core.model import device_of
from aftertrain.core.quiet import quiet
from aftertrain.core.ranks import current
from aftertrain.plugins.torch_engine.lora import add_adapters
from aftertrain.plugins.torch_engine.settings import TorchSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def preflight(settings: TorchSettings, folder: str, head: Head) -> None:
    """Check the device, the attention kernel, 8-bit moments, and that adapters find their layers.

    Raises:
        ModelError: this machine or this model has not what the settings ask for. MissingExtra: a package is absent.
    """
    device = device_of(settings.device, current().local)
    with quiet():
        config = AutoConfig.from_pretrained(folder)
    choose_kernel(settings.attention, device, settings.dtype, config.get_text_config())
    if settings.adamw == "8bit":
        if device.type != "cuda":
            raise ModelError("engine.adamw is 8bit, which needs a GPU; use fused")
        if find_spec("bitsandbytes") is None:
            raise MissingExtra("bitsandbytes", "8bit", "engine.adamw: 8bit")
    if settings.lora is not None:
        add_adapters(_skeleton(config, head), settings.lora, seed=0)


def _skeleton(config: PretrainedConfig, head: Head) -> PreTrainedModel:
    """The model's layers by name, without memory for their weights."""
    kind: Any = AutoModelForCausalLM
    if head == "scalar":
        kind, config.num_labels = AutoModelForSequenceClassification, 1
    with quiet(), torch.device("meta"):
        model: PreTrainedModel = kind.from_config(config)
    return model
