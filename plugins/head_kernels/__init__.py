"""LM heads fused by others: Liger's and cut cross-entropy, for GPUs."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "head_kernel",
        "liger",
        "aftertrain.plugins.head_kernels.liger:Liger",
        "aftertrain.plugins.head_kernels.settings:LigerSettings",
        "Liger's fused linear cross-entropy: logits of a few tokens at a time, rounded to the compute dtype",
    )
    registry.add(
        "head_kernel",
        "cut_cross_entropy",
        "aftertrain.plugins.head_kernels.cut_cross_entropy:CutCrossEntropy",
        "aftertrain.plugins.head_kernels.settings:CutCrossEntropySettings",
        "Apple's cut cross-entropy: no logits in memory; gradients added up in 16 bits, in another order each run",
    )
