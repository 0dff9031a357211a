"""What a task of lm-eval asks, request by request as its own code makes them, as questions of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Choice, Instance
from aftertrain.core.generator import Sampling
from aftertrain.core.records import JSON, Message
from aftertrain.plugins.lm_eval_tasks.loading import silent
from aftertrain.plugins.lm_eval_tasks.settings import LmEvalSettings

CHAT = "\0messages:"
"""Begins a context that is a conversation, which is rendered when a model is at hand."""
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of the reply's length, in lm-eval's order."""
DEFAULT_LENGTH = 256
"""Tokens after which lm-eval cuts a reply where nothing says how long it may be."""
KNOWN = {*LENGTHS, "until", "do_sample", "temperature", "top_p"}
GREEDY_IDLE = {"top_k", "min_p", "typical_p"}
"""What does nothing where the likeliest token is taken."""


@dataclass(frozen=True)
class Asked:
    """One question.

    Attributes:
        leaf: name of its task.
        doc: as lm-eval's code takes it.
        number: its place in the split.
        requests: type and arguments of each, in lm-eval's order.
    """

    leaf: str
    doc: Any
    number: int
    requests: tuple[tuple[str, tuple[Any, ...]], ...]

    @property
    def type(self) -> str:
        """`loglikelihood`, `loglikelihood_rolling` or `generate_until`."""
        return self.requests[0][0]


def ask(task: Any, leaf: str, settings: LmEvalSettings) -> list[Asked]:
    """All questions of a task, built in the order of its split, so that drawn worked examples are those of a whole run.

    Raises:
        DataError: a question has requests of several types, or lm-eval's code fails.
    """
    with silent():
        try:
            task.build_all_requests(
                limit=None,
                rank=0,
                world_size=1,
                system_instruction=settings.system,
                apply_chat_template=settings.chat,
                fewshot_as_multiturn=settings.chat and settings.multiturn,
                chat_template=_kept if settings.chat else None,
            )
        except Exception as error:
            raise DataError(f"task 'lm_eval/{leaf}': lm-eval cannot ask: {type(error).__name__}: {error}") from error
    grouped: dict[int, list[Any]] = {}
    for request in task.instances:
        grouped.setdefault(request.doc_id, []).append(request)
    asked = []
    for number, requests in grouped.items():
        requests.sort(key=lambda request: request.idx)
        question = Asked(leaf, requests[0].doc, number, tuple((r.request_type, tuple(r.args)) for r in requests))
        types = sorted({type_ for type_, _ in question.requests})
        if len(types) > 1:
            raise DataError(
                f"task 'lm_eval/{leaf}' asks {' and '.join(types)} of one question, and a task here asks one type of "
                "request; lm-eval itself runs it with our model: aftertrain.lm_eval_model"
            )
        asked.append(question)
    return asked


def _kept(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """In place of a chat template: the conversation itself."""
    return CHAT + json.dumps(messages)


def instance(question: Asked, id_: str, target: Any, *, group: str) -> Instance:
    """A question as a model is asked it.

    Raises:
        DataError: it compares contexts of a conversation.
    """
    context: str = question.requests[0][1][0]
    choices: tuple[Choice, ...] = ()
    if question.type == "loglikelihood":
        choices = tuple(_choice(question, context, *arguments[:2]) for _, arguments in question.requests)
    elif len(question.requests) > 1:
        raise DataError(f"task 'lm_eval/{question.leaf}' asks for {len(question.requests)} replies to one question")
    chat = context.startswith(CHAT)
    messages = tuple(Message(m["role"], m["content"]) for m in json.loads(context.removeprefix(CHAT))) if chat else ()
    return Instance(
        id_, messages or (Message("user", context),), plain(target), choices=choices, chat=chat, group=group
    )


def _choice(question: Asked, prompt: str, context: str, continuation: str) -> Choice:
    if context == prompt:
        return Choice(continuation)
    if context.startswith(CHAT):
        raise DataError(
            f"task 'lm_eval/{question.leaf}' compares contexts, which are plain text here; ask it with chat: false"
        )
    return Choice(continuation, context)


def plain(value: Any) -> JSON:
    """Plain data of what lm-eval's code returns; anything else as its text."""
    if hasattr(value, "tolist"):  # NumPy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def sampling(question: Asked) -> Sampling:
    """How lm-eval draws the reply to a question.

    Raises:
        DataError: in a way that there is none of here.
    """
    return sampling_of(question.requests[0][1][1], f"task 'lm_eval/{question.leaf}'")


def sampling_of(options: Mapping[str, Any], where: str) -> Sampling:
    """lm-eval's `generation_kwargs` in our words.

    Raises:
        DataError: they ask for what there is none of here; `where` says of what.
    """
    drawn = options.get("do_sample")
    temperature = float(options.get("temperature") or 0.0)
    temperature = temperature if drawn or (drawn is None and temperature > 0) else 0.0
    if drawn and temperature == 0.0:
        raise DataError(f"{where} says do_sample without a temperature above 0, which lm-eval's back end refuses, too")
    odd = {key for key, value in options.items() if key not in KNOWN and value not in (None, False, 0, 1)}
    odd -= GREEDY_IDLE if temperature == 0 else set()
    if odd:
        raise DataError(f"{where} draws its replies by {', '.join(sorted(odd))}, which generators here do not have")
    until: Sequence[str] | str = options.get("until") or ()
    return Sampling(
        max_new_tokens=int(next((options[name] for name in LENGTHS if options.get(name) is not None), DEFAULT_LENGTH)),
        temperature=temperature,
        **({"top_p": float(options.get("top_p") or 1.0)} if temperature else {}),
        stop=tuple(text for text in ([until] if isinstance(until, str) else until) if text),
    )
