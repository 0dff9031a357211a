"""Attention level by level is attention over everything a row has before it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from aftertrain.plugins.generation import levels
from aftertrain.plugins.generation.levels import Level, attention, joined

CPU = torch.device("cpu")
SCALE = 0.3


def _attention_written_out(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return attention(q, k, torch.cat([v, v], -1), mask, scale)[0][..., : v.shape[-1]], attention(q, k, v, mask, scale)[
        1
    ]


@pytest.mark.parametrize("written_out", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_three_levels_are_one_attention(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, written_out: bool) -> None:
    """Six rows over 5 common tokens, prompts of 4, 1 and 7, and own tokens that grow past their room, one row leaving.

    `written_out` takes the way of other devices and of values of another size.
    """
    if written_out:
        monkeypatch.setattr(levels, "attention", _attention_written_out)
    draw = torch.Generator().manual_seed(0)

    def states(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, 8, generator=draw).to(dtype)

    prompts_of = [0, 0, 1, 2, 2, 2]
    common, prompts, replies = Level([5], CPU), Level([4, 1, 7], CPU), Level([0] * 6, CPU)
    held = {"common": [states(2, 5)] * 2, "prompts": [[states(2, n)] * 2 for n in (4, 1, 7)]}
    common.put(0, 0, 0, *held["common"])
    for node, (keys, values) in enumerate(held["prompts"]):
        prompts.put(0, node, 0, keys, values)
    prompts.read_by(prompts_of)
    replies.read_by(range(6))
    rows, own = list(range(6)), [[states(2, 0)] * 2 for _ in range(6)]
    near = {"atol": 2e-5, "rtol": 2e-5} if dtype == torch.float32 else {"atol": 3e-2, "rtol": 3e-2}
    for step in range(50):
        if step == 20:
            rows.remove(3)
            prompts.read_by([prompts_of[row] for row in rows])
            replies.read_by(rows)
        if step == 40:
            rows = [4]
            replies.keep([4])
            prompts.keep([2])
            prompts.read_by([0])
            replies.read_by([0])
        query, keys, values = states(len(rows), 6), states(len(rows), 2), states(len(rows), 2)
        replies.grow()
        replies.append(0, keys, values)
        out = joined([level.attend(0, query, SCALE) for level in (common, prompts, replies)])
        assert out.dtype == dtype
        for place, row in enumerate(rows):
            added = [new[place].unsqueeze(1) for new in (keys, values)]
            own[row] = [torch.cat(parts, 1) for parts in zip(own[row], added, strict=True)]
            k, v = (torch.cat([held["common"][i], held["prompts"][prompts_of[row]][i], own[row][i]], 1) for i in (0, 1))
            expected = scaled_dot_product_attention(
                query[place][None, :, None], k[None], v[None], scale=SCALE, enable_gqa=True
            )
            torch.testing.assert_close(out[place], expected[0, :, 0], **near)


def test_what_lies_in_padding_does_not_matter() -> None:
    """A level's padding is finite, whatever the memory held before."""
    level = Level([3, 1], CPU)
    level.put(0, 0, 0, torch.ones(1, 3, 4), torch.ones(1, 3, 4))
    level.put(0, 1, 0, torch.ones(1, 1, 4), torch.ones(1, 1, 4))
    assert torch.isfinite(level.keys[0]).all()
    level.read_by([1, 0])
    out, lse = level.attend(0, torch.ones(2, 1, 4), 1.0)
    assert out.tolist() == torch.ones(2, 1, 4).tolist()
    torch.testing.assert_close(lse.flatten(), 4.0 + torch.tensor([1.0, 3.0]).log())
