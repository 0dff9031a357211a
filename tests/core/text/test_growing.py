"""Conversations grow under the chat templates of real models; what was sampled is never tokenised again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from aftertrain.core.records import Message
from aftertrain.core.text.chat import TEMPLATES, UnusableRow, render, text_ids
from aftertrain.core.text.growing import REWRITTEN, Growing, check_growth
from tests.core.text.test_chat_families import TOOL, tokenizer_of

trl = pytest.importorskip("trl")

GROW = {
    "llama3": ("<|eot_id|>", "user"),
    "llama3_2": ("<|eot_id|>", "tool+"),
    "gemma3": ("<end_of_turn>", "user"),
    "phi3": ("<|end|>", "user"),
    "cohere2": ("<|END_OF_TURN_TOKEN|>", "user"),
    "qwen2_5": ("<|im_end|>", "tool+"),
    "qwen3_instruct_2507": ("<|im_end|>", "tool+"),
    "lfm2_v2": ("<|im_end|>", "tool+"),
    "qwen3": ("<|im_end|>", "tool+"),
    "qwen3_training": ("<|im_end|>", "user"),
    "glm4moe": ("<|user|>", "tool+"),
}
"""End token of a template, and who answers; `+` where it shows tools too."""
STRIP = {
    "qwen3": ("<|im_end|>", "user"),
    "qwen3_5_think": ("<|im_end|>", "user"),
    "glm4moe": ("<|user|>", "user"),
    "deepseek_r1_distill": ("<｜end▁of▁sentence｜>", "user"),
    "nemotron_3_nano": ("<|im_end|>", "tool+"),
}
"""Templates that take thoughts out of replies that such turns have answered."""
ASK = Message("user", "2 + 2?")


@pytest.mark.parametrize("name", GROW)
def test_a_template_that_repeats_what_was_said_lets_it_grow(name: str) -> None:
    end, who = GROW[name]
    role: Any = who.rstrip("+")
    check_growth(tokenizer_of(name, end), role, (TOOL,) if who.endswith("+") else ())


@pytest.mark.parametrize("name", STRIP)
def test_a_template_that_takes_thoughts_out_is_refused(name: str) -> None:
    end, who = STRIP[name]
    role: Any = who.rstrip("+")
    with pytest.raises(UnusableRow, match=r"rewrites an earlier reply .* takes thoughts out") as refused:
        check_growth(tokenizer_of(name, end), role, (TOOL,) if who.endswith("+") else ())
    assert refused.value.reason == REWRITTEN


def test_thoughts_that_a_template_takes_out_are_refused_when_they_are_said() -> None:
    """Without thoughts the same template grows: it is what was said that decides."""
    tokenizer = tokenizer_of("qwen3", "<|im_end|>")
    plain = Growing(tokenizer, [ASK])
    plain.answered([*text_ids(tokenizer, "4"), tokenizer.eos_token_id], [Message("user", "Sure?")])
    thinking = Growing(tokenizer, [ASK])
    with pytest.raises(UnusableRow, match=r"it said '<think>\\n2 and 2\.\\n</think>\\n\\n4'"):
        thinking.answered(text_ids(tokenizer, "<think>\n2 and 2.\n</think>\n\n4"), [Message("user", "Sure?")])


@pytest.mark.parametrize(
    ("name", "end", "between"),
    [
        ("llama3", "<|eot_id|>", "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|>"),
        ("gemma3", "<end_of_turn>", "<end_of_turn>\n<start_of_turn>user\nSure?<end_of_turn>\n"),
        ("qwen2_5", "<|im_end|>", "<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n"),
    ],
)
def test_what_stands_between_replies_is_what_the_model_card_writes(name: str, end: str, between: str) -> None:
    """Written out by hand from the cards of Llama 3, Gemma 3 and Qwen 2.5, with the prompt of the next reply."""
    begin = {
        "llama3": "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "gemma3": "<start_of_turn>model\n",
        "qwen2_5": "<|im_start|>assistant\n",
    }[name]
    tokenizer = tokenizer_of(name, end)
    said, sure = text_ids(tokenizer, " 4\n"), [Message("user", "Sure?")]
    whole = between + begin
    assert tokenizer.decode(Growing(tokenizer, [ASK]).answered(said, sure)) == whole
    ended = Growing(tokenizer, [ASK]).answered([*said, tokenizer.eos_token_id], sure)
    assert tokenizer.decode(ended) == whole.removeprefix(end)


def small_tokenizer(template: str) -> Any:
    """Byte pairs, so that one text has several tokenisations."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*alphabet, "ab", "abc"])}
    backend = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("ab", "c")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken("<eos>", normalized=False, special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", chat_template=template)


def test_what_was_sampled_is_not_tokenised_again() -> None:
    """`a`, `bc` and `ab`, `c` are the same text, whose own tokenisation is `abc`: each stays as it was sampled."""
    tokenizer = small_tokenizer(TEMPLATES["tulu"])
    a, b, c, ab = (tokenizer.convert_tokens_to_ids(piece) for piece in ("a", "b", "c", "ab"))
    assert text_ids(tokenizer, "abc") == [tokenizer.convert_tokens_to_ids("abc")]
    for sampled in ([a, b, c], [ab, c]):
        talk = Growing(tokenizer, [ASK])
        first = talk.answered([*sampled, tokenizer.eos_token_id], [Message("user", "abc?")])
        second = talk.answered([*sampled, tokenizer.eos_token_id], [Message("user", "abc!")])
        assert tokenizer.decode(first) == "\n<|user|>\nabc?\n<|assistant|>\n"
        assert tokenizer.decode(second) == "\n<|user|>\nabc!\n<|assistant|>\n"


def test_a_canonical_conversation_is_what_the_template_renders() -> None:
    """Where the policy samples what the tokenizer would write, the ids are those of the rendered whole."""
    tokenizer = small_tokenizer(TEMPLATES["tulu"])
    talk = Growing(tokenizer, [ASK])
    said = [*text_ids(tokenizer, "abc"), tokenizer.eos_token_id]
    ids = [*talk.opening, *said, *talk.answered(said, [Message("user", "Sure?")])]
    turns = [ASK, Message("assistant", "abc"), Message("user", "Sure?")]
    assert ids == render(tokenizer, turns, generation_prompt=True)


def test_smollm2_grows(smollm2_folder: Path) -> None:
    """Its own template and tokenizer; the ids are those of the rendered whole, system turn included."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2_folder)
    check_growth(tokenizer, "user")
    check_growth(tokenizer, "tool")
    talk = Growing(tokenizer, [ASK])
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    said = [*text_ids(tokenizer, "It is 4."), end]
    ids = [*talk.opening, *said, *talk.answered(said, [Message("tool", "4")])]
    turns = [ASK, Message("assistant", "It is 4."), Message("tool", "4")]
    assert ids == render(tokenizer, turns, generation_prompt=True)


@pytest.fixture
def smollm2_folder() -> Path:
    folder = os.environ.get("AFTERTRAIN_SMOLLM2")
    if not folder:
        pytest.skip("AFTERTRAIN_SMOLLM2 is not set: it names the folder of SmolLM2-135M")
    return Path(folder).expanduser()


def test_a_template_that_leaves_out_an_answer_is_refused() -> None:
    talk = Growing(tokenizer_of("phi3", "<|end|>"), [ASK])
    with pytest.raises(UnusableRow, match=r"leaves out turn 2 \(role tool\)"):
        talk.answered([1, 2], [Message("tool", "4")])


def test_a_conversation_that_was_refused_is_left_as_it_was() -> None:
    tokenizer = small_tokenizer(TEMPLATES["tulu"].replace("{% for", "{% if 1 %}{% endif %}{% for", 1))
    talk = Growing(tokenizer, [ASK])
    with pytest.raises(UnusableRow):
        talk.answered([0, 1], [Message("user", "\ud800")])
    assert talk.answered([0, 1], [Message("user", "Sure?")])
