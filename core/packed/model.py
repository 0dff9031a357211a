"""A Hugging Face model made ready for packed scoring: loaded, checked, scored and saved. For engines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import AdamW, Continuation, Head, Likelihood
from aftertrain.core.errors import ModelError
from aftertrain.core.ground.memory import memory_refusal
from aftertrain.core.ground.model_folder import check_weights, read_config
from aftertrain.core.ground.quiet import quiet
from aftertrain.core.ground.reading import read_json
from aftertrain.core.head_kernel import HeadKernel, LMHead
from aftertrain.core.loss import Score
from aftertrain.core.packed import attention
from aftertrain.core.packed.head_scores import head_scores
from aftertrain.core.packed.heap import give_back
from aftertrain.core.packed.layout import Kernel, PackedLayout, shared_prefixes
from aftertrain.core.packed.notes import notebook
from aftertrain.core.packed.tree import TokenTree, check_parted, tree_likelihoods
from aftertrain.core.text.padding import reward_padding

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def load_model(folder: str, head: Head, seed: int, *, packed: bool = True) -> PreTrainedModel:
    """A float32 model in eval mode; with a scalar head its padding ends no sequence.

    Args:
        packed: give it packed attention, in place of transformers' plain one.

    Raises:
        ModelError: the folder is unreadable, lacks weights, or is of a family that cannot be packed or headed.
    """
    if (Path(folder) / "adapter_config.json").exists() and not (Path(folder) / "config.json").exists():
        raise ModelError(f"{folder}: holds adapters of another model, not a model; set engine.lora.save: merged")
    options = {} if head == "lm" else {"num_labels": 1}
    architecture = str((read_config(folder).architectures or [""])[0])
    if head == "lm" and architecture.endswith("ForSequenceClassification"):
        raise ModelError(f"{folder}: a reward model ({architecture}) where a language model is needed")
    check_weights(Path(folder), needed=True)
    try:
        with quiet():
            model, info = auto_class(head).from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation=attention.register() if packed else "eager",
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                **options,
            )
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a family's code may raise anything on sizes that do not fit together
        if memory_refusal(error):
            raise
        kind = "an lm" if head == "lm" else "a scalar"
        raise ModelError(f"{folder}: cannot load a model with {kind} head: {error}") from error
    missing = set(info["missing_keys"])
    if head == "scalar":
        if not isinstance(getattr(model, "score", None), nn.Linear):
            raise ModelError(f"{folder}: {type(model).__name__} has no linear head named 'score'")
        if "score.weight" in missing:
            missing.remove("score.weight")
            _draw_head(model.score, seed)
        model.config.get_text_config().pad_token_id = reward_padding(folder)
    if missing:
        raise ModelError(f"{folder}: weights are missing from the folder: {', '.join(sorted(missing)[:5])}")
    for parameter in model.parameters():
        # A loaded tensor may lie at any address of a mapped file, and its alignment changes the bits of sums.
        parameter.data = parameter.data.clone()
    if broken := not_finite(model.named_parameters()):
        raise ModelError(
            f"{folder}: {type(model).__name__}: weights are NaN or infinite: {', '.join(broken[:5])}; take another "
            "copy of the model"
        )
    loaded: PreTrainedModel = model.eval()
    return loaded


def auto_class(head: Head) -> Any:
    """The class of transformers that loads a model with such a head."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForCausalLM if head == "lm" else AutoModelForSequenceClassification


def skeleton(config: PretrainedConfig, head: Head) -> PreTrainedModel:
    """The model's layers by name and shape, without memory for their weights."""
    if head == "scalar":
        config.num_labels = 1
    with quiet(), torch.device("meta"):
        model: PreTrainedModel = auto_class(head).from_config(config, trust_remote_code=False)
    return model


def lm_head(model: PreTrainedModel) -> LMHead:
    """The output head, with what the family does to logits.

    Raises:
        ModelError: there is no linear output head.
    """
    layer = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(layer, nn.Linear):
        raise ModelError(f"{type(model).__name__} has no linear output head")
    return LMHead(layer.weight, layer.bias, *logit_shaping(model.config))


def logit_shaping(config: PretrainedConfig) -> tuple[float, float | None]:
    """What a family multiplies its logits by, and at what it caps them softly, or None."""
    config = config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return scale, getattr(config, "final_logit_softcapping", None)


