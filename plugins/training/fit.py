"""Whether tokenised rows fit the model, told from its configuration before weights are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftertrain.core.engine import Head
from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.packed.model import length_limit
from aftertrain.core.text.padding import reward_padding
from aftertrain.plugins.training.samples import Samples

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

ENDINGS = 1000
"""Atoms whose last tokens are compared with the padding token."""


def check_fit(model: str, tokenizer: PreTrainedTokenizerBase, samples: Samples, head: Head = "lm") -> dict[str, str]:
    """Compare rows and tokenizer with a model folder; returns what to warn of, by what it is about.

    Args:
        head: of the model; rows for a scalar one are looked at for what pads a reward model, too.

    Raises:
        ModelError: the rows hold an id that the model has no embedding for.
        DataError: a sample is longer than the model takes.
    """
    config = read_config(model)
    size = int(config.get_text_config().vocab_size)
    _check_length(config, samples)
    if samples.largest_id >= size:
        token = tokenizer.convert_ids_to_tokens(samples.largest_id)
        raise ModelError(
            f"{model}: the rows hold token {token!r} with id {samples.largest_id}, and the model has only {size} "
            "embeddings; tokenizer and model do not belong together, or the embeddings must be enlarged first"
        )
    warnings = {}
    if len(tokenizer) > size:
        unused = f"the tokenizer knows {len(tokenizer)} tokens, the model {size}; the rows use none of the others"
        warnings["vocabulary"] = unused
    if head == "scalar" and (message := _padding(model, tokenizer, samples)):
        warnings["padding"] = message
    return warnings


def _padding(model: str, tokenizer: PreTrainedTokenizerBase, samples: Samples) -> str:
    """What to warn of before a reward model is trained, whose score transformers reads before its padding.

    Looks at the first `ENDINGS` atoms: what samples end in is their template's.

    Raises:
        ModelError: the model's configuration or tokenizer cannot be read.
    """
    pad = reward_padding(model)
    if pad is None:
        return (
            "the tokenizer has no token to pad a reward model with (one that ends no sequence), so that transformers "
            "will score one sequence at a time; give the tokenizer a pad_token of its own"
        )
    ending = next((s.sample_id for atom in samples.atoms[:ENDINGS] for s in atom if s.token_ids[-1] == pad), None)
    if ending is not None:
        return (
            f"sample {ending!r} ends in {tokenizer.convert_ids_to_tokens(pad)!r}, which pads the reward model: "
            "transformers will read the scores of such sequences one token early; give the tokenizer another pad_token"
        )
    return ""


def _check_length(config: PretrainedConfig, samples: Samples) -> None:
    limit, lengths = length_limit(config), samples.atoms.lengths
    if limit is None or not len(lengths) or lengths.max() <= limit[0]:
        return
    longest = int(lengths.argmax())
    name = samples.atoms.segment(longest).sample_id.removesuffix("/probe")
    raise DataError(
        f"sample {name!r} has {lengths[longest]} tokens, the model takes {limit[0]} ({limit[1]}); "
        f"{(lengths > limit[0]).sum():,} of {len(lengths):,} segments are longer: lower batch.max_tokens to {limit[0]}"
    )
