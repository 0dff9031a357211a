"""Single replies with a label, pairs as two rows, and the mismatched samples that KTO estimates its KL from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aftertrain.core.batch import PROBE, SINGLE
from aftertrain.core.errors import DataError
from aftertrain.core.loss import Needs
from aftertrain.core.packed.packing import Segment
from aftertrain.core.records import Feedback, Message, PreferencePair
from aftertrain.plugins.training.atoms import Atoms
from aftertrain.plugins.training.columns import record_batch
from aftertrain.plugins.training.probes import partners_of
from aftertrain.plugins.training.samples import prepare
from aftertrain.plugins.training.settings import Batch
from aftertrain.plugins.training.store import Store

UNPAIRED = Needs(records=frozenset({"Feedback", "PreferencePair"}), probes="mismatched")


def sample(name: str, prompt: list[int], reply: list[int]) -> list[Segment]:
    mask = [False] * len(prompt) + [True] * len(reply)
    return [Segment(name, [*prompt, *reply], mask, label=1.0, columns={})]


def with_probes(atoms: list[list[Segment]], limit: int) -> Atoms:
    """Atoms as a store holds them, followed by their segments' probes."""
    store = Store([record_batch(atoms)])
    return Atoms(store, np.arange(len(atoms)), limit, partners_of(store, np.arange(len(store))))


def parts(segment: Segment) -> tuple[list[int], list[int]]:
    """Tokens of prompt and of reply."""
    pairs = list(zip(segment.token_ids, segment.loss_mask, strict=True))
    return [token for token, target in pairs if not target], [token for token, target in pairs if target]


def test_each_prompt_gets_another_rows_reply_and_each_reply_is_used_once() -> None:
    atoms = [sample(str(i), [100 + i, 7], [200 + i, 201 + i]) for i in range(20)]
    found = with_probes(atoms, 10)
    replies = []
    for i, (row, probe) in enumerate(found):
        assert row == atoms[i][0]
        assert (probe.role, probe.sample_id, probe.label) == (PROBE, f"{i}/probe", 1.0)
        prompt, reply = parts(probe)
        assert prompt == [100 + i, 7]
        assert reply != [200 + i, 201 + i]
        replies.append(reply)
    assert sorted(replies) == [[200 + i, 201 + i] for i in range(20)]
    assert list(found) == list(with_probes(atoms, 10))


def test_rows_of_one_prompt_never_answer_each_other() -> None:
    """Nine of twelve rows ask the same: each of them still gets the reply to another prompt."""
    atoms = [sample(str(i), [1 if i < 9 else i], [50 + i]) for i in range(12)]
    for i, (_, probe) in enumerate(with_probes(atoms, 10)):
        _, (reply,) = parts(probe)
        other = reply - 50
        assert atoms[other][0].token_ids[0] != atoms[i][0].token_ids[0]


def test_one_prompt_alone_is_an_error() -> None:
    with pytest.raises(DataError, match="all 3 rows have one prompt"):
        with_probes([sample(str(i), [1], [50 + i]) for i in range(3)], 10)
    with pytest.raises(DataError, match="all 1 rows have one prompt"):
        with_probes([sample("a", [1], [50])], 10)


def test_a_probe_is_cut_at_the_longest_sample() -> None:
    atoms = [sample("a", [1] * 6, [50]), sample("b", [2], [60] * 6)]
    (_, probe), _ = with_probes(atoms, 8)
    assert parts(probe) == ([1] * 6, [60, 60])


def test_probes_are_seen_without_being_made() -> None:
    """Lengths, sizes and spans are those of the segments, of atoms of one and of two, also where a probe is cut."""
    single = [sample(str(i), [100 + i] * (i + 1), [200 + i] * (7 - i)) for i in range(6)]
    for atoms in (single, [[*a, *b] for a, b in zip(single[::2], single[1::2], strict=True)]):
        probed = with_probes(atoms, 9)
        segments = [segment for atom in probed for segment in atom]
        assert probed.lengths.tolist() == [len(segment.token_ids) for segment in segments]
        assert probed.sizes.tolist() == [sum(len(segment.token_ids) for segment in atom) for atom in probed]
        spans = [span for i in range(len(probed)) for span in probed.spans(i)]
        assert [span.token_ids.tolist() for span in spans] == [list(segment.token_ids) for segment in segments]
        for span, segment in zip(spans, segments, strict=True):
            (start, stop) = span.targets.tolist()
            assert [start <= i < stop for i in range(len(span.token_ids))] == list(segment.loss_mask)
    assert max(probed.lengths) == 9


