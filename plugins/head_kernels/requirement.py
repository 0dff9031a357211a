"""What kernels written in Triton need: their package, and a GPU or Triton's interpreter."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from aftertrain.core.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    import torch


def require(name: str, package: str, device: torch.device) -> None:
    """Find what the head kernel `name` cannot do without; `package` is as pip knows it, the extra is
    called as the kernel.

    Raises:
        ModelError: no GPU. MissingExtra: the package is not installed.
    """
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ModelError(
            f"engine.head_kernel is {name}, which needs a GPU; the model is on {device.type}: leave head_kernel out"
        )
    if find_spec(package.replace("-", "_")) is None:
        raise MissingExtra(package, name.replace("_", "-"), f"engine.head_kernel: {name}")
