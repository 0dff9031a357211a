"""The padding token of a reward model, by which transformers finds the token whose value is the score.

A `…ForSequenceClassification` of transformers reads the last token that is not padding. Where padding is the token that
ends sequences, as in many a tokenizer, that is the token before the one whose value was trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import ModelError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.ground.quiet import quiet
from aftertrain.core.text.chat import load_tokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
NAMED = ("pad", "reserved", "unused")
"""What tokens are called that are there to be padding, or to be nothing yet; earlier is better."""


def reward_padding(folder: str) -> int | None:
    """The token that a reward model made of `folder` is padded with: one that ends no sequence.

    The model's own where that is sound, else the tokenizer's, else a special token that its chat template does not
    write. None where there is none: transformers then refuses to score more than one sequence at a time.

    Raises:
        ModelError: the folder's configuration or tokenizer cannot be read.
    """
    config = read_config(folder).get_text_config()
    if not any((Path(folder) / name).exists() for name in FILES):
        return None if config.pad_token_id in _ends(config) else config.pad_token_id
    with quiet():
        return _choose(config, load_tokenizer(folder, needs_template=False))


def check_base(folder: str) -> None:
    """Refuse a base model onto which adapters of a reward model cannot be put without reading the wrong token.

    Raises:
        ModelError: the folder's configuration names a padding token that ends sequences.
    """
    own = read_config(folder).get_text_config().pad_token_id
    if own != reward_padding(folder):
        raise ModelError(
            f"engine.lora.save is adapter, and the base model's padding token (pad_token_id: {own} in "
            f"{folder}/config.json) is no padding for a reward model: transformers would read its score at another "
            "token than was trained; set engine.lora.save: merged"
        )


def _choose(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    never = _ends(config) | {tokenizer.eos_token_id, tokenizer.bos_token_id}
    template = str(tokenizer.chat_template or "")
    special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}

    def sound(number: int | None) -> bool:
        if number is None or number in never or not 0 <= number < config.vocab_size:
            return False
        return str(tokenizer.convert_ids_to_tokens(number)) not in template

    named = sorted(special, key=lambda number: (_rank(special[number]), number))
    spare = [number for number in named if _rank(special[number]) < len(NAMED)]
    others = [number for number in named if number not in spare]
    candidates = [config.pad_token_id, tokenizer.pad_token_id, *spare, tokenizer.unk_token_id, *others]
    return next((number for number in candidates if sound(number)), None)


def _rank(name: str) -> int:
    return next((rank for rank, word in enumerate(NAMED) if word in name.lower()), len(NAMED))


def _ends(config: PretrainedConfig) -> set[Any]:
    """Tokens that end sequences, by the model's configuration."""
    eos = config.eos_token_id
    return set(eos) if isinstance(eos, (list, tuple)) else {eos}
