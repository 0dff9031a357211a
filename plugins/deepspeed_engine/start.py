"""DeepSpeed wrapped around a loaded model, with accumulation boundaries and scaling left to us."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.engine import AdamW, Head
from aftertrain.core.errors import MissingExtra, RunError
from aftertrain.core.loss import Score
from aftertrain.core.packed.model import adamw, lm_head
from aftertrain.core.ranks import Ranks
from aftertrain.plugins.deepspeed_engine.settings import DeepSpeedSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BUCKET = 1 << 26
"""Numbers reduced at one time; DeepSpeed's own choice takes 2 GiB whatever the model's size."""
ONE_GROUP = 10**15
"""Numbers a ZeRO-3 sub-group may hold: all, so that a rank's share of a parameter does not depend on the others."""


class Scorer(nn.Module):
    """Scores as one module's forward, so that DeepSpeed gathers the weights it uses and no others."""

    def __init__(self, model: PreTrainedModel, score: Callable[..., TokenScores]) -> None:
        super().__init__()
        self.model, self.score = model, score

    def forward(self, batch: PackedBatch, wants: Iterable[Score], temperature: float) -> dict[str, Tensor]:
        """The scores by name: DeepSpeed looks for tensors in dictionaries."""
        return self.score(batch, wants, temperature).filled()


def wrap(scorer: Scorer, head: Head, settings: DeepSpeedSettings, optimizer: AdamW, ranks: Ranks) -> Any:
    """A DeepSpeed engine around a scorer; its optimizer's learning rate is 0 until the first step.

    Raises:
        MissingExtra: DeepSpeed is not installed.
        RunError: this process works alone while other ranks wait.
    """
    model = scorer.model
    _meet_alone(ranks, model.device)
    os.environ.setdefault("LOCAL_RANK", str(ranks.local))
    if model.device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
    except ImportError as error:
        raise MissingExtra("deepspeed", "deepspeed", "the engine 'deepspeed'") from error
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if model.device.type == "cpu":
        # Its shared-memory reduction is compiled at first use, which takes minutes; gloo serves.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # DeepSpeed calls torch's collectives by names that torch has since renamed.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    # It has torch import its compiler, which uses what torch itself has given up.
    warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
    with ranks.together("DeepSpeed to share out the model"):
        engine, *_ = deepspeed.initialize(
            model=scorer,
            optimizer=adamw(model, optimizer),
            config=configuration(settings, optimizer, sum(weight.numel() for weight in model.parameters())),
        )
        if settings.zero == 3 and head == "lm":
            # The head's weight is used by the scorer itself, not by the layer that owns it.
            own = lm_head(model)
            for weight in (own.weight, own.bias):
                if weight is not None:
                    deepspeed.zero.register_external_parameter(scorer, weight)
    return engine


def _meet_alone(ranks: Ranks, device: torch.device) -> None:
    """DeepSpeed wants a process group, also of one process (a GPU with its optimizer offloaded)."""
    import torch.distributed as dist
    from torch.distributed import HashStore  # type: ignore[attr-defined]

    if ranks.size > 1:
        return
    if not dist.is_initialized():
        backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    elif dist.get_world_size() > 1:
        raise RunError(
            "the engine 'deepspeed' works with all ranks or with a single process, and this stage runs on rank 0 alone "
            "while others wait: give it the engine torch, or run it without --nproc"
        )


def configuration(settings: DeepSpeedSettings, optimizer: AdamW, n_parameters: int) -> dict[str, Any]:
    """DeepSpeed's own configuration. The batch sizes in it are formal: we count and divide."""
    bucket = min(BUCKET, n_parameters)
    zero: dict[str, Any] = {
        "stage": settings.zero,
        "overlap_comm": False,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if settings.offload == "optimizer":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": False}
    if settings.zero == 3:
        zero |= {"sub_group_size": ONE_GROUP, "stage3_param_persistence_threshold": 0}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": optimizer.max_grad_norm or 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }
