"""Which tokens are learnt, by position, under several templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aftertrain.core.errors import DataError, ModelError
from aftertrain.core.records import Message, PlanItem
from aftertrain.core.text.chat import UnusableRow, encode, load_tokenizer, render_text
from aftertrain.core.text.fingerprint import fingerprint
from aftertrain.core.text.template_checks import template_checks
from aftertrain.core.text.tokens import tokenise

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(str(tiny_model))


def learnt(tokenizer: Any, messages: list[Message], **options: Any) -> list[str]:
    """The runs of consecutive targets, as text."""
    tokens = tokenise(tokenizer, messages, **options)
    runs: list[list[int]] = []
    for i, (token, target) in enumerate(zip(tokens.token_ids, tokens.loss_mask, strict=True)):
        if target:
            if i == 0 or not tokens.loss_mask[i - 1]:
                runs.append([])
            runs[-1].append(token)
    return [tokenizer.decode(run) for run in runs]


TALK = [
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello."),
    Message("user", "Bye"),
    Message("assistant", "See you."),
]


def test_every_reply_is_learnt_with_its_end_and_nothing_else(tokenizer: Any) -> None:
    assert learnt(tokenizer, TALK) == ["Hello.<eos>", "See you.<eos>"]
    assert learnt(tokenizer, TALK, learn_from=3) == ["See you.<eos>"]


@pytest.mark.parametrize("text", ["", "What is 2 + 3?", "<eos> in the text <|user|>\n", "ä – 7"])
def test_tokens_are_those_of_calling_the_tokenizer(tokenizer: Any, text: str) -> None:
    """Whatever state it was left in, and where its class calls it in a way of its own."""
    expected = [list(tokenizer(text, add_special_tokens=special)["input_ids"]) for special in (False, True)]
    for leave in (lambda: None, lambda: tokenizer("a b c d", truncation=True, padding="max_length", max_length=2)):
        leave()
        assert [encode(tokenizer, text, special=False), encode(tokenizer, text, special=True)] == expected
    tokenizer.split_special_tokens = True
    try:
        apart = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        assert encode(tokenizer, text, special=False) == apart
    finally:
        tokenizer.split_special_tokens = False
    own = type("Own", (type(tokenizer),), {"__call__": lambda self, text, **settings: {"input_ids": [7]}})
    tokenizer.__class__ = own
    assert encode(tokenizer, text, special=False) == [7]
    tokenizer.__class__ = own.__base__


def test_pad_equal_to_eos_is_harmless(tiny_model: Path) -> None:
    """Masks go by position: an end token inside a user's turn is not learnt, the reply's own is."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.pad_token = tokenizer.eos_token
    turns = [Message("user", "a <eos> b"), Message("assistant", "c")]
    assert learnt(tokenizer, turns) == ["c<eos>"]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=20)


@given(replies=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
def test_any_text_is_learnt_as_it_stands(tokenizer: Any, replies: list[tuple[str, str]]) -> None:
    """Whatever the words, the targets decode to the replies and their end tokens."""
    turns = [turn for ask, say in replies for turn in (Message("user", ask), Message("assistant", say))]
    if any(say[:1].isspace() for _, say in replies):
        assume(_prefixes_hold(tokenizer, turns))
    assert learnt(tokenizer, turns) == [say + "<eos>" for _, say in replies]


def _prefixes_hold(tokenizer: Any, turns: list[Message]) -> bool:
    """White space at the start of a reply may merge with the prompt's line break; `tokenise` then refuses."""
    try:
        tokenise(tokenizer, turns)
    except DataError:
        return False
    return True


def test_chatml_learns_its_end_mark(tiny_model: Path) -> None:
    """A template that puts a line break after the end token: a turn is learnt up to its end token."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = CHATML
    assert learnt(tokenizer, TALK) == ["Hello.<eos>", "See you.<eos>"]


def test_nothing_follows_the_last_reply_s_end_token(tiny_model: Path) -> None:
    """ChatML's last line break was a target, and the token at which a reward model's score was read.

    No sampled reply has it: a critic made from that reward model never saw the place it was trained at.
    """
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = CHATML
    assert tokenise(tokenizer, TALK).token_ids[-1] == tokenizer.eos_token_id
    asked = tokenise(tokenizer, [*TALK, Message("user", "More?")])
    assert tokenizer.decode(asked.token_ids).endswith("More?<eos>\n")


def test_an_end_token_written_inside_an_inner_reply_does_not_cut_it(tokenizer: Any) -> None:
    talk = [Message("user", "a"), Message("assistant", "b <eos> c"), Message("user", "d"), Message("assistant", "e")]
    assert learnt(tokenizer, talk) == ["b <eos> c<eos>", "e<eos>"]


def test_a_template_that_asks_for_the_date_is_told_the_same_one_every_day(tiny_model: Path) -> None:
    """Llama 3's and SmolLM3's templates write today's date: a run resumed after midnight saw other prompts."""
    tokenizer = load_tokenizer(str(tiny_model))
    llama = "{% if strftime_now is defined %}{% set today = strftime_now('%d %b %Y') %}{% endif %}{{ today }}"
    tokenizer.chat_template = llama + tokenizer.chat_template
    assert render_text(tokenizer, TALK[1:2], generation_prompt=False) == "26 Jul 2024<|user|>\nHi\n"


def test_a_conversation_without_a_reply_is_refused(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="sample 'x': it has no assistant turn"):
        tokenise(tokenizer, [Message("user", "Hi")], sample_id="x")


def test_a_template_that_rewrites_the_prompt_is_refused(tiny_model: Path) -> None:
    """A prompt rendered otherwise once it is answered is one that the model never sees at inference."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(DataError, match=r"not a prefix .*they part at token 0"):
        tokenise(tokenizer, [Message("user", "Hi"), Message("assistant", "Ho")])
    checks = {item.label: item.status for item in template_checks(tokenizer)}
    assert checks == {
        "BOS": "ok",
        "pad token": "ok",
        "prompt is a token prefix": "warning",
        "reply ends with": "warning",
    }


def test_a_bos_in_the_template_is_not_added_twice(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    ids = tokenise(tokenizer, TALK).token_ids
    assert ids.count(tokenizer.bos_token_id) == 1
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert template_checks(tokenizer)[0] == PlanItem(
        "double BOS", "the template writes two; take one out of it", "error"
    )


def test_named_templates(tiny_model: Path) -> None:
    assert render_text(load_tokenizer(str(tiny_model), "tulu"), TALK[:2], generation_prompt=True) == (
        "<|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\n"
    )
    with pytest.raises(ModelError, match="no chat template named 'tullu'; there are: tulu, tulu_bos"):
        load_tokenizer(str(tiny_model), "tullu")


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{tmp_path}: cannot load a tokenizer"):
        load_tokenizer(str(tmp_path))


NO_TOOLS = (
    "{% for m in messages %}{% if m['role'] in ['user', 'assistant'] %}"
    "{{ '<|' + m['role'] + '|>\n' + m['content'] + (eos_token if m['role'] == 'assistant' else '') + '\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""Passes over roles that it does not know, as Llama 2's did."""

ALTERNATING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + NO_TOOLS
)
"""Gemma's refusal."""

THINKING = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}{% if m['role'] == 'assistant' %}"
    "{{ '<think>\n\n</think>\n\n' if loop.last }}{{ m['content'].split('</think>')[-1] + eos_token }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""Qwen 3's: an empty thought before the last reply alone."""


def unusable(tokenizer: Any, messages: list[Message], **options: Any) -> tuple[str, str]:
    with pytest.raises(UnusableRow) as caught:
        tokenise(tokenizer, messages, sample_id="x", **options)
    return caught.value.reason, str(caught.value)


TOOL = {"type": "function", "function": {"name": "w", "description": "Weather.", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("tools", [(), (TOOL,)])
def test_of_several_templates_tools_take_their_own(tools: tuple[Any, ...], tiny_model: Path, tmp_path: Path) -> None:
    """Command R's and Hermes 3's: tools were rendered by the default template, which left them out."""
    tokenizer: Any = load_tokenizer(str(tiny_model))
    plain = tokenizer.chat_template
    tool_use = "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}" + plain
    tokenizer.chat_template = {"default": plain, "tool_use": tool_use, "rag": "{{ raise_exception('rag') }}"}
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert learnt(again, TALK, tools=tools) == ["Hello.<eos>", "See you.<eos>"]
    text = tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in TALK], tools=list(tools) or None, tokenize=False
    )
    assert render_text(again, TALK, generation_prompt=False, tools=tools) == text
    assert ("Weather." in text) == bool(tools)
    again.chat_template = {"default": plain, "tool_use": plain}
    if tools:
        assert unusable(again, TALK, tools=tools)[0] == "tools_left_out"


