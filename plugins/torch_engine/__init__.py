"""The engine of one process: PyTorch on a CPU or one GPU, with packed batches."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "engine",
        "torch",
        "aftertrain.plugins.torch_engine.engine:TorchEngine",
        "aftertrain.plugins.torch_engine.settings:TorchSettings",
        "PyTorch on the CPU or a GPU a process, packed batches, a copy of the model in each rank",
    )
