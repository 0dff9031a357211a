r"""Which part of a reply answers: what follows its thoughts, and of that the inside of `<answer>…</answer>`.

A reply that thinks aloud names many answers before it settles. Verifiers with a rule of their own judge the part that
answers; those that carry a reference's name judge the whole reply, as the reference does. Everything here takes time
linear in the reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.records import Part, Thoughts, Verdict, VerificationCase
from aftertrain.core.settings import Settings

Tag = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S+$")]

KNOWN = (
    Thoughts("<think>", "</think>"),
    Thoughts("<thinking>", "</thinking>"),
    Thoughts("<thought>", "</thought>"),
    Thoughts("<reasoning>", "</reasoning>"),
    Thoughts("[THINK]", "[/THINK]"),
    Thoughts("<seed:think>", "</seed:think>"),
    Thoughts("◁think▷", "◁/think▷"),
    Thoughts("<|begin_of_thought|>", "<|end_of_thought|>"),
    Thoughts("<|START_THINKING|>", "<|END_THINKING|>"),
    Thoughts("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
"""Tags that chat templates of published models write."""
HANDED_ON = "the block handed on"
ENDLESS = "the reply's thoughts never end, so that it has no answer"
WHOLE = (
    "judges the whole reply, thoughts included, as its reference does; thoughts: cut makes it judge the answer alone"
)
"""What a rule with a reference's name says, after its name."""

_FENCE = re.compile(r"(?:^|(?<=[>\]▷]))[ \t]{0,12}(?:>[ \t]?)?(?:```|~~~)", re.MULTILINE)
_ANSWER = ("<answer>", "</answer>")
_SPECIAL = re.compile(
    r"<\|[^<>\s]{1,60}\|>|</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_turn)>|\[/?INST\]|<｜[^<>\n]{1,60}｜>"
)
"""Special tokens as published tokenizers write them."""
_QUOTES = "\"'`"
_INDENT = 40
"""Characters that are looked back over for the beginning of a line."""


