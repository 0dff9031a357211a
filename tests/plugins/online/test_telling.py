"""What an online stage leaves of a step: rollouts with every token's history, metrics by source, alarms."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aftertrain.core.errors import RunError
from aftertrain.core.learning.rollouts import REASONS, RolloutFile, kept_steps

Make = Callable[..., Any]
GROUP = {"advantages": "group", "loss": {"use": "grpo"}, "kl": {"place": "loss"}}


def _reasons(reply: Any) -> list[str]:
    return [REASONS[place] for place in reply.reasons]


def test_every_token_knows_who_made_it_how_likely_and_why_it_counts(bench: Make) -> None:
    """Step s is made by the weights of step s - 1; the raw log-probabilities are the trainer's to rounding."""
    run = bench(changes={"steps": 3})
    run.run()
    assert kept_steps(run.folder) == [1, 2, 3]
    for step in (1, 2, 3):
        rollouts = RolloutFile(run.folder, step).read()
        metrics = run.of("metrics")[step - 1]
        lines = (run.folder / "samples" / f"step-{step:05d}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["id"] for line in lines] == [sample.id for sample in rollouts.samples]
        assert rollouts.facts == {"advantages": "gae", "dropped": [], "loss": "ppo", "seed": 0, "temperature": 1.0}
        apart = []
        for sample, reply in zip(rollouts.samples, rollouts.replies, strict=True):
            assert set(reply.versions.tolist()) <= {step - 1}
            assert len(reply.versions) == sample.tokens == int(reply.sampled.sum())
            assert _reasons(reply) == ["learnt" if drawn else "prompt" for drawn in reply.sampled]
            assert {"old_logprobs", "advantages", "returns", "rewards"} <= reply.columns.keys()
            assert sample.problem == sample.id.rpartition("/")[0]
            assert sample.source == "sums"
            assert sample.advantage == pytest.approx(reply.columns["advantages"].mean(), abs=1e-6)
            apart += np.abs(reply.logprobs - reply.columns["old_logprobs"]).tolist()
        assert np.mean(apart) == pytest.approx(metrics["logprob_difference"], rel=1e-4)
        assert {sample.state for sample in rollouts.samples} <= {"trained", "cut"}
        assert metrics["reward"] == pytest.approx(np.mean([sample.reward for sample in rollouts.samples]))


def test_groups_without_a_difference_are_told_apart(bench: Make) -> None:
    run = bench(changes={**GROUP, "steps": 1, "batch": {"updates": 1, "minibatches": 1}})
    run.run()
    rollouts = RolloutFile(run.folder, 1).read()
    rewards: dict[int, set[float | None]] = {}
    for sample, reply in zip(rollouts.samples, rollouts.replies, strict=True):
        rewards.setdefault(reply.group, set()).add(sample.reward)
    silent = {group for group, values in rewards.items() if len(values) == 1}
    assert silent, "the tiny model's replies to some prompt earn the same"
    for sample, reply in zip(rollouts.samples, rollouts.replies, strict=True):
        expected = "no_signal" if reply.group in silent else "learnt"
        assert set(_reasons(reply)) == {"prompt", expected}
        assert (sample.advantage == 0.0) == (reply.group in silent)
    assert run.of("metrics")[0]["constant_groups"] == pytest.approx(len(silent) / len(rewards))


def test_tokens_that_a_correction_left_out_say_so(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that reports other log-probabilities at every fourth token: these are outside the bounds."""
    from aftertrain.plugins.online import rollout

    whole = rollout.Rollout.segment

    def lying(self: Any) -> Any:
        from dataclasses import replace

        segment = whole(self)
        logprobs = segment.columns["generator_logprobs"]
        changed = tuple(value - 3.0 * (place % 4 == 0 and value != 0.0) for place, value in enumerate(logprobs))
        return replace(segment, columns={**segment.columns, "generator_logprobs": changed})

    monkeypatch.setattr(rollout.Rollout, "segment", lying)
    run = bench(changes={"steps": 1, "parity": None, "correction": {"rule": "mask", "low": 0.5, "high": 5.0}})
    run.run()
    for reply in RolloutFile(run.folder, 1).read().replies:
        for place, reason in enumerate(_reasons(reply)):
            drawn = bool(reply.sampled[place])
            assert reason == ("prompt" if not drawn else "off_policy" if place % 4 == 0 else "learnt")


def test_figures_by_source(bench: Make) -> None:
    run = bench(changes={"steps": 1, "data": {"use": "sums", "sources": 2}})
    run.run()
    metrics, samples = run.of("metrics")[0], RolloutFile(run.folder, 1).read().samples
    for source in ("sums-0", "sums-1"):
        own = [sample for sample in samples if sample.source == source]
        assert metrics[f"source_reward/{source}"] == pytest.approx(sum(s.reward or 0 for s in own) / len(own))
        right = [sample.verdicts[0].value == 1.0 for sample in own]
        assert metrics[f"accuracy/{source}"] == pytest.approx(sum(right) / len(right))


def _alarms(run: Any) -> list[tuple[int | None, str, bool]]:
    return [(step, data["name"], data.get("cleared", False)) for name, step, data in run.events if name == "alarm"]


def test_an_alarm_is_told_once_with_advice_and_by_a_resumed_run_too(bench: Make) -> None:
    """A verifier that pays for anything without odd white space: all replies that are paid flip."""
    changes = {"rewards": [{"use": "spaced"}], "data": {"use": "sums", "check": "spaced"}, "steps": 8}
    whole = bench("whole", changes)
    whole.run()
    found = _alarms(whole)
    assert (4, "hack_white_space", False) in found, "two of two flip in each step, and eight are enough"
    assert [name for _, name, _ in found].count("hack_white_space") == 1
    (alarm,) = [data for data in whole.of("alarm") if data["name"] == "hack_white_space"]
    assert alarm["message"] == "8 of 8 paid replies are no longer right with other white space"
    assert "aftertrain show sample" in alarm["advice"]
    killed = bench("killed", changes, kill_at=("progress", 7))
    with pytest.raises(BaseException, match="progress 7"):
        killed.run()
    again = bench("killed", changes)
    again.run()
    assert _alarms(again) == [row for row in found if row[0] > 6], "those that stand are not told again"
    assert again.outcome() == whole.outcome()


def test_the_probe_of_white_space_can_be_left_out(bench: Make) -> None:
    changes = {"rewards": [{"use": "spaced"}], "data": {"use": "sums", "check": "spaced"}, "steps": 8, "respaced": 0}
    run = bench(changes=changes)
    run.run()
    assert "hack_white_space" not in {name for _, name, _ in _alarms(run)}


def test_a_damaged_step_is_told(bench: Make) -> None:
    run = bench(changes={"steps": 1})
    run.run()
    path = run.folder / "samples" / "step-00001.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("sum-", "sum_", 1), encoding="utf-8")
    with pytest.raises(RunError, match=r"step-00001\.jsonl: is not what was written"):
        RolloutFile(run.folder, 1).read()
