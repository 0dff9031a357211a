"""Whether tokenised rows fit the model, told from its configuration before weights are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.model import length_limit
from aftertrain.plugins.training.samples import Samples

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def check_fit(model: str, tokenizer: PreTrainedTokenizerBase, samples: Samples) -> list[str]:
    """Compare rows and tokenizer with a model folder; returns what to warn of.

    Raises:
        ModelError: the rows hold an id that the model has no embedding for.
        DataError: a sample is longer than the model takes.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
        size = int(config.get_text_config().vocab_size)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{model}: cannot read the model's configuration: {error}") from error
    _check_length(config, samples)
    if samples.largest_id >= size:
        token = tokenizer.convert_ids_to_tokens(samples.largest_id)
        raise ModelError(
            f"{model}: the rows hold token {token!r} with id {samples.largest_id}, and the model has only {size} "
            "embeddings; tokenizer and model do not belong together, or the embeddings must be enlarged first"
        )
    if len(tokenizer) > size:
        return [f"the tokenizer knows {len(tokenizer)} tokens, the model {size}; the rows use none of the others"]
    return []


def _check_length(config: PretrainedConfig, samples: Samples) -> None:
    limit = length_limit(config)
    longest = int(samples.lengths.argmax()) if len(samples.lengths) else None
    if limit is None or longest is None or samples.lengths[longest] <= limit[0]:
        return
    start = samples.lengths[:longest].sum()
    atom = int(np.searchsorted(samples.sizes.cumsum(), start, side="right"))
    over = int((samples.lengths > limit[0]).sum())
    name = samples.atoms[atom][0].sample_id
    raise DataError(
        f"sample {name!r} has {samples.lengths[longest]} tokens, the model takes {limit[0]} "
        f"({limit[1]}); {over:,} of {len(samples.lengths):,} segments are longer: lower batch.max_tokens to {limit[0]}"
    )
