"""Models that reply: how each is asked, and its replies to all prompts, block by block, in files.

    work/replies/MODEL/part-00000.jsonl    replies of a model to the prompts of a block

A block that is written is not asked again. Within a block what an endpoint has replied is in the store of completions,
so that a kill loses no reply that was paid; a model in this process replies to the whole block again, which gives the
bits that it would have given: which requests stand side by side decides rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.completions.keeping import Keeping, shared_store
from aftertrain.core.errors import RunError
from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.ground.endpoint import is_endpoint
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.records import Completion, Problem, Thoughts
from aftertrain.core.rows.files import part, write_lines
from aftertrain.core.run.base_model import find_model
from aftertrain.core.settings import Builder, Use
from aftertrain.core.text.answer import thoughts_of
from aftertrain.core.text.chat import UnusableRow, check_whole, load_tokenizer, render_text, text_ids
from aftertrain.plugins.preferences.reply import Reply, reply_of, to_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OVERLONG = "overlong_prompt"


@dataclass(frozen=True)
class Replier:
    """One model, and how it is asked; nothing is loaded but its tokenizer.

    Attributes:
        name: what it is called.
        model: folder or endpoint.
        tokenizer: None where an endpoint's is not known.
        window: most tokens of prompt and reply together, None without limit.
        takes: in which form prompts are sent.
        use: what runs it.
    """

    name: str
    model: str
    tokenizer: PreTrainedTokenizerBase | None
    window: int | None
    takes: str
    use: Use[Generator[Any]]
    sampling: Sampling
    samples: int

    def requests(self, prompt: Problem, seed: int, refuses: Callable[..., str]) -> list[GenerationRequest] | Reply:
        """What is sent for one prompt, or the reply that says why it cannot be asked (without a number in its id)."""
        ids: tuple[int, ...] = ()
        text = None
        dropped = ""
        if self.tokenizer is not None:
            try:
                check_whole(self.tokenizer, prompt.prompt, prompt.tools)
                text = self._text(prompt)
                ids = tuple(text_ids(self.tokenizer, text))
            except UnusableRow as error:
                return Reply("", prompt.id, self.name, dropped=error.reason, why=str(error))
            if self.window is not None and len(ids) + self.sampling.max_new_tokens > self.window:
                dropped = f"{len(ids)} tokens leave no room for {self.sampling.max_new_tokens} in {self.window}"
        elif why := "its tools cannot be sent" if prompt.tools else refuses(prompt.prompt):
            return Reply("", prompt.id, self.name, dropped="cannot_be_sent", why=why)
        if dropped:
            return Reply("", prompt.id, self.name, dropped=OVERLONG, why=dropped)
        return [
            GenerationRequest(
                f"{prompt.id}/{self.name}/{number}",
                ids,
                self.sampling,
                sub_seed(seed, "preferences", prompt.id, self.name, number),
                prompt.prompt,
                text,
            )
            for number in range(self.samples)
        ]

    def thoughts(self, prompt: Problem) -> Thoughts | None:
        """How the template marks thoughts in replies to a prompt."""
        if self.tokenizer is None:
            return None
        return thoughts_of(str(self.tokenizer.chat_template), self._text(prompt))

    def _text(self, prompt: Problem) -> str:
        assert self.tokenizer is not None
        return render_text(self.tokenizer, prompt.prompt, generation_prompt=True, tools=prompt.tools)


def replier(  # noqa: PLR0917
    name: str,
    model: str,
    use: Use[Generator[Any]],
    builder: Builder,
    sampling: Sampling,
    samples: int,
    chat_template: str | None,
) -> Replier:
    """How a model is asked; loads no weights, and asks no server.

    Raises:
        ModelError: the generator does not fit the model, the tokenizer cannot be read, has no chat template, or is not
            known where one is needed.
    """
    generator = builder.build(use)
    generator.preflight(model)
    if not is_endpoint(model):
        tokenizer = load_tokenizer(model, chat_template)
        return Replier(name, model, tokenizer, context_window(model), "tokens", use, sampling, samples)
    takes, context, folder = generator.takes, generator.context_size, generator.tokenizer_folder
    if folder is None:
        if takes != "messages":
            raise RunError(
                f"model {name!r}: prompts are conversations, and without its tokenizer there is no chat template to "
                "apply: set generator.api: chat, or generator.tokenizer"
            )
        if chat_template is not None:
            raise RunError(f"model {name!r}: its server applies its own chat template; take chat_template out")
        return Replier(name, model, None, context, takes, use, sampling, samples)
    tokenizer = load_tokenizer(str(find_model(folder, Path.cwd(), weights=False)), chat_template)
    return Replier(name, model, tokenizer, context, takes, use, sampling, samples)


class Replying:
    """One model at work.

    Args:
        seed: the stage's. A reply's own is drawn from it, the prompt, the model's name and the reply's number.
        cut: what becomes of replies that reached the most tokens.
    """

    def __init__(self, replier: Replier, builder: Builder, seed: int, cut: str, timeout: float) -> None:
        self.replier, self._seed, self._cut, self._timeout = replier, seed, cut, timeout
        generator = builder.build(replier.use)
        self._keeping = Keeping(replier.use, generator, lambda: replier.model, shared_store())

    def write(self, prompts: Sequence[Problem], folder: Path, block: int) -> None:
        """Replies to a block of prompts, into its file.

        Raises:
            RunError: the generator finished nothing in time, or lost a request.
        """
        replier, generator = self.replier, self._keeping.generator
        asked = {prompt.id: replier.requests(prompt, self._seed, generator.refuses) for prompt in prompts}
        requests = [request for found in asked.values() if not isinstance(found, Reply) for request in found]
        by_id = {reply.id: reply for reply in self._made(requests)}
        replies = list[Reply]()
        for prompt in prompts:
            found = asked[prompt.id]
            if isinstance(found, Reply):
                for number in range(replier.samples):
                    replies.append(_numbered(found, number))
                continue
            thoughts = replier.thoughts(prompt)
            replies += [reply_of(by_id[r.id], prompt.id, replier.name, thoughts, self._cut) for r in found]
        folder.mkdir(parents=True, exist_ok=True)
        write_lines(folder / f"{part(block)}.jsonl", map(to_line, replies))

    def close(self) -> None:
        """Free the model."""
        self._keeping.close()

    def _made(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        keeping = self._keeping
        try:
            return keeping.generate(requests, self._timeout, whole=not keeping.generator.remote)
        except TimeoutError as error:
            raise RunError(
                f"model {self.replier.name!r}: no reply was finished in {self._timeout:g} s; raise the stage's timeout"
            ) from error


def _numbered(reply: Reply, number: int) -> Reply:
    return Reply(
        f"{reply.prompt}/{reply.model}/{number}", reply.prompt, reply.model, dropped=reply.dropped, why=reply.why
    )
