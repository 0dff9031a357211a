"""What a mixture of experts' configuration asks training for beside the stage's loss, and what transformers leaves out.

The loss that balances experts (Switch Transformer, eq. 4) is E·Σ_e f_e·P_e over all tokens of a step, f_e the share of
tokens that expert e got and P_e its mean probability. It is no sum over tokens, so that added up over micro-batches it
would depend on how a step is cut, which nothing here may.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PretrainedConfig

RouterLoss = Literal["refuse", "ignore"]
ASKED_WITH_LOGITS = (
    "router_aux_loss_coef",
    "aux_loss_coef",
    "router_z_loss_coef",
    "moe_aux_loss_coeff",
    "moe_loss_weight",
)
"""Coefficients that a family uses where `output_router_logits` is true (Mixtral, Qwen, OLMoE, JetMoE, Switch, DBRX)."""
ASKED_ALONE = ("aux_loss_alpha",)
"""Coefficients that a family's own training code uses in any case (DeepSeek-V2)."""
PREDICTED = ("num_nextn_predict_layers", "num_mtp_layers")
"""Counts of layers that predict further tokens, which transformers does not make."""
CORRECTED = ("noaux_tc",)
"""Ways to choose experts by biases that are moved outside the gradient (DeepSeek-V3)."""


def router_loss(config: PretrainedConfig) -> str:
    """What a configuration asks for, in its own words; empty where it asks for nothing."""
    asked: list[str] = []
    for part in _parts(config):
        if part.get("output_router_logits") is True:
            coefficients = _positive(part, ASKED_WITH_LOGITS)
            asked += [f"output_router_logits: true, {name}: {value:g}" for name, value in coefficients]
        asked += [f"{name}: {value:g}" for name, value in _positive(part, ASKED_ALONE)]
    return "; ".join(dict.fromkeys(asked))


def router_misfit(config: PretrainedConfig, setting: RouterLoss) -> str:
    """Why a language model of this configuration is not trained under this setting; empty where it is."""
    asked = router_loss(config) if setting == "refuse" else ""
    if not asked:
        return ""
    return (
        f"the model's configuration asks for a loss on its routers ({asked}), which is not computed: it is no sum over "
        "tokens, so that it would depend on how a step is cut into micro-batches; set engine.router_loss: ignore to "
        "train without it"
    )


def untrained(config: PretrainedConfig) -> list[str]:
    """What of the model stays as it is, or is not saved, because transformers has no training of it."""
    notes: list[str] = []
    for part in _parts(config):
        notes += [
            f"{name} is {value:g}: transformers does not make the layers that predict further tokens, so that they "
            "are neither trained nor saved"
            for name, value in _positive(part, PREDICTED)
        ]
        if part.get("topk_method") in CORRECTED or part.get("model_type") == "deepseek_v3":
            notes.append("the biases by which routers choose experts (e_score_correction_bias) stay as they are")
    return list(dict.fromkeys(notes))


def _parts(config: PretrainedConfig) -> Iterator[Mapping[str, Any]]:
    """The configuration, its text model's, and tables inside either."""
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        values = part.to_dict()
        switch = {"output_router_logits": values.get("output_router_logits")}
        yield values
        yield from ({**switch, **inner} for inner in values.values() if isinstance(inner, dict))


def _positive(part: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for name in names:
        value = part.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            yield name, float(value)