def test_tool_and_system_turns_are_context(tokenizer: Any) -> None:
    call = [*TALK[:2], Message("assistant", "look(3)"), Message("tool", "30"), Message("assistant", "It is 30.")]
    assert learnt(tokenizer, call) == ["look(3)<eos>", "It is 30.<eos>"]
    text = tokenizer.decode(tokenise(tokenizer, call).token_ids)
    assert "<|system|>\nBe brief.\n" in text
    assert "<|tool|>\n30\n<|assistant|>\n" in text


def test_a_template_that_passes_over_a_role_is_refused(tiny_model: Path) -> None:
    """The tool's answer would be missing from the prompt, and the model learn to make it up."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = NO_TOOLS
    call = [*TALK[1:3], Message("tool", "the answer: 30"), Message("assistant", "It is 30.")]
    assert unusable(tokenizer, call) == ("turn_left_out", "sample 'x': the chat template leaves out turn 2 (role tool)")
    assert learnt(tokenizer, TALK[1:]) == ["Hello.<eos>", "See you.<eos>"]


def test_a_template_that_refuses_a_role_is_told_with_the_row(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = ALTERNATING
    reason, message = unusable(tokenizer, TALK)
    assert reason == "template"
    assert message == (
        "sample 'x': the chat template refuses the turns system, user, assistant, user, assistant: "
        "System role not supported"
    )


def test_a_template_that_rewrites_history_can_learn_the_last_reply(tiny_model: Path) -> None:
    """Qwen 3's: earlier replies have no thought that inference would write, so only the last one can be learnt."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = THINKING
    reason, message = unusable(tokenizer, TALK)
    assert reason == "reply_rewritten"
    assert "learn each reply as a sample of its own (batch.learn: each)" in message
    assert learnt(tokenizer, TALK, learn="last") == ["<think>\n\n</think>\n\nSee you.<eos>"]
    thought = [*TALK[1:3], TALK[3], Message("assistant", "<think>perhaps</think>See you.")]
    reason, message = unusable(tokenizer, thought, learn="last")
    assert reason == "turn_left_out"
    assert "leaves out or rewrites part of turn 3 (role assistant), which is to be learnt" in message


TRIMMING = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}{% if m['role'] == 'assistant' %}"
    "{{ m['content'] if loop.last else m['content'] | trim }}{{ eos_token }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""Trims replies once the conversation goes on."""

FORGETFUL = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}{% if m['role'] == 'assistant' %}"
    "{{ m['content'].split('</think>')[-1] + eos_token }}{% else %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""DeepSeek-R1-Distill's: no turn keeps its thoughts, not even the last."""

LATE = FORGETFUL.replace(
    "m['content'].split('</think>')[-1] +", "(m['content'] if loop.last else m['content'].split('</think>')[-1]) +"
)
"""Takes the thoughts out of all replies but the last."""


@pytest.mark.parametrize(
    ("template", "reply"),
    [
        (TRIMMING, "Hello. "),
        (LATE, "It is <think>2 + 2</think>It is 4."),
        (THINKING, "<b>4</b>"),
        (NO_TOOLS.replace("(eos_token if", "(eos_token if loop.last and"), "Hello."),
    ],
    ids=["trimmed", "thoughts", "same beginning", "end token of the last alone"],
)
def test_an_inner_reply_that_the_template_changes_partway_is_refused(
    template: str, reply: str, tiny_model: Path
) -> None:
    """It was learnt up to where the two renderings part: cut, and without the end token."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = template
    talk = [Message("user", "2 + 2?"), Message("assistant", reply), Message("user", "Ok"), Message("assistant", "Yes")]
    reason, message = unusable(tokenizer, talk)
    assert reason == "reply_rewritten"
    assert "learn each reply as a sample of its own (batch.learn: each)" in message
    assert learnt(tokenizer, talk, learn="last")[0].endswith("Yes<eos>")


def test_a_mark_at_the_end_of_the_whole_text_is_no_rewriting(tiny_model: Path) -> None:
    """Phi 3's: each reply has an end mark, and the whole text the end token."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
    )
    assert learnt(tokenizer, TALK) == ["Hello.<|end|>\n", "See you.<|end|>\n<eos>"]


