"""The in-process generator: against transformers' own generate, its own log-probs, and the contract."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aftertrain.core.errors import ModelError, NumericsError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.records import Completion
from aftertrain.plugins.generation.transformers import Transformers

Make = Callable[..., Transformers]
Computed = Callable[[Transformers], list[int]]


def _requests(n: int, sampling: Sampling, seed: int = 0) -> list[GenerationRequest]:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (n,), generator=draw).tolist()
    return [
        GenerationRequest(f"r{i}", tuple(torch.randint(3, 300, (length,), generator=draw).tolist()), sampling, 100 + i)
        for i, length in enumerate(lengths)
    ]


def _without_logprobs(completion: Completion) -> tuple[object, ...]:
    return completion.id, completion.prompt_ids, completion.token_ids, completion.versions, completion.finish_reason


@pytest.fixture(scope="module")
def network(tiny_model: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def test_greedy_is_what_transformers_generates(make_generator: Make, network: torch.nn.Module) -> None:
    requests = _requests(6, Sampling(max_new_tokens=12, temperature=0.0))
    for completion in make_generator(batch=4).generate(requests):
        ids = torch.tensor([completion.prompt_ids])
        expected = network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert list(completion.token_ids) == expected[0, ids.shape[1] :].tolist()


def test_logprobs_are_the_sampled_token_s_under_the_temperature(make_generator: Make, network: torch.nn.Module) -> None:
    """Recomputed by one unpadded forward of the whole sequence, log_softmax(logits / T)."""
    requests = _requests(9, Sampling(max_new_tokens=15, temperature=0.8, top_p=0.9))
    for completion in make_generator().generate(requests):
        ids = torch.tensor([completion.prompt_ids + completion.token_ids])
        with torch.no_grad():
            table = torch.log_softmax(network(ids).logits[0, :-1] / 0.8, -1)
        expected = table.gather(1, ids[0, 1:].unsqueeze(1)).squeeze(1)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)


def test_a_reply_does_not_depend_on_its_neighbours(make_generator: Make) -> None:
    requests = _requests(12, Sampling(max_new_tokens=10, temperature=1.0))
    together = make_generator(batch=12).generate(requests)
    alone = [make_generator(batch=1).generate([request])[0] for request in reversed(requests)][::-1]
    assert [_without_logprobs(c) for c in together] == [_without_logprobs(c) for c in alone]


@pytest.mark.parametrize("begun", [31, 32, 100])
def test_prompts_that_begin_alike_reply_as_alone(make_generator: Make, computed: Computed, begun: int) -> None:
    """Worked examples before questions of unlike length, one of them the beginning of another, and a twin.

    What all begin with is computed once where it is long enough, the twin never, and no padding at all.
    """
    draw = torch.Generator().manual_seed(1)
    shots = tuple(torch.randint(3, 300, (begun,), generator=draw).tolist())
    sampling = Sampling(max_new_tokens=8, temperature=0.7)
    endings = [(9,), (9, 10), (9, 10, 11, 12), *(request.prompt_ids for request in _requests(4, sampling)), (9, 10)]
    requests = [GenerationRequest(f"r{i}", shots + ending, sampling, i) for i, ending in enumerate(endings)]
    generator = make_generator()
    tokens = computed(generator)
    together = generator.generate(requests)
    alone = [make_generator(batch=1).generate([request])[0] for request in requests]
    assert [_without_logprobs(c) for c in together] == [_without_logprobs(c) for c in alone]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    distinct = set(endings)
    own = sum(map(len, distinct))
    prefill = [begun, own] if begun >= 32 else [own + begun * len(distinct)]
    assert tokens[: len(prefill)] == prefill
    assert sum(tokens) - sum(prefill) == sum(len(c.token_ids) - 1 for c in together)


def test_samples_of_a_prompt_share_it(make_generator: Make, computed: Computed) -> None:
    """Three prompts of four samples each: every prompt's tokens are computed once, and replies are those made alone."""
    sampling = Sampling(max_new_tokens=6)
    prompts = [request.prompt_ids for request in _requests(3, sampling)]
    requests = [GenerationRequest(f"{i}/{j}", p, sampling, 10 * i + j) for i, p in enumerate(prompts) for j in range(4)]
    generator = make_generator()
    tokens = computed(generator)
    together = generator.generate(requests)
    assert tokens[0] == sum(map(len, prompts))
    alone = [make_generator(batch=1).generate([request])[0] for request in requests]
    assert [_without_logprobs(c) for c in together] == [_without_logprobs(c) for c in alone]


