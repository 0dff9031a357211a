"""The event `rows`: counts, histogram and packing against numbers worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aftertrain.plugins.training.picture import histogram


def test_a_histogram_counts_every_length_once() -> None:
    """Lengths 1, 5, 9, 47 and 48: bars two wide would take 25, so they are three wide: 48 // 24 + 1."""
    found = histogram(np.array([1, 5, 9, 47, 48]))
    assert found.width == 3
    assert {i: n for i, n in enumerate(found.counts) if n} == {0: 1, 1: 1, 3: 1, 15: 1, 16: 1}
    assert (found.least, found.median, found.p95, found.greatest) == (1, 9, 47, 48)
    assert found.mean == 22.0


def test_the_picture_of_three_rows(bench: Callable[..., Any], tmp_path: Path) -> None:
    """Two micro-batches of 40 positions hold all tokens; padded, each segment would be as long as its longest."""
    path = tmp_path / "rows.jsonl"
    replies = ["a", "a b c d e f", "a b c"]
    path.write_text(
        "".join(
            json.dumps(
                {"id": str(i), "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": reply}]}
            )
            + "\n"
            for i, reply in enumerate(replies)
        )
    )
    stage = bench(
        "x",
        loss={"use": "sft"},
        data={"use": "jsonl", "path": str(path), "source": "letters"},
        batch={"sequences": 3, "max_tokens": 20, "micro_tokens": 20},
    )
    stage.run()
    (rows,) = stage.of("rows")
    (metrics,) = stage.of("metrics")
    # "<|user|>\nx\n<|assistant|>\n" is 6 tokens; a reply of n letters and its end token is 2n.
    lengths = [8, 18, 12]
    assert (rows["rows"], rows["kept"], rows["segments"]) == (3, 3, 3)
    assert (rows["tokens"], rows["targets"]) == (sum(lengths), 2 + 12 + 6) == (metrics["tokens"], 20)
    assert rows["sources"] == {"letters": {"atoms": 3, "tokens": 38, "targets": 20}}
    assert sum(rows["lengths"]["counts"]) == 3
    assert rows["packing"] == {
        "steps": 1,
        "budget": 20,
        "micro_batches": 2,  # 18, and 12 + 8
        "filled": pytest.approx(38 / 40),
        "padding": pytest.approx(1 - 38 / (18 + 2 * 12)),
    }


def test_it_is_told_once(bench: Callable[..., Any], conversations: Path) -> None:
    """A second attempt adds nothing to the figures."""
    from aftertrain.core.errors import Interrupted

    settings: dict[str, Any] = {"loss": {"use": "sft"}, "data": {"use": "jsonl", "path": str(conversations)}}
    first = bench("x", stop_after=1, **settings)
    with pytest.raises(Interrupted):
        first.run()
    second = bench("x", **settings)
    second.run()
    assert (len(first.of("rows")), len(second.of("rows"))) == (1, 0)
