"""Continuations scored as a tree of tokens: against plain transformers, whatever is shared and however it is packed."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.engine import Continuation
from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.packed.model import load_model, score_continuations
from aftertrain.core.packed.tree import TokenTree, batches


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return load_model(str(tiny_model), "lm", 0)


@pytest.fixture(scope="module")
def plain(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


def by_hand(plain: Any, item: Continuation) -> tuple[float, bool]:
    """One unpacked forward without the last token."""
    ids = torch.tensor(item.token_ids)
    with torch.no_grad():
        logprobs = plain(ids[None, :-1]).logits[0].double().log_softmax(-1)
    following = range(item.n_context, len(ids))
    total = sum(float(logprobs[i - 1, ids[i]]) for i in following)
    return total, all(int(logprobs[i - 1].argmax()) == int(ids[i]) for i in following)


def close(model: Any, plain: Any, items: list[Continuation], budget: int) -> None:
    results = score_continuations(model, items, budget, chunk=None)
    for item, result in zip(items, results, strict=True):
        expected, greedy = by_hand(plain, item)
        assert result.logprob == pytest.approx(expected, abs=1e-4)
        assert result.greedy == greedy


TOKENS = st.lists(st.integers(3, 40), min_size=1, max_size=12)
QUESTIONS = st.lists(st.tuples(TOKENS, st.lists(TOKENS, min_size=1, max_size=3)), min_size=1, max_size=4)


@settings(max_examples=40)
@given(shots=TOKENS, questions=QUESTIONS, budget=st.integers(1, 80))
def test_what_is_shared_changes_no_score(
    model: Any, plain: Any, shots: list[int], questions: list[tuple[list[int], list[list[int]]]], budget: int
) -> None:
    items = [
        Continuation((*shots, *question, *choice), len(shots) + len(question))
        for question, choices in questions
        for choice in choices
    ]
    close(model, plain, items, budget)


def test_twins_and_beginnings_of_others(model: Any, plain: Any) -> None:
    """Equal items, one that is the beginning of another, and one whose choice is another's context."""
    items = [
        Continuation((5, 6, 7, 8), 3),
        Continuation((5, 6, 7, 8), 1),
        Continuation((5, 6, 7), 2),
        Continuation((5, 6, 7, 8, 9), 4),
        Continuation((9, 9), 1),
    ]
    close(model, plain, items, 100)


def test_a_choice_of_one_token_computes_nothing_of_its_own() -> None:
    """Four letters after one question of three tokens: the question's three tokens, and no more."""
    question = (5, 6, 7)
    tree = TokenTree([(*question, letter)[:-1] for letter in (20, 21, 22, 23)], torch.device("cpu"))
    assert tree.token_ids.tolist() == [5, 6, 7]
    assert [path.tolist() for path in tree.paths] == [[0, 1, 2]] * 4


def test_the_tree_of_two_questions_after_one_example() -> None:
    """[1 2 3 | 4 5], [1 2 3 | 4 6], [1 2 3 | 7]: positions go on from where a sequence leaves the one before."""
    tree = TokenTree([(1, 2, 3, 4, 5), (1, 2, 3, 4, 6), (1, 2, 3, 7)], torch.device("cpu"))
    assert tree.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert tree.position_ids.tolist() == [0, 1, 2, 3, 4, 4, 3]
    assert [path.tolist() for path in tree.paths] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 5], [0, 1, 2, 6]]


@given(
    items=st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=8), min_size=1, max_size=12),
    budget=st.integers(1, 20),
)
def test_batches_hold_every_item_once_and_fit(items: list[list[int]], budget: int) -> None:
    asked = [Continuation(tuple(ids), 1) for ids in items]
    made = list(batches(asked, budget))
    assert sorted(index for batch in made for index in batch) == list(range(len(items)))
    for batch in made:
        tree = TokenTree([asked[i].token_ids[:-1] for i in batch], torch.device("cpu"))
        assert tree.n_own <= budget or len(batch) == 1


@pytest.mark.parametrize("family", ["window", "softcap"])
def test_windows_and_soft_caps_hold_along_a_path(family: str) -> None:
    """Mistral sees 4 tokens back, Gemma 2 caps its scores too: a shared beginning is out of the last tokens' sight."""
    from transformers import AutoModelForCausalLM, Gemma2Config, MistralConfig

    from aftertrain.core.learning.seeding import global_seed
    from aftertrain.core.packed import attention

    sizes = {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "sliding_window": 4,
        "initializer_range": 0.3,
    }
    config = MistralConfig(**sizes) if family == "window" else Gemma2Config(**sizes, head_dim=8)
    with global_seed(0):
        plain = AutoModelForCausalLM.from_config(deepcopy(config), attn_implementation="eager").eval()
    ours = AutoModelForCausalLM.from_config(config, attn_implementation=attention.register()).eval()
    ours.load_state_dict(plain.state_dict())
    shots = tuple(range(3, 15))
    items = [Continuation((*shots, *tail), len(shots) + 1) for tail in ((20, 21, 22), (20, 21, 23, 24), (30, 31))]
    close(ours, plain, items, 100)


def test_what_cannot_be_scored_is_refused(model: Any) -> None:
    with pytest.raises(DataError, match="item 1: 3 of 3 tokens are given; none is left"):
        score_continuations(model, [Continuation((5, 6), 1), Continuation((5, 6, 7), 3)], 100, chunk=None)
    with pytest.raises(ModelError, match="513 tokens are to be read at once; the model takes 512"):
        score_continuations(model, [Continuation((5,) * 514, 1)], 100, chunk=None)
    assert len(score_continuations(model, [Continuation((5,) * 513, 1)], 100, chunk=None)) == 1
    assert score_continuations(model, [], 100, chunk=None) == []