def test_rows_enter_as_others_leave(make_generator: Make, computed: Computed) -> None:
    """Limits of 1 to 24 tokens in a batch of 8: replies are those made alone, and rows stand idle but little.

    Of a batch of 8 at least three quarters are at work as long as requests wait; today's whole batches would not be.
    """
    requests = [
        GenerationRequest(r.id, r.prompt_ids, Sampling(max_new_tokens=1 + 7 * i % 24), r.seed)
        for i, r in enumerate(_requests(40, Sampling()))
    ]
    generator = make_generator(batch=8)
    steps = computed(generator)
    seen: list[str] = []
    busy: list[int] = []
    generator.submit(requests)
    replies = {}
    while done := generator.collect():
        replies.update((completion.id, completion) for completion in done)
        seen += [completion.id for completion in done]
        busy.append(len(generator._queue) and len(generator._opened().replies))
    assert len(seen) == len(set(seen)) == 40
    alone = make_generator(batch=1)
    assert [_without_logprobs(replies[r.id]) for r in requests] == [
        _without_logprobs(alone.generate([r])[0]) for r in requests
    ]
    assert max(map(len, (c.token_ids for c in replies.values()))) > 8, "replies are alike: the test shows nothing"
    again = make_generator(batch=8)
    others = computed(again)
    assert [c.logprobs for c in again.generate(requests)] == [replies[r.id].logprobs for r in requests]
    assert steps == others, "the same requests were batched another way"
    assert min(rows for rows in busy if rows) >= 4


def test_arrival_order_changes_nothing_but_rounding(make_generator: Make) -> None:
    requests = _requests(20, Sampling(max_new_tokens=12))
    first = {c.id: c for c in make_generator(batch=6).generate(requests)}
    for completion in make_generator(batch=6).generate(requests[::-1]):
        assert _without_logprobs(completion) == _without_logprobs(first[completion.id])
        assert completion.logprobs == pytest.approx(first[completion.id].logprobs, abs=1e-4)


def test_seeds_decide_the_reply(make_generator: Make) -> None:
    sampling = Sampling(max_new_tokens=20)
    generator = make_generator()
    replies = [
        generator.generate([GenerationRequest("x", (5, 6, 7), sampling, seed)])[0].token_ids for seed in (1, 1, 2)
    ]
    assert replies[0] == replies[1] != replies[2]


def test_finished_rows_leave_without_disturbing_the_rest(make_generator: Make) -> None:
    """Limits of 1 … 12 tokens in one batch force compactions; replies equal those made alone."""
    requests = [
        GenerationRequest(r.id, r.prompt_ids, Sampling(max_new_tokens=1 + i), r.seed)
        for i, r in enumerate(_requests(12, Sampling()))
    ]
    together = make_generator(batch=12).generate(requests)
    generator = make_generator(batch=1)
    assert [_without_logprobs(c) for c in together] == [
        _without_logprobs(c) for c in (generator.generate([r])[0] for r in requests)
    ]
    assert all(len(c.token_ids) <= 1 + i for i, c in enumerate(together))


def test_stop_tokens_of_tokenizer_and_generation_config_end_a_reply(
    make_generator: Make, tiny_model: Path, tmp_path: Path
) -> None:
    """A sampled reply's third token, named in generation_config.json, then ends the same reply there."""
    request = GenerationRequest("x", (5, 6, 7), Sampling(max_new_tokens=8), 4)
    free = make_generator().generate([request])[0]
    assert len(free.token_ids) >= 3
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "generation_config.json").read_text())
    stop = free.token_ids[2]
    config["eos_token_id"] = [2, stop]
    (folder / "generation_config.json").write_text(json.dumps(config))
    stopped = make_generator(folder).generate([request])[0]
    assert stopped.token_ids == free.token_ids[: free.token_ids.index(stop) + 1]
    assert stopped.finish_reason == "stop"
    assert len(stopped.logprobs) == len(stopped.versions) == len(stopped.token_ids)


