"""What `load` would refuse on this machine, found without weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from aftertrain.core.engine import Head
from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.head_kernel import HeadKernel
from aftertrain.core.packed.attention_kernels import choose_kernel
from aftertrain.core.packed.model import device_of, skeleton
from aftertrain.core.packed.probing import preflight_head
from aftertrain.plugins.torch_engine.lora import add_adapters
from aftertrain.plugins.torch_engine.settings import TorchSettings


def preflight(settings: TorchSettings, folder: str, head: Head, head_kernel: HeadKernel[Any] | None) -> None:
    """Check the device, the kernels, 8-bit moments, and that adapters find their layers.

    Raises:
        ModelError: this machine or this model has not what the settings ask for. MissingExtra: a package is absent.
    """
    device = device_of(settings.device, 0)
    config = read_config(folder)
    choose_kernel(settings.attention, device, settings.dtype, config.get_text_config())
    if head_kernel is not None and head == "lm":
        preflight_head(head_kernel, config, device, getattr(torch, settings.dtype))
    if settings.adamw == "8bit":
        if device.type != "cuda":
            raise ModelError("engine.adamw is 8bit, which needs a GPU; use fused")
        if find_spec("bitsandbytes") is None:
            raise MissingExtra("bitsandbytes", "8bit", "engine.adamw: 8bit")
    if settings.lora is not None:
        add_adapters(skeleton(config, head), settings.lora, seed=0)