def values(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """`[N, hidden]` to the scalar head's float32 `[N]`, computed in float32 under autocast too.

    A bfloat16 value near 10 (a full reward) moves in steps of 1/16, a third of PPO's value clip.
    """
    head: Any = model.score
    with torch.autocast(hidden.device.type, enabled=False):
        value: Tensor = head(hidden.float()).squeeze(-1)
    return value


def hidden_states(
    model: PreTrainedModel, token_ids: Tensor, position_ids: Tensor, layout: PackedLayout | TokenTree
) -> Tensor:
    """Last hidden states `[N, hidden]` of packed tokens; what segments share is computed once."""
    if layout.places is not None:
        token_ids, position_ids = token_ids[layout.own], position_ids[layout.own]
    output = model.base_model(
        input_ids=token_ids.unsqueeze(0), position_ids=position_ids.unsqueeze(0), packed=layout, use_cache=False
    )
    return layout.whole(output.last_hidden_state[0])


def score_packed(
    model: PreTrainedModel,
    head: Head,
    batch: PackedBatch,
    wants: Iterable[Score],
    *,
    temperature: float,
    chunk: int | None,
    share_prefixes: bool = False,
    kernel: Kernel = "sdpa",
    lean: bool = False,
    head_kernel: HeadKernel[Any] | None = None,
) -> TokenScores:
    """`Engine.score` of a model on its own device, under the caller's precision and gradient mode.

    Args:
        share_prefixes: compute what the segments of a group begin with once.
        lean: keep for the backward pass notes of what is cheap to make (see `core.packed.lean`), and let the head add
            its gradient in place (see `token_scores`).
        head_kernel: makes those of an lm head's scores that it knows (see `head_scores`).

    Raises:
        ModelError: the head has not what is wanted, or a segment is longer than the model takes.
    """
    wanted = set(wants)
    if ("values" in wanted) != (head == "scalar") or (head == "scalar" and len(wanted) > 1):
        raise ModelError(f"a model with the head {head!r} has no {', '.join(sorted(wanted))}")
    check_lengths(model, batch)
    prefixes = None
    if share_prefixes:
        prefixes = shared_prefixes(batch.token_ids.cpu(), batch.lengths, batch.segments["group"].tolist())
    layout = PackedLayout(batch.lengths, batch.token_ids.device, prefixes=prefixes, kernel=kernel)
    with notebook() if lean and torch.is_grad_enabled() else nullcontext():
        hidden = hidden_states(model, batch.token_ids, batch.position_ids, layout)
    if lean and torch.is_grad_enabled() and hidden.device.type == "cpu":
        # Memory is largest from here on; the layers left holes.
        give_back()
    if head == "scalar":
        return TokenScores(values=values(model, hidden))
    return head_scores(
        hidden,
        lm_head(model),
        batch.token_ids,
        batch.scored_mask(),
        wanted,
        temperature=temperature,
        chunk=chunk,
        into_grad=lean,
        kernel=head_kernel,
    )


def score_continuations(
    model: PreTrainedModel,
    items: Sequence[Continuation],
    budget: int,
    *,
    chunk: int | None,
    head_kernel: HeadKernel[Any] | None = None,
) -> list[Likelihood]:
    """`ScoresContinuations.likelihoods` of a model with an lm head, on its device, under the caller's precision.

    Raises:
        ModelError: an item is longer than the model takes.
    """
    check_continuations(model, items)
    head = lm_head(model)

    def hidden(tree: TokenTree) -> Tensor:
        return hidden_states(model, tree.token_ids, tree.position_ids, tree)

    def score(states: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        # A score is that of a token under the state before it: one place is added in front, which nothing predicts.
        ids = torch.cat([following.new_zeros(1), following])
        states = torch.cat([states, states.new_zeros(1, states.shape[1])])
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[0] = False
        scores = head_scores(states, head, ids, mask, ("logprobs", "hits"), chunk=chunk, kernel=head_kernel)
        assert scores.logprobs is not None
        assert scores.hits is not None
        return scores.logprobs[1:], scores.hits[1:]

    with torch.no_grad():
        return tree_likelihoods(items, budget, device=model.device, hidden=hidden, score=score)


def check_continuations(model: PreTrainedModel, items: Sequence[Continuation]) -> None:
    """Refuse what the model's positions cannot tell apart; an item's last token is only predicted, never read.

    Raises:
        ModelError: an item is longer than the model takes. DataError: nothing is given, or left to be scored.
    """
    check_parted(items)
    limit, longest = length_limit(model.config), max((len(item.token_ids) for item in items), default=1) - 1
    if limit is not None and longest > limit[0]:
        raise ModelError(f"{longest} tokens are to be read at once; the model takes {limit[0]} ({limit[1]})")


def check_lengths(model: PreTrainedModel, batch: PackedBatch) -> None:
    """Refuse what the model's positions cannot tell apart.

    Raises:
        ModelError: a segment is too long; names its sample.
    """
    limit = length_limit(model.config)
    if limit is None:
        return
    for name, length in zip(batch.sample_ids, batch.lengths, strict=True):
        if length > limit[0]:
            raise ModelError(f"sample {name!r} has {length} tokens; the model takes {limit[0]} ({limit[1]})")


def decayed(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of the weights that are trained: vectors (norms and biases) are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, settings: AdamW, *, fused: bool = False) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) of the weights that are trained."""
    groups = decayed(model, settings.weight_decay)
    return torch.optim.AdamW(groups, lr=0.0, betas=(settings.beta1, settings.beta2), eps=settings.eps, fused=fused)


def not_finite(weights: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the weights that hold a NaN or an infinity.

    One norm of all of them tells whether there are any, in a fraction of an optimizer step's time.
    """
    named = dict(weights)
    filled = [weight.detach() for weight in named.values() if weight.numel()]
    if not filled or bool(torch.stack(torch._foreach_norm(filled)).isfinite().all()):
        return []
    # A norm of huge weights is infinite too.
    return [name for name, weight in named.items() if not bool(weight.isfinite().all())]


def write_model(model: PreTrainedModel, weights: Mapping[str, Tensor], folder: Path, dtype: str) -> None:
    """A plain Hugging Face folder of `weights`, named as in the model's state, in `dtype`."""
    # Cast once per storage: save_pretrained writes tied weights once only while they share one.
    places = {name: (tensor.data_ptr(), tensor.shape, tensor.stride()) for name, tensor in weights.items()}
    first = {place: name for name, place in reversed(places.items())}
    cast = {place: _cast(model, name, weights[name], getattr(torch, dtype)) for place, name in first.items()}
    state = {name: cast[place] for name, place in places.items()}
    with quiet():
        model.save_pretrained(folder, state_dict=state)
    if dtype != "float32":
        # save_pretrained writes down the dtype of the weights in memory, not of those it is given.
        path = folder / "config.json"
        config: dict[str, Any] = read_json(path, dict[str, Any], error=ModelError)
        path.write_text(json.dumps({**config, "dtype": dtype}, indent=2) + "\n", encoding="utf-8")


def _cast(model: PreTrainedModel, name: str, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight as it is written: what the family keeps in float32 stays so, what is no float stays what it is."""
    exact = {*(model._keep_in_fp32_modules or ()), *(model._keep_in_fp32_modules_strict or ())}
    if not weight.is_floating_point() or any(part in exact for part in name.split(".")):
        return weight
    return weight.to(dtype)


def device_of(wanted: str, local: int) -> torch.device:
    """The device that a rank works on: its own GPU, by its number on the machine, or the CPU.

    Args:
        wanted: `auto`, `cpu` or `cuda`.

    Raises:
        ModelError: there is no such GPU.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("engine.device is cuda and torch finds no GPU; use device: auto or cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    there = torch.cuda.device_count()
    if local >= there:
        raise ModelError(f"a rank wants GPU {local} of a machine that has {there}; lower --nproc or use device: cpu")
    return torch.device("cuda", local)


def length_limit(config: PretrainedConfig) -> tuple[int, str] | None:
    """The longest segment that can be scored exactly, and why, or None where there is no limit.

    Rotary frequencies of the kinds `longrope` and `dynamic` change with the longest sequence of a batch, so that
    packed and unpacked would differ beyond the original length.
    """
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("longrope", "dynamic"):
        limit = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        return int(limit), f"rope type {rope['rope_type']!r} changes all positions beyond it"
    limit = getattr(config, "max_position_embeddings", None)
    return None if limit is None else (int(limit), "its max_position_embeddings")


def layers_of(model: PreTrainedModel, setting: str) -> list[nn.Module]:
    """The layers that transformers marks as such.

    Args:
        setting: what they are wanted for, for the message.

    Raises:
        ModelError: the family has none.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers: list[nn.Module] = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(f"{type(model).__name__} has no layers that {setting} knows")
    return layers


def compile_layers(model: PreTrainedModel) -> None:
    """Compile each layer; attention's moves between tokens and slots stay out of the graph.

    Raises:
        ModelError: see `layers_of`.
    """
    for layer in layers_of(model, "compile"):
        layer.forward = torch.compile(layer.forward, dynamic=True)


def _draw_head(layer: nn.Linear, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    std = (layer.in_features + 1) ** -0.5
    layer.weight.data = torch.normal(0.0, std, layer.weight.shape, generator=generator)