def test_stop_strings_end_a_reply_and_leave_its_text(make_generator: Make, tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    request = GenerationRequest("x", (5, 6, 7), Sampling(max_new_tokens=30), 1)
    free = make_generator().generate([request])[0]
    stop = free.text[4:7]
    stopped = make_generator().generate(
        [GenerationRequest("x", (5, 6, 7), Sampling(max_new_tokens=30, stop=("never said", stop)), 1)]
    )[0]
    assert stopped.finish_reason == "stop"
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.token_ids == free.token_ids[: len(stopped.token_ids)]
    assert stop in tokenizer.decode(stopped.token_ids)
    assert stop not in tokenizer.decode(stopped.token_ids[:-1])


def test_text_has_no_special_tokens(make_generator: Make, tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for completion in make_generator().generate(_requests(8, Sampling(max_new_tokens=60))):
        assert completion.text == tokenizer.decode(completion.token_ids, skip_special_tokens=True)
        assert (completion.finish_reason == "stop") == (completion.token_ids[-1] == 2)


def _changed(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: weight + 0.05 * torch.randn(weight.shape, generator=generator)
        for name, weight in network.named_parameters()
    }


@pytest.mark.parametrize("with_head", [False, True])
def test_updated_weights_are_used_tied_head_included(
    make_generator: Make, network: torch.nn.Module, with_head: bool
) -> None:
    """The reply and its log-probs are those of a fresh model with the new weights; tokens carry the new version."""
    weights = _changed(network)
    if with_head:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    generator = make_generator()
    requests = _requests(3, Sampling(max_new_tokens=6))
    before = generator.generate(requests)
    generator.update_weights(reversed(list(weights.items())), version=9)
    after = generator.generate(requests)
    assert [c.logprobs for c in before] != [c.logprobs for c in after]
    fresh = AutoModelForCausalLM.from_config(network.config).eval()
    fresh.load_state_dict({"lm_head.weight": weights["model.embed_tokens.weight"], **weights})
    for completion in after:
        ids = torch.tensor([completion.prompt_ids + completion.token_ids])
        with torch.no_grad():
            table = torch.log_softmax(fresh(ids).logits[0, :-1], -1)
        expected = table.gather(1, ids[0, 1:].unsqueeze(1)).squeeze(1)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)
        assert set(completion.versions) == {9}
    assert {v for c in before for v in c.versions} == {3}


def test_wrong_weights_are_named(make_generator: Make, network: torch.nn.Module) -> None:
    generator = make_generator()
    weights = _changed(network)
    with pytest.raises(ModelError, match=r"no weight named 'model\.nonsense'"):
        generator.update_weights([("model.nonsense", torch.zeros(1))], 1)
    with pytest.raises(ModelError, match=r"shape \(1,\), the generator's \(32,\)"):
        generator.update_weights([("model.norm.weight", torch.zeros(1))], 1)
    weights.pop("model.norm.weight")
    with pytest.raises(ModelError, match=r"missing from the update: model\.norm\.weight \(1 in all\)"):
        generator.update_weights(weights.items(), 1)


def test_collect_returns_what_ended_and_cancel_drops(make_generator: Make) -> None:
    """In a batch of 4 the short replies come first, though they were not submitted first; cancelled ones never."""
    generator = make_generator(batch=4)
    requests = [
        GenerationRequest(f"r{i}", (5, 6), Sampling(max_new_tokens=2 + 10 * (i % 2), temperature=0.3), i)
        for i in range(10)
    ]
    generator.submit(requests)
    generator.cancel(["r1", "r8"])
    first = generator.collect()
    assert 0 < len(first) < 4
    assert generator._opened().replies
    generator.cancel(["r3"])
    seen = [completion.id for completion in first]
    while done := generator.collect():
        seen += [completion.id for completion in done]
    assert sorted(seen) == [f"r{i}" for i in (0, 2, 4, 5, 6, 7, 9)]
    generator.submit(requests)
    generator.collect()
    generator.cancel()
    assert generator.collect() == []


def test_batches_hold_like_lengths_and_keep_the_token_budget(make_generator: Make) -> None:
    """Room of 40 tokens: two rows of 10 + 10 enter, the longest; one of 3 + 10 as soon as one of them has ended.

    Samples of one prompt hold it once: three of 10 + 10 need 40 tokens.
    """
    sampling = Sampling(max_new_tokens=10)
    prompts = [tuple(range(5 + i, 5 + i + n)) for i, n in enumerate((3, 10, 3, 10, 3))]
    requests = [GenerationRequest(str(i), prompt, sampling, i) for i, prompt in enumerate(prompts)]
    generator = make_generator(max_batch_tokens=40)
    generator.submit(requests)
    begun: set[str] = set()
    while done := generator.collect():
        going = generator._opened().replies
        begun |= {c.id for c in done}
        assert {"1", "3"} <= begun | {reply.request.id for reply in going}
        held = {reply.request.prompt_ids for reply in going}
        assert sum(map(len, held)) + 10 * len(going) <= 40
    generator.submit([GenerationRequest(f"s{i}", prompts[1], sampling, i) for i in range(4)])
    assert generator._opened().fits(generator._queue, 64, 40) == 3
    with pytest.raises(ModelError, match="needs 41 tokens"):
        generator.submit([GenerationRequest("long", (5,) * 31, sampling, 0)])


def test_new_weights_make_begun_replies_anew(make_generator: Make, network: torch.nn.Module) -> None:
    """Each reply is of one version: what was begun under the old weights is what the new ones reply."""
    requests = [
        GenerationRequest(r.id, r.prompt_ids, Sampling(max_new_tokens=2 + 3 * i), r.seed)
        for i, r in enumerate(_requests(6, Sampling()))
    ]
    generator = make_generator()
    generator.submit(requests)
    done = generator.collect()
    assert len(done) < 6
    weights = _changed(network)
    generator.update_weights(weights.items(), 7)
    later = []
    while more := generator.collect():
        later += more
    fresh = make_generator()
    fresh.update_weights(weights.items(), 7)
    expected = {c.id: c for c in fresh.generate(requests)}
    assert {c.id for c in later} == set(expected) - {c.id for c in done}
    assert [_without_logprobs(c) for c in later] == [_without_logprobs(expected[c.id]) for c in later]


def test_a_timeout_keeps_the_requests(make_generator: Make) -> None:
    generator = make_generator()
    generator.submit(_requests(2, Sampling(max_new_tokens=4)))
    with pytest.raises(TimeoutError, match="2 replies unfinished"):
        generator.collect(timeout=-1.0)
    assert len(generator.collect()) == 2


def test_bad_requests_are_refused(make_generator: Make) -> None:
    generator = make_generator()
    with pytest.raises(ValueError, match="'a' has no prompt"):
        generator.submit([GenerationRequest("a", (), Sampling(), 0)])
    with pytest.raises(ValueError, match="'a' is in flight already"):
        generator.submit([GenerationRequest("a", (5,), Sampling(), 0)] * 2)
    with pytest.raises(ModelError, match="fills the context of 512"):
        generator.submit([GenerationRequest("a", (5,) * 512, Sampling(), 0)])


def test_a_reply_is_cut_where_the_context_ends(make_generator: Make) -> None:
    completion = make_generator().generate([GenerationRequest("a", (5,) * 509, Sampling(max_new_tokens=50), 0)])[0]
    assert len(completion.token_ids) <= 3


def test_an_unreadable_folder_is_a_model_error(make_generator: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: cannot be read: No such file"):
        make_generator(tmp_path)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_broken_model_makes_no_replies(make_generator: Make, network: torch.nn.Module, temperature: float) -> None:
    """NaN logits gave some token all the same, and an evaluation of a broken model a score of 0 without a word."""
    generator = make_generator()
    generator.update_weights(((name, weight * float("nan")) for name, weight in network.named_parameters()), 4)
    with pytest.raises(NumericsError, match="logits are not finite in 2 of 2 replies"):
        generator.generate(_requests(2, Sampling(max_new_tokens=3, temperature=temperature)))
