"""How a reply ends: what of it is learnt from and what is judged, row by row as the table in docs/online.md has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aftertrain.core.errors import ModelError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.learning.rewards import ended_reward
from aftertrain.core.records import Completion, Message, Problem
from aftertrain.plugins.generation.transformers import Transformers
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.rollout import Rollout

Make = Callable[..., Transformers]
PROMPT = (5, 6, 7)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def _reply(
    generator: Transformers, seed: str | int = 0, length: int = 12, prompt: Sequence[int] = PROMPT, **sampling: Any
) -> Completion:
    request = GenerationRequest("x", tuple(prompt), Sampling(max_new_tokens=length, **sampling), int(seed))
    return generator.generate([request])[0]


def _ending_at(generator: Transformers, *ids: int) -> Transformers:
    """The generator with other ids that end a reply."""
    generator._opened().stop_ids = frozenset(ids)
    return generator


def _targets(completion: Completion) -> list[int]:
    """The tokens that the online stage learns from."""
    problem = Problem("p", (Message("user", "?"),), (), "made")
    segment = Rollout("p/0", 0, Prompt(problem, completion.prompt_ids), completion).segment()
    targets = [token for token, learnt in zip(segment.token_ids, segment.loss_mask, strict=True) if learnt]
    columns = segment.columns["generator_logprobs"]
    assert tuple(columns[len(completion.prompt_ids) :]) == completion.logprobs
    return targets


def _earns(completion: Completion, missing_eos: float | None = -10.0) -> float:
    """The reward of a reply that a verifier gave 1."""
    return ended_reward(1.0, completion.finish_reason == "stop", missing_eos)


@pytest.fixture
def free_replies(make_generator: Make) -> list[Completion]:
    """Replies that nothing ends but their length, without a token that comes twice; their ids are their seeds."""
    sampling = Sampling(max_new_tokens=12)
    requests = [GenerationRequest(str(seed), PROMPT, sampling, seed) for seed in range(48)]
    replies = _ending_at(make_generator(), -1).generate(requests)
    return [reply for reply in replies if len(set(reply.token_ids)) == 12 and 2 not in reply.token_ids]


@pytest.fixture
def free(free_replies: list[Completion]) -> Completion:
    """One of them; others of the same seed are its beginnings."""
    return free_replies[0]


def test_a_reply_that_ends_itself_learns_its_end(make_generator: Make, tokenizer: Any, free: Completion) -> None:
    ended = _reply(_ending_at(make_generator(), free.token_ids[4]), free.id)
    assert _targets(ended) == list(free.token_ids[:5])
    assert ended.text == tokenizer.decode(free.token_ids[:4], skip_special_tokens=True)
    assert _earns(ended) == 1.0


def test_a_reply_that_ends_at_once_is_its_end(make_generator: Make, free: Completion) -> None:
    ended = _reply(_ending_at(make_generator(), free.token_ids[0]), free.id)
    assert (_targets(ended), ended.text) == ([free.token_ids[0]], "")
    assert _earns(ended) == 1.0


def test_a_cut_reply_gets_no_end(make_generator: Make, tokenizer: Any, free: Completion) -> None:
    cut = _reply(make_generator(), free.id, length=5)
    assert _targets(cut) == list(free.token_ids[:5])
    assert cut.text == tokenizer.decode(free.token_ids[:5], skip_special_tokens=True)
    assert (_earns(cut), _earns(cut, None)) == (-10.0, 1.0)


def test_a_reply_that_fills_the_context_is_cut(make_generator: Make) -> None:
    """The model takes 512 tokens: of a prompt of 509 there are three left, which are all targets."""
    filled = _reply(_ending_at(make_generator(), -1), length=50, prompt=(5,) * 509)
    assert len(_targets(filled)) == 3
    assert (filled.finish_reason, _earns(filled)) == ("length", -10.0)


def test_an_end_with_the_last_token_there_is_room_for_is_an_end(make_generator: Make, free: Completion) -> None:
    ended = _reply(_ending_at(make_generator(), free.token_ids[4]), free.id, length=5)
    assert (ended.finish_reason, _targets(ended)) == ("stop", list(free.token_ids[:5]))


def test_a_stop_string_across_tokens_is_learnt_whole(
    make_generator: Make, tokenizer: Any, free_replies: list[Completion]
) -> None:
    """From the last character of a token to the first of the next: both are targets, the text ends before."""
    for reply in free_replies:
        texts = [tokenizer.decode(reply.token_ids[:n], skip_special_tokens=True) for n in range(13)]
        for n in range(2, 12):
            before, whole = texts[n], texts[n + 1]
            stop = whole[len(before) - 1 : len(before) + 1]
            if len(stop) == 2 and len(texts[n - 1]) < len(before) and whole.find(stop) == len(before) - 1:
                break
        else:
            continue
        if "\ufffd" not in whole:
            break
    else:
        pytest.fail("no reply has two clean tokens side by side: the test shows nothing")
    ended = _reply(make_generator(), reply.id, stop=(stop,))
    assert _targets(ended) == list(reply.token_ids[: n + 1])
    assert ended.text == before[:-1]
    assert (ended.finish_reason, _earns(ended)) == ("stop", 1.0)


def test_any_of_several_ends_ends(make_generator: Make, free: Completion) -> None:
    """The end that comes first: token 6 though token 9 ends replies too, whichever is named first."""
    for ends in ((free.token_ids[9], free.token_ids[6]), (free.token_ids[6], free.token_ids[9])):
        assert _targets(_reply(_ending_at(make_generator(), *ends), free.id)) == list(free.token_ids[:7])


def test_ids_that_no_tokenizer_has_are_learnt_and_say_nothing(
    make_generator: Make, tokenizer: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """A vocabulary padded by 2,000 rows, as models are for speed: most draws are ids without a text."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    known = len(tokenizer)
    with torch.no_grad():
        model.resize_token_embeddings(known + 2000, mean_resizing=False)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    generator = _ending_at(make_generator(tmp_path), -1)
    completion = _reply(generator)
    assert any(token >= known for token in completion.token_ids)
    assert _targets(completion) == list(completion.token_ids)
    told = [token for token in completion.token_ids if token < known]
    assert completion.text == tokenizer.decode(told, skip_special_tokens=True)


def test_a_prompt_of_another_model_s_tokenizer_is_refused(make_generator: Make) -> None:
    generator = make_generator()
    size = generator._vocabulary
    with pytest.raises(ModelError, match=rf"holds token {size}, and the model's vocabulary has {size}: the tokenizer"):
        _reply(generator, prompt=(5, size))
    assert _reply(generator, prompt=(5, size - 1)).token_ids
