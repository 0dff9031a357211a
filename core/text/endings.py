"""What ends a reply: the token that a chat template closes it with, and the generation config that must name it.

A template's end token, the tokenizer's and the generation config's may be three (Qwen 2.5's base, Gemma, Phi 3). A
model learns the first; what plays it stops at the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import ModelError
from aftertrain.core.ground.reading import read_json
from aftertrain.core.records import JSON, Message, ToolCall
from aftertrain.core.text.chat import UnusableRow, render_text, text_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATION, CONFIG = "generation_config.json", "config.json"
SAID = "qx000e0xq"
"""A reply that stands in no template by chance; nine letters and digits, as some templates want the ids of calls."""
NEXT = "qx001e0xq"
CONTEXTS = ((Message("user", "How many?"),), (Message("system", "Count."), Message("user", "How many?")))
"""What a reply answers; some templates want a system turn, some refuse one."""
TOOL: JSON = {
    "type": "function",
    "function": {"name": "count", "description": "Counts.", "parameters": {"type": "object", "properties": {}}},
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a template closes a conversation's last reply.

    Attributes:
        text: all that it writes after the reply's words.
        token: the one that ends the reply; None where it writes none.
        rest: tokens from that one on.
    """

    text: str
    token: int | None = None
    rest: tuple[int, ...] = ()


def reply_shapes(content: str) -> Iterator[tuple[Message, ...]]:
    """Conversations that end with a reply of this content, from the plainest on, for templates that refuse some."""
    replies = (
        Message("assistant", content),
        Message("assistant", content, reasoning="One by one."),
        Message("assistant", f"<think>\nOne by one.\n</think>\n\n{content}"),
    )
    for reply in replies:
        for context in CONTEXTS:
            yield (*context, reply)


def reply_ending(tokenizer: PreTrainedTokenizerBase) -> Ending | None:
    """How the tokenizer's chat template closes a reply; None where it has none or refuses every conversation tried.

    The end token is the last special one of what follows an inner reply and the last reply alike (Phi 3 writes an end
    of the whole text behind its `<|end|>`); the tokenizer's own, where it is among these. Where a template closes the
    last reply in another way, as GPT-OSS's does, it is the last of the first special tokens there.
    """
    return _ending(tokenizer, str(tokenizer.chat_template), tokenizer.eos_token_id)


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that end a reply: the tokenizer's own, and those with which its template closes a reply or a call."""
    ending = reply_ending(tokenizer)
    ids = {tokenizer.eos_token_id, ending and ending.token, _call_end(tokenizer, str(tokenizer.chat_template))}
    return frozenset(number for number in ids if number is not None)


def name_ends(folder: Path, tokenizer: PreTrainedTokenizerBase, base: str) -> None:
    """Let a saved model's `generation_config.json` and `config.json` name every token that ends its replies.

    transformers and vLLM stop at these. Tokens that are named already stay.

    Args:
        base: the folder whose generation config counts where the saved one has none of its own.

    Raises:
        ModelError: a file cannot be read.
    """
    file = folder / GENERATION
    generation = _object(file) if file.exists() else _own(Path(base)) or _own(folder)
    ends = _ordered(tokenizer)
    _write(file, generation, ends)
    if (folder / CONFIG).exists():
        _write(folder / CONFIG, _object(folder / CONFIG), ends)


def unnamed_ends(folder: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ends of replies at which what plays the model in `folder` would not stop, by its files.

    Raises:
        ModelError: a file cannot be read.
    """
    named = named_ends(folder)
    return [number for number in _ordered(tokenizer) if number not in named]


def named_ends(folder: str) -> list[int]:
    """The end tokens that a folder's generation config names, or where there is none its configuration.

    Raises:
        ModelError: a file cannot be read.
    """
    return _ids(_own(Path(folder)).get("eos_token_id"))


def _ordered(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The end tokens, the template's own first."""
    ending = reply_ending(tokenizer)
    ends = end_tokens(tokenizer)
    return sorted(ends, key=lambda number: (ending is None or number != ending.token, number))


def _own(folder: Path) -> dict[str, Any]:
    """What a folder's generation config says, or the little of it that its configuration does."""
    if (folder / GENERATION).exists():
        return _object(folder / GENERATION)
    config = _object(folder / CONFIG) if (folder / CONFIG).exists() else {}
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: config[name] for name in names if config.get(name) is not None}


