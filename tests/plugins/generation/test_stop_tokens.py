"""Stop strings that are tokens, by the in-process generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.plugins.generation.transformers import Transformers

Make = Callable[..., Transformers]


@pytest.mark.parametrize("mark", ["<|user|>", "<pad>", "<bos>"])
def test_a_model_s_reply_ends_at_a_token_that_is_a_stop_string(make_generator: Make, mark: str) -> None:
    """The same seed with and without the stop: the same tokens up to it. Special tokens were not seen before."""
    generator = make_generator()
    tokenizer = generator._opened().tokenizer
    token = tokenizer.convert_tokens_to_ids(mark)

    def replies(*stop: str) -> list[Any]:
        sampling = Sampling(max_new_tokens=40, temperature=1.5, stop=stop)
        return generator.generate([GenerationRequest(str(seed), (5, 6, 7), sampling, seed) for seed in range(48)])

    free = {one.id: one for one in replies() if token in one.token_ids}
    assert free, "no reply holds the token: the test shows nothing"
    for one in replies(mark):
        if one.id in free:
            whole = free[one.id].token_ids
            assert one.token_ids == whole[: whole.index(token) + 1]
            assert one.finish_reason == "stop"
            assert one.text == tokenizer.decode(one.token_ids[:-1], skip_special_tokens=True)
            assert (one.text_with_special or one.text) == tokenizer.decode(one.token_ids[:-1])
