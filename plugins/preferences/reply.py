"""A reply to a prompt, as it is kept between the models and the raters: by its id, in a line of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aftertrain.core.records import Completion, FinishReason, Message, Thoughts
from aftertrain.core.text.answer import marked, split

ENDLESS = "endless_thoughts"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    Attributes:
        id: `PROMPT/MODEL/NUMBER`.
        prompt: the prompt's id.
        model: what the model is called.
        dropped: why it cannot be used; blank where it can.
        thoughts: how its prompt's template marks thoughts; None where that is not known.
        n_prompt: tokens of the prompt; 0 where nobody told.
    """

    id: str
    prompt: str
    model: str
    text: str = ""
    with_special: str | None = None
    finish_reason: FinishReason = "stop"
    token_ids: tuple[int, ...] = ()
    n_prompt: int = 0
    thoughts: Thoughts | None = None
    dropped: str = ""
    why: str = ""

    @property
    def completion(self) -> Completion:
        """As verifiers are handed it."""
        n = len(self.token_ids)
        return Completion(
            self.id, (), self.token_ids, (), (0,) * n, self.finish_reason, self.text, self.with_special, self.why
        )

    def message(self, thoughts: str) -> Message | None:
        """The turn that the rows teach.

        Args:
            thoughts: `keep` or `cut`.

        Returns:
            None where the thoughts are to be cut and never end.
        """
        marks = self.thoughts or Thoughts()
        text = marked(self.text, self.with_special, (marks.opening, marks.closing))
        if thoughts == "cut":
            answer = split(text, marks, block=False).text
            return None if answer is None else Message("assistant", answer)
        return Message("assistant", f"{marks.opening}{text}" if marks.begun else text)


def reply_of(completion: Completion, prompt: str, model: str, thoughts: Thoughts | None, cut: str) -> Reply:
    """What a model replied.

    Args:
        prompt: its id.
        cut: `drop` or `keep` replies that reached the most tokens.
    """
    refused = completion.finish_reason == "refused"
    reply = Reply(
        completion.id,
        prompt,
        model,
        completion.text,
        completion.text_with_special,
        completion.finish_reason,
        completion.token_ids,
        len(completion.prompt_ids),
        thoughts,
        why=completion.why if refused else "",  # the store of completions keeps no words of others
    )
    reason = ""
    if completion.finish_reason in ("refused", "cancelled"):
        reason = completion.finish_reason
    elif completion.finish_reason == "length" and cut == "drop":
        reason = "cut"
    elif not completion.text.strip():
        reason = "empty"
    return replace(reply, dropped=reason) if reason else reply


def to_line(reply: Reply) -> dict[str, Any]:
    """As plain JSON."""
    marks = reply.thoughts
    return {
        **{name: getattr(reply, name) for name in Reply.__slots__ if name not in ("thoughts", "token_ids")},
        "token_ids": list(reply.token_ids),
        "thoughts": None if marks is None else [marks.opening, marks.closing, marks.begun],
    }


def from_line(line: Mapping[str, Any]) -> Reply:
    """The reply that was written so."""
    marks = line["thoughts"]
    return Reply(
        **{
            **line,
            "token_ids": tuple(line["token_ids"]),
            "thoughts": None if marks is None else Thoughts(*marks),
        }
    )