def _write(file: Path, values: dict[str, Any], ends: Iterable[int]) -> None:
    before = _ids(values.get("eos_token_id"))
    after = list(dict.fromkeys([*before, *ends]))
    if after == before and file.exists():
        return
    values = {**values, "eos_token_id": after[0] if len(after) == 1 else after}
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _ids(value: Any) -> list[int]:
    return [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)]


def _object(file: Path) -> dict[str, Any]:
    return read_json(file, dict[str, Any], error=ModelError, cure="mend it, or take it out of the folder")


@lru_cache(maxsize=64)
def _ending(tokenizer: PreTrainedTokenizerBase, template: str, eos: int | None) -> Ending | None:
    """Args: template: the tokenizer's at this moment; part of the key, as `eos` is."""
    if tokenizer.chat_template is None:
        return None
    for turns in reply_shapes(SAID):
        last = _after(tokenizer, turns)
        if last is None:
            continue
        ids = text_ids(tokenizer, last)
        inner = _after(tokenizer, (*turns, Message("user", NEXT)))
        shared = ids[: alike(ids, text_ids(tokenizer, inner.partition(NEXT)[0]))] if inner is not None else []
        marks = [number for number in shared if _is_mark(tokenizer, number)] or _first_marks(tokenizer, ids)
        if not marks:
            return Ending(last)
        token = eos if eos in marks else marks[-1]
        return Ending(last, token, tuple(ids[ids.index(token) :]))
    return None


@lru_cache(maxsize=64)
def _call_end(tokenizer: PreTrainedTokenizerBase, template: str) -> int | None:
    """The end of a turn that ends with a tool call, where that is another one."""
    if "tool_calls" not in template:
        return None
    call = Message("assistant", "", tool_calls=(ToolCall("count", {"of": SAID}, "abcdefgh1"),))
    ending = reply_ending(tokenizer)
    for context in CONTEXTS:
        last = _after(tokenizer, (*context, call), tools=(TOOL,))
        if last is None:
            continue
        ids = text_ids(tokenizer, last)
        if tokenizer.eos_token_id in ids or (ending is not None and ending.token in ids):
            return None
        marks = _first_marks(tokenizer, ids, special=True)
        return marks[-1] if marks else None
    return None


def _after(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], *, tools: Sequence[JSON] = ()) -> str | None:
    """What the template writes after the reply's words; None where it refuses the turns or leaves the words out.

    A template that cannot be used at all has no end either: texts are learnt without it, and who renders conversations
    is told by them.
    """
    try:
        text = render_text(tokenizer, turns, generation_prompt=False, tools=tools)
    except (UnusableRow, ModelError):
        return None
    _, reply, after = text.rpartition(SAID)
    return after if reply else None


def alike(ids: Sequence[int], others: Sequence[int]) -> int:
    """How many ids two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, others, strict=False)))


def _first_marks(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, special: bool = False) -> list[int]:
    """The first run of marks."""
    run: list[int] = []
    for number in ids:
        if _is_mark(tokenizer, number, special=special):
            run.append(number)
        elif run:
            break
    return run


def _is_mark(tokenizer: PreTrainedTokenizerBase, number: int, *, special: bool = False) -> bool:
    """Whether a token is one that texts are cut at before they are tokenised, and no white space."""
    added = tokenizer.added_tokens_decoder.get(number)
    if number == tokenizer.eos_token_id:
        return True
    return added is not None and bool(added.content.strip()) and (added.special or not special)
