"""Targets under the chat templates of many families, beside transformers' masks of the marks that TRL puts in them.

TRL's training templates mark with `{% generation %}` what the assistant says; transformers finds the marked tokens
through the offsets of characters. Ours finds a target by rendering the prompt before it, with no marks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from aftertrain.core.records import JSON, Message, ToolCall
from aftertrain.core.text.chat import FIXED_DATE, UnusableRow, render_text
from aftertrain.core.text.tokens import learnt_turns, tokenise

trl = pytest.importorskip("trl")

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Its name."}},
            "required": ["city"],
        },
    },
}
ASK = Message("user", "Rain?")
CALL = (ToolCall("weather", {"city": "Paris"}, "abcdefgh1"),)
DRY = Message("tool", "dry", tool_call_id="abcdefgh1", name="weather")
NO = Message("assistant", "No rain.")
TALKS: dict[str, tuple[list[Message], tuple[JSON, ...]]] = {
    "plain": ([ASK, NO], ()),
    "system": ([Message("system", "Be brief."), ASK, NO], ()),
    "turns": ([ASK, NO, Message("user", "Sure?"), Message("assistant", "Yes.")], ()),
    "tools": ([ASK, Message("assistant", "", tool_calls=CALL), DRY, NO], (TOOL,)),
    "thought": ([ASK, Message("assistant", "No.", reasoning="It is dry.")], ()),
    "tools and thought": ([ASK, Message("assistant", "", reasoning="Look.", tool_calls=CALL), DRY, NO], (TOOL,)),
}
PLAIN = ("plain", "system", "turns")
FAMILIES = {
    "llama3_training": ("<|eot_id|>", PLAIN),
    "gemma3_training": ("<end_of_turn>", PLAIN),
    "phi3_training": ("<|end|>", PLAIN),
    "cohere2_training": ("<|END_OF_TURN_TOKEN|>", PLAIN),
    "lfm2_v2_training": ("<|im_end|>", (*PLAIN, "tools")),
    "qwen3_instruct_2507_training": ("<|im_end|>", (*PLAIN, "tools")),
    "qwen3_training": ("<|im_end|>", tuple(TALKS)),
    "glm4moe_training": ("<|user|>", tuple(TALKS)),
    "qwen2_5_training": ("<|im_end|>", (*PLAIN, "tools")),
    "qwen3_5_think_training": ("<|im_end|>", tuple(TALKS)),
    "gptoss_training": ("<|return|>", ("plain", "system", "tools", "thought")),
}
"""End token of a family and the talks that its template can teach."""


def tokenizer_of(template: str, end: str) -> Any:
    """A byte a token, the end token apart: no merge crosses the border between prompt and reply."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token="<bos>")
    folder = Path(trl.__file__).parent / "chat_templates"
    tokenizer.chat_template = (folder / f"{template}.jinja").read_text(encoding="utf-8")
    return tokenizer


def runs(tokenizer: Any, ids: Any, mask: Any) -> list[str]:
    """Runs of targets as texts, without the white space that a template puts behind an end token."""
    found: list[list[int]] = []
    for i, (token, target) in enumerate(zip(ids, mask, strict=True)):
        if target:
            if i == 0 or not mask[i - 1]:
                found.append([])
            found[-1].append(token)
    return [tokenizer.decode(run).rstrip() for run in found]


def marked(tokenizer: Any, talk: list[Message], tools: tuple[JSON, ...]) -> list[str]:
    """What transformers finds between the template's marks."""
    turns: list[dict[str, Any]] = []
    for message in talk:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.reasoning:
            turn |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
        if message.tool_calls:
            functions = [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls]
            turn["tool_calls"] = [{"type": "function", "function": function} for function in functions]
        turns.append(turn)
    found = tokenizer.apply_chat_template(
        turns, tools=list(tools) or None, return_dict=True, return_assistant_tokens_mask=True, add_special_tokens=False
    )
    return runs(tokenizer, found["input_ids"], found["assistant_masks"])


@pytest.mark.parametrize(("family", "talk"), [(family, talk) for family in FAMILIES for talk in FAMILIES[family][1]])
def test_targets_are_what_the_marks_of_trl_s_templates_hold(family: str, talk: str) -> None:
    """All of it but what the prompt already gives: some marks begin before the end of the generation prompt."""
    tokenizer = tokenizer_of(family, FAMILIES[family][0])
    turns, tools = TALKS[talk]
    tokens = tokenise(tokenizer, turns, tools=tools)
    ours = runs(tokenizer, tokens.token_ids, tokens.loss_mask)
    theirs = marked(tokenizer, turns, tools)
    replies = learnt_turns(turns, 0, "all")
    assert len(ours) == len(theirs) == len(replies)
    for said, whole, turn in zip(ours, theirs, replies, strict=True):
        # Phi 3's end of the whole text, which no sampled reply has, is not learnt.
        given = whole.removesuffix(f"\n{tokenizer.eos_token}").removesuffix(said)
        prompt = render_text(tokenizer, turns[:turn], generation_prompt=True, tools=tools)
        assert whole.startswith(given + said)
        assert whole.removeprefix(given + said).strip() in ("", tokenizer.eos_token if turn == replies[-1] else "")
        assert prompt.endswith(given)