@pytest.mark.parametrize(
    ("turns", "left_out"),
    [
        ([Message("system", "You are a helpful assistant."), *TALK[1:3]], 0),
        ([Message("system", "简短。"), *TALK[1:3]], 0),
        ([*TALK[1:3], Message("tool", "4"), Message("assistant", "It is 4, or 4.")], 2),
    ],
    ids=["a word of another turn's", "not ASCII", "a short one"],
)
def test_a_turn_left_out_is_seen_whatever_it_says(turns: list[Message], left_out: int, tiny_model: Path) -> None:
    """The check looked for the turn's longest ASCII word, anywhere in the text."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = NO_TOOLS
    reason, message = unusable(tokenizer, turns)
    assert (reason, f"leaves out turn {left_out} (role {turns[left_out].role})" in message) == ("turn_left_out", True)
    blank = [Message(turn.role, " " if i == left_out else turn.content) for i, turn in enumerate(turns)]
    assert learnt(tokenizer, blank)


def test_a_template_that_escapes_a_tool_s_answer_leaves_nothing_out(tiny_model: Path) -> None:
    """Llama 3.1's writes it as JSON."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = FORGETFUL.replace("{{ m['content'] + '\n' }}", "{{ (m['content'] | tojson) + '\n' }}")
    call = [*TALK[1:3], Message("tool", 'a "b"\nc'), Message("assistant", "So.")]
    assert learnt(tokenizer, call) == ["Hello.<eos>", "So.<eos>"]


def test_thoughts_may_go_from_context_but_not_from_what_is_learnt(tiny_model: Path) -> None:
    """A template that strips all thoughts taught a reasoning model to answer without any."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = FORGETFUL
    first = [Message("user", "2 + 2?"), Message("assistant", "<think>2 and 2</think>4")]
    talk = [*first, Message("user", "Sure?"), Message("assistant", "Yes")]
    assert unusable(tokenizer, first)[0] == "turn_left_out"
    reason, message = unusable(tokenizer, talk)
    assert (reason, "part of turn 1 (role assistant)" in message) == ("turn_left_out", True)
    assert learnt(tokenizer, talk, learn="last") == ["Yes<eos>"]


def test_thoughts_that_begin_in_the_prompt_are_learnt(tiny_model: Path) -> None:
    """Qwen 3 Thinking's and DeepSeek R1's prompts end with the mark that opens the thoughts."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = FORGETFUL.replace("m['content'].split('</think>')[-1]", "m['content']").replace(
        "add_generation_prompt %}{{ '<|assistant|>\n'", "add_generation_prompt %}{{ '<|assistant|>\n<think>\n'"
    )
    talk = [*TALK[1:2], Message("assistant", "<think>\nhm\n</think>\nHo")]
    assert learnt(tokenizer, talk) == ["hm\n</think>\nHo<eos>"]


def test_half_of_a_surrogate_pair_makes_a_row_unusable(tokenizer: Any) -> None:
    """It was a TypeError of the tokenizer's, which named no row."""
    reason, message = unusable(tokenizer, [Message("user", "Hi"), Message("assistant", "Ho \ud83d")])
    assert (reason, message) == (
        "not_unicode",
        "sample 'x': the text holds half of a surrogate pair (\\ud83d); take it out",
    )


def test_a_turn_marked_as_context_is_not_learnt(tokenizer: Any) -> None:
    talk = [*TALK[:2], Message("assistant", "Hello.", learn=False), *TALK[3:]]
    assert learnt(tokenizer, talk) == ["See you.<eos>"]
    talk = [*TALK[:4], Message("assistant", "See you.", learn=False)]
    assert learnt(tokenizer, talk) == ["Hello.<eos>"]
    assert unusable(tokenizer, talk, learn="last")[0] == "no_target"


