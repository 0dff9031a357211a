"""The engine of many processes that share one model's memory: DeepSpeed ZeRO 1 to 3."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "engine",
        "deepspeed",
        "aftertrain.plugins.deepspeed_engine.engine:DeepSpeedEngine",
        "aftertrain.plugins.deepspeed_engine.settings:DeepSpeedSettings",
        "DeepSpeed ZeRO 1-3: optimizer, gradients and weights shared out over the ranks",
    )