@pytest.mark.parametrize("family", FAMILIES)
def test_templates_render_as_transformers_renders_them(family: str) -> None:
    """Our counts of a template's steps change nothing."""
    tokenizer = tokenizer_of(family, FAMILIES[family][0])
    for talk in FAMILIES[family][1]:
        turns, tools = TALKS[talk]
        plain = [
            {
                "role": turn.role,
                "content": turn.content,
                **({"reasoning_content": turn.reasoning} if turn.reasoning else {}),
                **({"tool_calls": [call_of(call) for call in turn.tool_calls]} if turn.tool_calls else {}),
                **({"tool_call_id": turn.tool_call_id, "name": turn.name} if turn.role == "tool" else {}),
            }
            for turn in turns
        ]
        for count in (len(turns) - 1, len(turns)):
            theirs = tokenizer.apply_chat_template(
                plain[:count],
                tools=list(tools) or None,
                chat_template=FIXED_DATE + tokenizer.chat_template,
                tokenize=False,
                add_generation_prompt=count < len(turns),
            )
            ours = render_text(tokenizer, turns[:count], generation_prompt=count < len(turns), tools=tools)
            assert ours == theirs


def call_of(call: ToolCall) -> dict[str, Any]:
    """A call as transformers takes it."""
    return {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}


def each(template: str, end: str, talk: list[Message], tools: tuple[JSON, ...] = ()) -> list[str]:
    """The one run of targets in each reply's own sample."""
    tokenizer = tokenizer_of(template, end)
    found = []
    for turn in learnt_turns(talk, 0, "each"):
        tokens = tokenise(tokenizer, talk[: turn + 1], learn="last", tools=tools)
        (run,) = runs(tokenizer, tokens.token_ids, tokens.loss_mask)
        found.append(run)
    return found


THINKING = [
    Message("user", "2 + 2?"),
    Message("assistant", "4", reasoning="two and two"),
    Message("user", "Sure?"),
    Message("assistant", "Yes.", reasoning="hm"),
]


def test_qwen_3_learns_every_thought_in_a_sample_of_its_own() -> None:
    """Its own template takes thoughts out of earlier replies, as it does at inference."""
    with pytest.raises(UnusableRow, match=r"batch\.learn: each"):
        tokenise(tokenizer_of("qwen3", "<|im_end|>"), THINKING)
    assert each("qwen3", "<|im_end|>", THINKING) == [
        "<think>\ntwo and two\n</think>\n\n4<|im_end|>",
        "<think>\nhm\n</think>\n\nYes.<|im_end|>",
    ]


def test_qwen_3_learns_a_call_and_the_answer_from_it() -> None:
    talk, tools = TALKS["tools"]
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    assert each("qwen3", "<|im_end|>", talk, tools) == [
        f"<think>\n\n</think>\n\n{call}<|im_end|>",
        "<think>\n\n</think>\n\nNo rain.<|im_end|>",
    ]


def test_llama_3_1_learns_a_call() -> None:
    talk, tools = TALKS["tools"]
    assert each("llama3_1", "<|eot_id|>", talk, tools) == [
        '{"name": "weather", "parameters": {"city": "Paris"}}<|eot_id|>',
        "No rain.<|eot_id|>",
    ]


@pytest.mark.parametrize("template", ["deepseekv3", "nemotron_3_nano"])
def test_a_prompt_that_opens_the_thoughts_wants_replies_with_thoughts(template: str) -> None:
    """It was said only that the prompt is no prefix, which nobody could do anything about."""
    turns, _ = TALKS["plain"]
    with pytest.raises(
        UnusableRow, match=r"begins in its thoughts here \(<think>\): give it reasoning_content, or use"
    ):
        tokenise(tokenizer_of(template, "<|im_end|>"), turns)


def test_a_template_that_wants_arguments_as_text_is_given_text() -> None:
    """DeepSeek V3's puts them together with `+`; an object was a TypeError of its own."""
    tokenizer = tokenizer_of("deepseekv3", "<｜end▁of▁sentence｜>")
    call = ToolCall("weather", {"city": "Zürich"}, "abcdefgh1")
    text = render_text(tokenizer, [ASK, Message("assistant", "", tool_calls=(call,))], generation_prompt=False)
    assert 'weather\n```json\n{"city": "Zürich"}\n```' in text


@pytest.mark.parametrize(
    ("family", "end", "talk", "reason", "message"),
    [
        ("llama3", "<|eot_id|>", "tools", "tools_left_out", "the chat template leaves out the tools; use a template"),
        ("lfm2", "<|im_end|>", "tools", "call_left_out", "leaves out a tool call of turn 1 (role assistant); use a"),
        ("qwen2_5", "<|im_end|>", "thought", "turn_left_out", "leaves out or rewrites part of turn 1 (role assistant)"),
        ("gemma", "<end_of_turn>", "system", "template", "System role not supported"),
    ],
)
def test_what_a_template_cannot_show_is_refused(family: str, end: str, talk: str, reason: str, message: str) -> None:
    """The model would be trained as if there were no tools, calls or thoughts."""
    turns, tools = TALKS[talk]
    with pytest.raises(UnusableRow) as caught:
        tokenise(tokenizer_of(family, end), turns, tools=tools)
    assert caught.value.reason == reason
    assert message in str(caught.value)
