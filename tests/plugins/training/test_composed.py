"""Batches composed by the model in training (F13): scores against transformers, epochs, pools, exact resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from aftertrain.core.errors import CheckpointError, Interrupted, RunError
from aftertrain.core.packed.packing import Segment
from aftertrain.plugins.training.attempt import Attempt
from aftertrain.plugins.training.composed import Composed, reply_logprobs
from aftertrain.plugins.training.settings import Batch, Compose, TrainSettings

SFT = {"use": "sft"}


def settings(path: Path, **compose: Any) -> dict[str, Any]:
    return {"loss": SFT, "data": {"use": "jsonl", "path": str(path)}, "epochs": 2, "compose": {"pool": 2, **compose}}


def test_scores_are_those_of_transformers(bench: Callable[..., Any], conversations: Path, tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    engine = bench("x", **settings(conversations)).stage.parts.new_engine()
    engine.load(str(tiny_model))
    generator = torch.Generator().manual_seed(0)
    replies = []
    for length in (5, 9, 14, 3):
        ids = torch.randint(4, 100, (length,), generator=generator).tolist()
        mask = [i >= length // 2 for i in range(length)]
        replies.append(Segment(f"row-{length}", ids, mask))
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    expected = []
    for reply in replies:
        with torch.no_grad():
            logprobs = model(torch.tensor([reply.token_ids])).logits[0].log_softmax(-1)
        expected.append(
            [float(logprobs[i - 1, reply.token_ids[i]]) for i, target in enumerate(reply.loss_mask) if i and target]
        )
    sums = reply_logprobs(replies, 16, engine, mean=False)
    assert sums == pytest.approx([sum(row) for row in expected], rel=1e-5)
    means = reply_logprobs(replies, 16, engine, mean=True)
    assert means == pytest.approx([sum(row) / len(row) for row in expected], rel=1e-5)


def test_an_epoch_sees_each_row_once_and_pools_begin_with_the_likeliest(
    bench: Callable[..., Any], conversations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three steps an epoch in pools of two and one: within the pool, the first batch is likelier where λ is 0."""
    stage = bench("stage", **settings(conversations, weight=0.0))
    seen: list[list[str]] = []
    original = Attempt._feed

    def watched(*args: Any, **kwargs: Any) -> Any:
        feed = original(*args, **kwargs)
        atoms = feed.atoms

        def noted(step: int) -> Any:
            found = atoms(step)
            seen.append([atom[0].sample_id for atom in found])
            return found

        feed.atoms = noted
        return feed

    monkeypatch.setattr(Attempt, "_feed", watched)
    stage.run()
    assert [len(step) for step in seen] == [4] * 6
    for epoch in (seen[:3], seen[3:]):
        assert sorted(name for step in epoch for name in step) == sorted(f"sum-{i}" for i in range(12))
    metrics = stage.of("metrics")
    assert metrics[0]["batch_logprob"] > metrics[1]["batch_logprob"]
    assert metrics[3]["batch_logprob"] > metrics[4]["batch_logprob"]
    assert {step["batch_source_entropy"] for step in metrics} == {0.0}


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_stop_within_a_pool_or_between_two_changes_no_bit(
    stop: int, bench: Callable[..., Any], conversations: Path
) -> None:
    whole = bench("whole", **settings(conversations))
    expected = whole.run()
    part = bench("part", stop_after=stop, **settings(conversations))
    with pytest.raises(Interrupted):
        part.run()
    rest = bench("part", **settings(conversations))
    artifact = rest.run()
    assert part.of("metrics") + rest.of("metrics") == whole.of("metrics")
    for name, tensor in load_file(Path(expected.path) / "model.safetensors").items():
        assert torch.equal(tensor, load_file(Path(artifact.path) / "model.safetensors")[name]), name


def test_pairs_are_composed_by_their_chosen_replies(bench: Callable[..., Any], pairs: Path) -> None:
    data = {"use": "jsonl", "path": str(pairs), "format": "preference"}
    stage = bench("pairs", loss={"use": "dpo"}, data=data, compose={"pool": 2})
    stage.run()
    assert len(stage.of("metrics")) == 3


def test_what_does_not_go_together_is_refused(bench: Callable[..., Any], conversations: Path, pairs: Path) -> None:
    with pytest.raises(ValidationError, match="compose chooses among rows that are known"):
        bench("x", loss=SFT, data={"use": "jsonl", "path": str(conversations)}, compose={}, stream={}, max_steps=3)
    data = {"use": "jsonl", "path": str(pairs), "format": "preference"}
    with pytest.raises(RunError, match="compose goes by log-probabilities, which the model of loss 'reward_model'"):
        bench("x", loss={"use": "reward_model"}, data=data, compose={}).run()
    stage = bench("x", **settings(conversations))
    with pytest.raises(RunError, match="the model in training composes the batches"):
        stage.stage.batches(stage.plan_context(), 1)


def test_a_position_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    settings = TrainSettings.model_construct(batch=Batch(sequences=2), epochs=1, max_steps=None, compose=Compose())
    feed = Composed(settings, [], 1, 0, None, engine=None)  # type: ignore[arg-type]
    for content in (None, "{", '{"steps": [1, 3]}'):
        if content is not None:
            (tmp_path / "composition.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"composition\.json.*--restart"):
            feed.restore(tmp_path)