class AnswerSettings(Settings):
    """Which part of a reply is judged."""

    thoughts: Literal["cut", "keep"] | tuple[Tag, Tag] | None = Field(
        None,
        description="cut: what follows the thoughts is judged, marked as the chat template marks them, else by "
        "<think>…</think>; two texts: the same, marked by these; keep: the whole reply is judged; null: cut for our "
        "own rules, keep for rules with a reference's name.",
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """The part of a reply that answers.

    Attributes:
        text: None where the thoughts never end.
        where: how it was found, for people; blank for a whole reply.
    """

    text: str | None
    part: Part
    where: str = ""


def judged(
    case: VerificationCase,
    settings: AnswerSettings,
    judge: Callable[[VerificationCase], Verdict],
    *,
    reference: bool = False,
    block: bool = True,
) -> Verdict:
    """The verdict of `judge` on the part of the reply that answers; its detail says which where it is not all.

    Thoughts that never end are judged as an empty reply would be, but never to a value above 0.

    Args:
        reference: the rule carries a reference's name, so that it judges the whole reply unless settings say otherwise.
        block: whether an `<answer>` block is the answer; false where the rule reads the tags itself.
    """
    answer = answer_of(case, settings, reference=reference, block=block)
    if answer.text is None:
        verdict = judge(_part(case, "", "answer"))
        if verdict.outcome == "error":
            return verdict
        return Verdict.scored(0.0, None, ENDLESS) if verdict.outcome == "scored" else Verdict.unparsable(ENDLESS)
    verdict = judge(case if answer.part == case.part else _part(case, answer.text, answer.part))
    if not answer.where:
        return verdict
    return replace(verdict, detail=f"{answer.where}: {verdict.detail}" if verdict.detail else answer.where)


def answer_of(
    case: VerificationCase, settings: AnswerSettings, *, reference: bool = False, block: bool = True
) -> Answer:
    """The part of a case's reply that is to be judged; a part that another verifier has taken out stays as it is."""
    wanted = settings.thoughts or ("keep" if reference else "cut")
    if wanted == "keep" or case.part != "reply":
        return Answer(case.response, case.part, "" if case.part == "reply" else HANDED_ON)
    thoughts = case.thoughts or Thoughts()
    if isinstance(wanted, tuple) and wanted != (thoughts.opening, thoughts.closing):
        thoughts = Thoughts(*wanted)
    thoughts = replace(thoughts, begun=thoughts.begun or begun(case.prompt, thoughts))
    tags = (thoughts.opening, thoughts.closing, *_ANSWER)
    return split(marked(case.response, case.response_with_special, tags), thoughts, block=block)


def marked(text: str, with_special: str | None, tags: Sequence[str]) -> str:
    """A reply with its tags, where some are special tokens, which `text` lacks; without its other special tokens.

    >>> marked("7 8", "<think>7</think> 8<|im_end|>", ["<think>", "</think>"])
    '<think>7</think> 8'
    """
    if with_special is None or not any(tag in with_special and tag not in text for tag in tags):
        return text
    return _SPECIAL.sub(lambda token: token.group() if token.group() in tags else "", with_special)


def _part(case: VerificationCase, response: str, part: Part) -> VerificationCase:
    return replace(case, response=response, response_with_special=None, part=part, whole=case.reply)


def split(reply: str, thoughts: Thoughts, *, block: bool = True) -> Answer:
    r"""The part of a reply that answers.

    Thoughts begin with the opening tag (at the reply's start, or after white space), or with the reply where the prompt
    has opened them, or where the first tag is a closing one. They end with the closing tag; without one, there is no
    answer. Tags in quotes, and in fenced code of the answer, are talk about tags.

    >>> split("<think>7?</think> It is 8.", Thoughts())
    Answer(text='It is 8.', part='answer', where='after </think>')
    >>> split("7? no.</think><answer>8</answer>", Thoughts())
    Answer(text='8', part='block', where='after </think>, in <answer>')
    >>> split("<think>7?", Thoughts()).text is None, split("7?", Thoughts(begun=True)).text is None
    (True, True)
    >>> split("Tags such as `</think>` close.", Thoughts()).part
    'reply'
    """
    text, where = reply, []
    if thoughts.begun or thoughts.opening in reply or thoughts.closing in reply:
        outside = _outside(reply, thoughts)
        if outside is None:
            return Answer(None, "answer", ENDLESS)
        if outside != reply:
            text = outside.strip()
            where.append(f"after {thoughts.closing}")
    part: Part = "answer" if where else "reply"
    if block and (inside := answer_block(text)) is not None:
        return Answer(inside.strip(), "block", ", ".join([*where, "in <answer>"]))
    return Answer(text, part, ", ".join(where))


def answer_block(text: str) -> str | None:
    """The inside of the last `<answer>…</answer>`; else what follows a last `<answer>` (a stop string may have cut the
    other tag off), or goes before a first `</answer>` that nothing opens; None without tags.

    >>> [answer_block(text) for text in ("<answer>7</answer> no: <answer>8</answer>.", "<answer>8", "8</answer>", "8")]
    ['8', '8', '8', None]
    """
    if _ANSWER[0] not in text and _ANSWER[1] not in text:
        return None
    inside, opened = None, None
    for tag in _tags(*_ANSWER).finditer(text):
        if _quoted(text, tag):
            continue
        if tag.group() == _ANSWER[0]:
            opened = tag.end()
        elif opened is not None:
            inside, opened = text[opened : tag.start()], None
        elif inside is None:
            inside = text[: tag.start()]
    if inside is None and opened is not None:
        inside = text[opened:]
    return inside


def begun(prompt: str, thoughts: Thoughts) -> bool:
    r"""Whether a prompt's last line is the opening tag, behind nothing or another tag: the reply goes on within.

    >>> begun("<|assistant|>\n<think>\n", Thoughts()), begun("Begin with <think>", Thoughts())
    (True, False)
    """
    line = prompt.rstrip()
    before = line.removesuffix(thoughts.opening)
    return before != line and (not before or before[-1] in "\n>")


def thoughts_of(template: str | None, prompt: str) -> Thoughts:
    """How thoughts are marked in replies to a prompt.

    Args:
        template: the chat template, in which known tags are looked for; None where there is none.
        prompt: as it is sent, the reply's beginning included where it is given.
    """
    ended = prompt.rstrip()
    open_now = next((known for known in KNOWN if ended.endswith(known.opening)), None)
    if open_now is not None:
        return replace(open_now, begun=True)
    return next((known for known in KNOWN if template and known.closing in template), Thoughts())


@lru_cache(maxsize=64)
def _tags(opening: str, closing: str) -> re.Pattern[str]:
    return re.compile(f"{re.escape(opening)}|{re.escape(closing)}")


def _quoted(text: str, tag: re.Match[str]) -> bool:
    """A tag between two quotes of one kind is spoken of."""
    before, after = text[max(0, tag.start() - 1) : tag.start()], text[tag.end() : tag.end() + 1]
    fenced = text.endswith("```", 0, tag.start()) or text.startswith("```", tag.end())
    return before == after != "" and before in _QUOTES and not fenced


def _outside(reply: str, thoughts: Thoughts) -> str | None:
    """The reply without its thoughts; None where they never end."""
    fences = [fence.start() for fence in _FENCE.finditer(reply)]
    inside, start = thoughts.begun, 0
    spoken: list[str] = []
    passed = first_fence = 0
    for tag in _tags(thoughts.opening, thoughts.closing).finditer(reply):
        if _quoted(reply, tag):
            continue
        while passed < len(fences) and fences[passed] < tag.start():
            passed += 1
        in_code = (passed - first_fence) % 2 == 1
        if tag.group() == thoughts.opening:
            free = tag.start() == start or reply[tag.start() - 1].isspace()
            if free and not inside and not in_code:
                spoken.append(reply[start : tag.start()])
                inside = True
        elif inside or not in_code or _begins_line(reply, tag.start()):
            if not inside:
                spoken.clear()  # nothing has opened these thoughts: they began with the reply
            inside, start, first_fence = False, tag.end(), passed
    return None if inside else "".join([*spoken, reply[start:]])


def _begins_line(text: str, place: int) -> bool:
    before = text[max(0, place - _INDENT) : place]
    return not before.rpartition("\n")[2].strip()