@pytest.mark.parametrize("template", [None, CHATML])
def test_a_conversation_that_begins_with_the_assistant_has_no_prompt(template: str | None, tiny_model: Path) -> None:
    """It came to an error of transformers' own, which no policy for unusable rows knew."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = template or tokenizer.chat_template
    reason, message = unusable(tokenizer, TALK[2:])
    assert reason == "no_prompt"
    assert message.startswith("sample 'x': the conversation begins with the assistant, whose turn answers nothing")
    assert learnt(tokenizer, TALK[2:], learn="last") == ["See you.<eos>"]
    assert learnt(tokenizer, [Message("assistant", "Hello.", learn=False), *TALK[3:]]) == ["See you.<eos>"]


def test_only_the_last_reply(tokenizer: Any) -> None:
    assert learnt(tokenizer, TALK, learn="last") == ["See you.<eos>"]
    assert learnt(tokenizer, [*TALK, Message("user", "More?")], learn="last") == ["See you.<eos>"]


def test_the_reason_survives_the_way_from_another_process() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(UnusableRow("no_target", "nothing to learn")))
    assert (error.reason, str(error)) == ("no_target", "nothing to learn")


def test_a_fingerprint_tells_tokenizers_and_templates_apart(tiny_model: Path, tmp_path: Path) -> None:
    """Equal after saving and loading; another with another template or one more token."""
    one = load_tokenizer(str(tiny_model))
    one.save_pretrained(tmp_path)
    assert fingerprint(load_tokenizer(str(tmp_path))) == fingerprint(one)
    plain = fingerprint(one)
    one.chat_template = NO_TOOLS
    other_template = fingerprint(one)
    one.add_tokens(["<more>"])
    assert len({plain, other_template, fingerprint(one)}) == 3


@pytest.mark.parametrize(
    "use",
    [
        lambda tokenizer, folder: tokenizer("a b c", truncation=True, max_length=2),
        lambda tokenizer, folder: tokenizer(["a", "a b c"], padding=True),
        lambda tokenizer, folder: tokenizer(["a", "b"], padding="max_length", max_length=9, truncation=True),
        lambda tokenizer, folder: tokenizer.backend_tokenizer.enable_truncation(3, stride=1),
        lambda tokenizer, folder: tokenizer.backend_tokenizer.enable_padding(length=8),
        lambda tokenizer, folder: tokenizer.save_pretrained(folder),
        lambda tokenizer, folder: tokenise(tokenizer, TALK),
    ],
)
def test_a_fingerprint_does_not_depend_on_what_a_tokenizer_was_used_for(
    use: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """A tokenizer.json saved while rows were padded was another key before its first call than after: rows were
    tokenised and stored twice."""
    tokenizer = load_tokenizer(str(tiny_model))
    before = fingerprint(tokenizer)
    use(tokenizer, str(tmp_path))
    assert fingerprint(tokenizer) == before
    tokenizer.save_pretrained(str(tmp_path / "saved"))
    again = load_tokenizer(str(tmp_path / "saved"))
    assert fingerprint(again) == before
    # Whatever state the file was saved in, rows are whole and alone.
    assert tokenise(again, TALK) == tokenise(load_tokenizer(str(tiny_model)), TALK)


def test_a_fingerprint_knows_whether_special_tokens_in_texts_are_split(tiny_model: Path) -> None:
    """The ids of `a <eos> b` differ by it."""
    tokenizer = load_tokenizer(str(tiny_model))
    before = fingerprint(tokenizer)
    tokenizer.split_special_tokens = True
    assert fingerprint(tokenizer) != before


def test_a_fingerprint_of_a_slow_tokenizer_knows_its_files(tmp_path: Path) -> None:
    """One vocabulary and two lists of merges, which cut `ab` into one token or two."""
    from transformers import CTRLTokenizer

    def save(name: str, merge: str) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        words = ["<unk>", "a@@", "b", "ab"]
        (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
        (folder / "merges.txt").write_text(f"#version: 0.2\n{merge}\n")
        return CTRLTokenizer.from_pretrained(str(folder))

    one, same, other = save("one", "a b</w>"), save("same", "a b</w>"), save("other", "b a</w>")
    assert one.tokenize("ab") != other.tokenize("ab")
    assert one.get_vocab() == other.get_vocab()
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    one.save_pretrained(tmp_path / "again")
    assert fingerprint(CTRLTokenizer.from_pretrained(str(tmp_path / "again"))) == fingerprint(one)


GENERATION = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\n' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}"
    "{% else %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '\n' }}{% endif %}{% endfor %}"
)
"""Tulu 3's template with the marks by which transformers finds replies, through the offsets of characters."""


def test_masks_agree_with_transformers_on_real_conversations(tokenizer: Any, shared_data: Path) -> None:
    """All of the sample's conversations: ids and masks are those of `return_assistant_tokens_mask`."""
    rows = [json.loads(line) for line in (shared_data / "tulu3_samples/sft_sample.jsonl").read_bytes().splitlines()]
    for row in rows:
        theirs = tokenizer.apply_chat_template(
            row["messages"],
            chat_template=GENERATION,
            return_dict=True,
            return_assistant_tokens_mask=True,
            add_special_tokens=False,
        )
        ours = tokenise(tokenizer, [Message(turn["role"], turn["content"]) for turn in row["messages"]])
        assert list(ours.token_ids) == theirs["input_ids"], row["id"]
        assert [int(m) for m in ours.loss_mask] == theirs["assistant_masks"], row["id"]
    assert len(rows) == 100
