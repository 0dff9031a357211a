"""Text and token boundaries: begun replies, special tokens, where a choice starts, what fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.eval_task import Choice, Instance
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.records import Message
from aftertrain.core.text.chat import load_tokenizer, prompt_text
from aftertrain.plugins.evaluation.asking import fit_prompt
from aftertrain.plugins.evaluation.prompts import encode, encode_choices, too_long


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(str(tiny_model))


def test_a_begun_reply_is_continued(tokenizer: Any) -> None:
    """No end-of-turn between the prefill and what the model writes."""
    turns = (Message("user", "Q?"), Message("assistant", "Answer: 4"), Message("user", "Then?"))
    text = prompt_text(tokenizer, (*turns, Message("assistant", "Answer:")))
    assert text == "<|user|>\nQ?\n<|assistant|>\nAnswer: 4<eos>\n<|user|>\nThen?\n<|assistant|>\nAnswer:"
    assert prompt_text(tokenizer, turns).endswith("Then?\n<|assistant|>\n")


def test_a_prompt_is_tokenised_in_one_piece(tokenizer: Any) -> None:
    """A prefill tokenised by itself would cut tokens at the joint that training never cut."""
    text = prompt_text(tokenizer, (Message("user", "Q?"), Message("assistant", "The answer")))
    ids = encode(tokenizer, text, chat=True)
    assert tokenizer.decode(ids) == text
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_only_plain_text_gets_the_tokenizers_bos() -> None:
    class Adding:
        bos_token_id, eos_token_id = 1, None

        def __call__(self, text: str, add_special_tokens: bool, verbose: bool) -> dict[str, list[int]]:
            return {"input_ids": [1] * add_special_tokens + [7] * len(text)}

    assert encode(Adding(), "ab", chat=True) == [7, 7]
    assert encode(Adding(), "ab", chat=False) == [1, 7, 7]


def test_no_prompt_begins_twice(tiny_model: Path) -> None:
    """Of a tokenizer that adds a BOS: a text that has one gets none more, one that says two keeps them; a template has
    its own, and the choices behind a context are cut where they were."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(str(tiny_model), "tulu_bos")
    begins = [("<bos>", tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=begins)
    plain = encode(tokenizer, "ab", chat=False)
    assert plain[0] == 1 != plain[1]
    # The tiny tokenizer reads special tokens in a text, as others do.
    assert encode(tokenizer, "<bos>ab", chat=False) == plain
    assert encode(tokenizer, "<bos><bos>ab", chat=False)[:3] == [1, 1, 1]
    turns = (Message("system", ""), Message("user", "ab"), Message("assistant", "c"))
    text = prompt_text(tokenizer, turns)
    assert text == "<bos><|system|>\n\n<|user|>\nab\n<|assistant|>\nc", "an empty system turn is a turn"
    assert encode(tokenizer, text, chat=True).count(1) == 1
    (choice,) = encode_choices(tokenizer, "<bos>ab", [" c"], chat=False)
    assert (choice.token_ids[: len(plain)], choice.n_context) == (tuple(plain), len(plain))


def test_a_tokenizer_that_ends_texts_does_not_end_prompts(tiny_model: Path) -> None:
    """With EOS in its post-processor, prompts ended before the reply began, and each choice was scored with an EOS."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(str(tiny_model))
    ends = [("<bos>", tokenizer.bos_token_id), ("<eos>", tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=ends)
    assert tokenizer.decode(tokenizer("a?")["input_ids"]) == "<bos>a?<eos>"
    assert tokenizer.decode(encode(tokenizer, "a?", chat=False)) == "<bos>a?"
    assert tokenizer.decode(encode(tokenizer, "a?<eos>", chat=True)) == "a?<eos>"
    (item,) = encode_choices(tokenizer, "a?", [" b"], chat=False)
    assert tokenizer.decode(item.token_ids) == "<bos>a? b"


@given(context=st.text(min_size=1, max_size=30), choices=st.lists(st.text(min_size=1, max_size=12), min_size=1))
def test_given_and_scored_tokens_are_the_whole_text(tiny_model: Path, context: str, choices: list[str]) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    for choice, item in zip(choices, encode_choices(tokenizer, context, choices, chat=False), strict=True):
        whole = tokenizer(context + choice)["input_ids"]
        assert list(item.token_ids[-len(whole) :]) == whole
        assert 1 <= item.n_context < len(item.token_ids)
        alone = tokenizer(context)["input_ids"]
        assert item.token_ids[: item.n_context] == tuple(alone[: item.n_context]) or item.n_context == 1


def test_a_token_over_the_boundary_is_scored(tokenizer: Any) -> None:
    """`answer` is one token of this tokenizer, so of `ans` + `wer` nothing is given but the start token."""
    assert len(encode(tokenizer, " answer", chat=True)) == 1
    (item,) = encode_choices(tokenizer, " ans", ["wer"], chat=False)
    assert item.token_ids == (tokenizer.bos_token_id, *encode(tokenizer, " answer", chat=True))
    assert item.n_context == 1


def test_an_empty_context_is_one_start_token(tokenizer: Any) -> None:
    (item,) = encode_choices(tokenizer, "", [" yes"], chat=False)
    assert item.token_ids == (tokenizer.bos_token_id, *encode(tokenizer, " yes", chat=True))
    assert item.n_context == 1


def test_a_choice_without_tokens_is_refused(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="'' adds no token"):
        encode_choices(tokenizer, "Q?", [""], chat=False)


def test_the_context_window_is_read_from_the_config(tmp_path: Path, tiny_model: Path) -> None:
    assert context_window(str(tiny_model)) == 512
    for config, window in (
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 64}}, 64),
        ({}, None),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert context_window(str(tmp_path)) == window
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json: cannot be read"):
        context_window(str(tmp_path))


def test_what_is_too_long(tokenizer: Any) -> None:
    """A reply needs room for one token; a choice is part of the text itself."""
    text = "a b c d e f g h i j k l"
    n = len(encode(tokenizer, text, chat=False))
    reply = Instance("r", (Message("user", text),), None, chat=False)
    assert too_long([reply], tokenizer, n + 1) == []
    assert too_long([reply], tokenizer, n) == [("r", n)]
    choice = Instance("c", (Message("user", text[:-2]),), 0, choices=(Choice(" l"),), chat=False)
    assert too_long([choice], tokenizer, n) == []
    assert too_long([choice], tokenizer, n - 1) == [("c", n)]


def test_the_choice_of_most_tokens_decides_not_that_of_most_characters(tokenizer: Any) -> None:
    """Five emoji make more tokens than eight letters do: such a prompt's start was cut where that is an error."""
    letters, signs = " answer answer", "\N{DROMEDARY CAMEL}" * 5
    assert len(letters) > len(signs)
    text = "a b c d e f g h i j k l"
    n = len(encode(tokenizer, text + signs, chat=False))
    assert len(encode(tokenizer, text + letters, chat=False)) < n
    instance = Instance("c", (Message("user", text),), 0, choices=(Choice(letters), Choice(signs)), chat=False)
    assert too_long([instance], tokenizer, n) == []
    assert too_long([instance], tokenizer, n - 1) == [("c", n)]


@given(n=st.integers(1, 60), reply=st.integers(1, 60), window=st.integers(2, 60))
def test_what_is_fitted_fits_and_keeps_the_end(n: int, reply: int, window: int) -> None:
    kept, length = fit_prompt(list(range(n)), reply, window)
    assert kept == list(range(n))[-len(kept) :]
    assert kept
    assert 1 <= length <= reply
    assert len(kept) + length <= window
    if n + reply <= window:
        assert (len(kept), length) == (n, reply)
