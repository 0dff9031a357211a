"""The in-process generator: against transformers' own generate, its own log-probs, and the contract."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aftertrain.core.errors import ModelError, NumericsError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.records import Completion
from aftertrain.plugins.generation.decoding import Decoder
from aftertrain.plugins.generation.transformers import Transformers

Make = Callable[..., Transformers]


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
def test_prompts_that_begin_alike_reply_as_alone(make_generator: Make, network: torch.nn.Module, begun: int) -> None:
    """Worked examples before questions of unlike length, one of them the beginning of another, and a twin."""
    draw = torch.Generator().manual_seed(1)
    shots = tuple(torch.randint(3, 300, (begun,), generator=draw).tolist())
    sampling = Sampling(max_new_tokens=8, temperature=0.7)
    endings = [(9,), (9, 10), (9, 10, 11, 12), *(request.prompt_ids for request in _requests(4, sampling)), (9, 10)]
    requests = [GenerationRequest(f"r{i}", shots + ending, sampling, i) for i, ending in enumerate(endings)]
    generator = make_generator()
    assert generator._decoder is not None
    counted: list[int] = []
    inner = generator._decoder.model.forward

    def counting(*args: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        counted.append(input_ids.numel())
        return inner(*args, input_ids=input_ids, **kwargs)

    counting.__signature__ = inspect.signature(inner)  # type: ignore[attr-defined]
    generator._decoder.model.forward = counting
    together = generator.generate(requests)
    alone = [make_generator(batch=1).generate([request])[0] for request in requests]
    assert [_without_logprobs(c) for c in together] == [_without_logprobs(c) for c in alone]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    longest = max(map(len, endings))
    prefill = [begun, len(endings) * longest] if begun >= 32 else [len(endings) * (begun + longest)]
    assert counted[: len(prefill)] == prefill


def test_layers_that_see_few_tokens_share_no_beginning() -> None:
    """Padding between the beginning and the rest would push the beginning out of a sliding window."""
    from transformers import GPTNeoConfig, LlamaConfig, MistralConfig

    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 50}
    neo = {"num_layers": 2, "num_heads": 4, "hidden_size": 32, "vocab_size": 50}
    for config, splits in (
        (LlamaConfig(**sizes), True),
        (MistralConfig(**sizes, num_key_value_heads=4, sliding_window=4), False),
        (MistralConfig(**sizes, num_key_value_heads=4, sliding_window=None), True),
        (GPTNeoConfig(**neo, attention_types=[[["global", "local"], 1]]), False),
        (GPTNeoConfig(**neo, attention_types=[[["global"], 2]]), True),
    ):
        model = AutoModelForCausalLM.from_config(config)
        assert Decoder(model, None, frozenset({1}), None, torch.device("cpu")).splits == splits


@pytest.mark.parametrize("family", ["window", "dynamic"])
def test_what_shares_no_beginning_replies_as_transformers(tiny_model: Path, family: str) -> None:
    """GPT-Neo's local layers (8 tokens back), and rotary frequencies that follow the longest position (beyond 40)."""
    from transformers import GPTNeoConfig, LlamaConfig

    from aftertrain.core.learning.seeding import global_seed

    sizes = {"hidden_size": 32, "vocab_size": 300, "initializer_range": 0.4}
    local = [[["global", "local"], 1]]
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    config = (
        GPTNeoConfig(**sizes, num_layers=2, num_heads=4, attention_types=local, window_size=8)
        if family == "window"
        else LlamaConfig(
            **sizes,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=40,
            rope_parameters=rope,
        )
    )
    with global_seed(0):
        model = AutoModelForCausalLM.from_config(config).eval()
    shots = tuple(torch.randint(3, 300, (44,), generator=torch.Generator().manual_seed(1)).tolist())
    prompts = [(*shots, *ending) for ending in ((9,), (9, 10, 11, 12), tuple(range(5, 14)))]
    sampling = Sampling(max_new_tokens=1, temperature=1.0)
    requests = [GenerationRequest(f"r{i}", prompt, sampling, i) for i, prompt in enumerate(prompts)]
    decoder = Decoder(model, AutoTokenizer.from_pretrained(tiny_model), frozenset({1}), None, torch.device("cpu"))
    for prompt, completion in zip(prompts, decoder.decode(requests, 0), strict=True):
        with torch.no_grad():
            logprobs = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        assert completion.logprobs[0] == pytest.approx(float(logprobs[completion.token_ids[0]]), abs=1e-4)


def test_a_model_of_states_alone_replies_as_transformers(tiny_model: Path) -> None:
    """Mamba takes a mask to be of the new tokens: one of all tokens changed each state after the first."""
    from transformers import MambaConfig

    from aftertrain.core.learning.seeding import global_seed

    with global_seed(0):
        config = MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, initializer_range=0.4)
        model = AutoModelForCausalLM.from_config(config).eval()
    prompts = [(5, 6, 7), (9, 10, 11, 12, 13, 14)]
    sampling = Sampling(max_new_tokens=8, temperature=1.0)
    requests = [GenerationRequest(f"r{i}", prompt, sampling, i) for i, prompt in enumerate(prompts)]
    decoder = Decoder(model, AutoTokenizer.from_pretrained(tiny_model), frozenset({1}), None, torch.device("cpu"))
    for prompt, completion in zip(prompts, decoder.decode(requests, 0), strict=True):
        with torch.no_grad():
            table = model(torch.tensor([prompt + completion.token_ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = table.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)


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


def test_collect_runs_one_batch_and_cancel_drops(make_generator: Make) -> None:
    generator = make_generator(batch=4)
    requests = _requests(10, Sampling(max_new_tokens=2))
    generator.submit(requests)
    generator.cancel(["r1", "r7"])
    sizes, seen = [], set()
    while done := generator.collect():
        sizes.append(len(done))
        seen |= {completion.id for completion in done}
    assert sizes == [4, 4]
    assert seen == {f"r{i}" for i in range(10)} - {"r1", "r7"}
    generator.submit(requests)
    generator.cancel()
    assert generator.collect() == []


def test_batches_hold_like_lengths_and_keep_the_token_budget(make_generator: Make) -> None:
    """Room of 40 tokens: two rows of 10 + 10, then three of 3 + 10."""
    sampling = Sampling(max_new_tokens=10)
    requests = [GenerationRequest(str(i), (5,) * n, sampling, i) for i, n in enumerate((3, 10, 3, 10, 3))]
    generator = make_generator(max_batch_tokens=40)
    generator.submit(requests)
    assert [sorted(c.id for c in generator.collect()) for _ in range(2)] == [["1", "3"], ["0", "2", "4"]]
    with pytest.raises(ModelError, match="needs 41 tokens"):
        generator.submit([GenerationRequest("long", (5,) * 31, sampling, 0)])


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
def test_a_broken_model_makes_no_replies(make_generator: Make, temperature: float) -> None:
    """NaN logits gave some token all the same, and an evaluation of a broken model a score of 0 without a word."""
    generator = make_generator()
    own = generator._opened().model.state_dict()
    generator.update_weights(((name, weight * float("nan")) for name, weight in own.items()), 4)
    with pytest.raises(NumericsError, match="logits are not finite in 2 of 2 replies"):
        generator.generate(_requests(2, Sampling(max_new_tokens=3, temperature=temperature)))
