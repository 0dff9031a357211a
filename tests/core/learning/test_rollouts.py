"""A step's rollouts come back from disk to the last bit, and a changed byte of either file is told by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from aftertrain.core.errors import RunError
from aftertrain.core.events import Sample, SampleVerdict
from aftertrain.core.learning.rollouts import (
    REASONS,
    ReplyTokens,
    RolloutFile,
    Rollouts,
    code,
    columns_by_reply,
    kept_steps,
)
from aftertrain.core.packed.packing import Segment, pack


def _rollouts(step: int = 3) -> Rollouts:
    """Two replies to one problem; the second was cut and never scored, and its log-probabilities are extreme."""
    verdict = SampleVerdict("gsm8k", "scored", 1.0, "4", "last number", 10.0)
    first = Sample("2+2?", "It is 4", 10.0, (verdict,), id="p/0", problem="p", parts={"verified": 10.0}, advantage=0.5)
    second = Sample("2+2?", "\u2028\x9b…\nno", 0.0, id="p/1", finish_reason="length")
    columns = {"old_logprobs": np.array([-0.1, -3.5e-8, -0.25], np.float32)}
    tokens = ReplyTokens.of_reply([5, 6], [7, 8, 9], [-0.1, -0.0, -0.3], [2, 2, 3], group=0, columns=columns)
    cut = ReplyTokens.of_reply([5, 6], [70_000], [float("-inf")], [3], group=0, reason="cut")
    return Rollouts(step, (first, second), (tokens, cut), {"temperature": 0.7, "note": "é"})


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    written = _rollouts()
    RolloutFile(tmp_path, 3).write(written)
    found = RolloutFile(tmp_path, 3).read()
    assert (found.step, found.samples, found.facts) == (3, written.samples, written.facts)
    for old, new in zip(written.replies, found.replies, strict=True):
        assert old.group == new.group
        for name in ("token_ids", "sampled", "reasons", "versions", "logprobs"):
            assert getattr(old, name).tobytes() == getattr(new, name).tobytes(), name
    assert found.replies[0].columns["old_logprobs"].tobytes() == written.replies[0].columns["old_logprobs"].tobytes()
    assert np.isnan(found.replies[1].columns["old_logprobs"]).all()
    assert found.replies[1].logprobs.tolist() == [float("-inf")]
    assert [REASONS[place] for place in found.replies[1].reasons] == ["prompt", "prompt", "cut"]


def test_the_token_file_is_plain_safetensors(tmp_path: Path) -> None:
    RolloutFile(tmp_path, 3).write(_rollouts())
    arrays = load_file(tmp_path / "rollouts" / "step-00003.safetensors")
    assert arrays["token_ids"].tolist() == [5, 6, 7, 8, 9, 5, 6, 70_000]
    assert arrays["sampled"].tolist() == [False, False, True, True, True, False, False, True]
    assert arrays["versions"].tolist() == [2, 2, 3, 3]


def test_the_same_rollouts_are_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        RolloutFile(tmp_path / name, 3).write(_rollouts())
    files = [sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("step-*")) for name in "ab"]
    assert files[0] == files[1]
    assert len(files[0]) == 2
    for file in files[0]:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_steps_that_are_kept(tmp_path: Path) -> None:
    assert kept_steps(tmp_path) == []
    for step in (12, 3, 100_000):
        RolloutFile(tmp_path, step).write(_rollouts(step))
    (tmp_path / "rollouts" / ".step-00004.safetensors").touch()
    assert kept_steps(tmp_path) == [3, 12, 100_000]


def test_any_changed_byte_is_told_with_its_file(tmp_path: Path) -> None:
    """Of both files every byte in turn (some of them many): each change is refused, none is a traceback."""
    kept = RolloutFile(tmp_path, 3)
    kept.write(_rollouts())
    for path in (kept.samples, kept.tokens):
        whole = path.read_bytes()
        for place in range(0, len(whole), 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(RunError, match=path.name if path == kept.tokens else r"step-00003\."):
                kept.read()
        for short in (0, 4, len(whole) - 1):
            path.write_bytes(whole[:short])
            with pytest.raises(RunError, match=r"step-00003\."):
                kept.read()
        path.write_bytes(whole)
    kept.read()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    kept = RolloutFile(tmp_path, 3)
    kept.write(_rollouts())
    kept.samples.unlink()
    with pytest.raises(RunError, match=r"step-00003\.jsonl: cannot be read: .* cannot be replayed"):
        kept.read()


def test_shapes_and_names_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    good = _rollouts()
    kept = RolloutFile(tmp_path, 3)
    short = replace(good.replies[0], versions=np.array([1], np.int32))
    with pytest.raises(ValueError, match=r"reply 'p/0': versions has shape \(1,\), needs \(3,\)"):
        kept.write(replace(good, replies=(short, good.replies[1])))
    with pytest.raises(ValueError, match="2 samples and tokens of 1 replies"):
        kept.write(replace(good, replies=good.replies[:1]))
    with pytest.raises(ValueError, match="of step 3 are not those of step 4"):
        RolloutFile(tmp_path, 4).write(good)
    with pytest.raises(ValueError, match=r"no reason named 'promt'\. Did you mean 'prompt'"):
        code("promt")
    with pytest.raises(RunError, match="step 3: no reply named 'p/9'"):
        good.find("p/9")
    assert not list(tmp_path.rglob("step-*"))


def test_columns_of_packed_batches_are_found_by_reply() -> None:
    """Three segments in two micro-batches, in another order than the replies'."""
    segments = [
        Segment(name, (1, 2, 3)[:n], (False, *[True] * (n - 1)), "s") for name, n in (("a", 3), ("b", 2), ("c", 3))
    ]
    batches = [
        batch.with_columns(advantages=torch.arange(batch.n_tokens, dtype=torch.float32))
        for batch in pack([[segment] for segment in reversed(segments)], 5)
    ]
    columns = columns_by_reply(batches)
    assert sorted(columns) == ["a", "b", "c"]
    for batch in batches:
        first = 0
        for name, length in zip(batch.sample_ids, batch.lengths, strict=True):
            assert columns[name]["advantages"].tolist() == [float(place) for place in range(first, first + length)]
            first += length
    kept = ReplyTokens.of_reply([1], [2, 3], [-1.0, -2.0], [0, 0], group=0, columns=columns["a"])
    assert kept.columns["advantages"].tolist() == columns["a"]["advantages"][1:].tolist()