def test_a_pair_is_two_rows_for_a_loss_of_single_replies(tiny_model: Path) -> None:
    from aftertrain.core.text.chat import load_tokenizer

    tokenizer = load_tokenizer(str(tiny_model))
    yes, no = (Message("assistant", "Yes"),), (Message("assistant", "No"),)
    pairs = [PreferencePair(str(i), (Message("user", f"Is it {i}?"),), yes, no, "test") for i in range(2)]
    single = [
        Feedback(f"{i}{word}", pair.prompt, reply, word == "y", "test")
        for i, pair in enumerate(pairs)
        for word, reply in (("y", yes), ("n", no))
    ]
    from_pairs, from_single = (prepare(tokenizer, rows, Batch(), UNPAIRED).atoms for rows in (pairs, single))
    assert len(from_pairs) == len(from_single) == 4
    for one, other in zip(from_pairs, from_single, strict=True):
        assert [segment.role for segment in one] == [SINGLE, PROBE]
        assert one[0].token_ids == other[0].token_ids
        assert (one[0].label, one[0].loss_mask) == (other[0].label, other[0].loss_mask)
    assert [atom[0].label for atom in from_pairs] == [1.0, 0.0, 1.0, 0.0]


def test_kto_learns_from_labels(bench: Callable[..., Any], tmp_path: Path) -> None:
    """Ten rows, every other one undesirable: rewards part, and the plan counts replies.

    At the first step the policy is the reference: every reward and the KL are 0, and the loss is 1 − σ(0) = ½.
    """
    rows = [
        {"prompt": f"What is {i} + 3?", "completion": f"It is {i + 3}." if i % 2 else "No idea", "label": bool(i % 2)}
        for i in range(10)
    ]
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"use": "jsonl", "path": str(path), "format": "feedback"}
    stage = bench("kto", loss={"use": "kto", "beta": 0.5}, data=data, epochs=8)
    items = {item.label: item.value for item in stage.plan()}
    assert items["rows"] == "10 replies from jsonl"
    assert items["1 step"].startswith("4 replies ≈ ")
    stage.run()
    first, *others = stage.of("metrics")
    last = next(step for step in reversed(others) if {"reward_chosen", "reward_rejected"} <= step.keys())
    assert (first["loss"], first["kl"]) == (pytest.approx(0.5, abs=1e-5), pytest.approx(0.0, abs=1e-4))
    assert last["reward_chosen"] > 0.5 > -0.5 > last["reward_rejected"]
    assert last["accuracy"] == 1.0
    assert any(event["kl"] > 0 for event in stage.of("metrics"))


def test_pairs_without_a_margin_are_refused_by_name(bench: Callable[..., Any], pairs: Path) -> None:
    data = {"use": "jsonl", "path": str(pairs), "format": "preference"}
    stage = bench("margins", loss={"use": "reward_model", "margin": True}, data=data)
    with pytest.raises(DataError, match="the pair has margin None; the loss wants the difference"):
        stage.run()


def test_margins_of_ratings_reach_the_reward_model(bench: Callable[..., Any], tmp_path: Path) -> None:
    """A margin of 4 on an untrained model costs about log(1 + e⁴) = 4.018 a pair, and without margin about log 2."""
    row = {"chosen": "Yes.", "rejected": "No.", "score_chosen": 5.0, "score_rejected": 1.0}
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Is it {i}?", **row}) + "\n" for i in range(4)))
    data = {"use": "jsonl", "path": str(path), "format": "preference"}
    losses = []
    for margin in (True, False):
        stage = bench(f"margin-{margin}", loss={"use": "reward_model", "margin": margin}, data=data)
        stage.run()
        losses.append(stage.of("metrics")[0])
    (with_margin, plain) = losses
    assert with_margin["margin"] == plain["margin"]
    assert with_margin["loss"] - plain["loss"] > 2.5


def test_beta_rises_over_the_stage(bench: Callable[..., Any], pairs: Path) -> None:
    """Six steps of β₀ = 2: β is 2·√(t/6) in the metrics (F22)."""
    data = {"use": "jsonl", "path": str(pairs), "format": "preference"}
    stage = bench("beta", loss={"use": "dpo", "beta": 2.0, "beta_schedule": "adaptive"}, data=data, epochs=2)
    stage.run()
    assert [event["beta"] for event in stage.of("metrics")] == pytest.approx([2 * (t / 6) ** 0.5 for t in range(1, 7)])


def test_the_adaptive_rate_knows_the_short_step(bench: Callable[..., Any], conversations: Path) -> None:
    """Twelve rows by five: the third step has two, so its rate is √(5/2) of the others' (F12)."""
    stage = bench(
        "rate",
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(conversations)},
        batch={"sequences": 5, "max_tokens": 128},
        optimizer={"lr": 1e-3, "schedule": "adaptive"},
    )
    stage.run()
    assert [event["learning_rate"] for event in stage.of("metrics")] == pytest.approx([1e-3, 1e-3, 1e-3 * 2.5**0.5])
