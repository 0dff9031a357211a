"""What a generator promises: its seed decides, replies stop where they should, tokens are stamped and scored.

One that asks an endpoint is tried on a server in this process, and only for what it says of a reply's text: its ids and
weights are the server's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.packed.checksum import checksum
from aftertrain.core.records import Completion, Message
from aftertrain.testing.endpoint import served
from aftertrain.testing.model import plain_logits, tiny_model, tiny_tokenizer
from aftertrain.testing.promise import Subject, Unchecked, require

PROMPTS = ("a", "What is 3 + 4?\n", "Once upon a time there was a", "0123456789")
NEW_TOKENS = 24
PATIENCE = 120.0


def the_seed_decides(subject: Subject) -> None:
    """Equal seeds give equal replies, others differ; neighbours and order in a batch do not matter."""
    with _open(subject) as (generator, _):
        requests = _requests(range(4))
        first = _replies(generator, requests)
        require(_replies(generator, requests) == first, "the same requests give other replies")
        require(_replies(generator, requests[::-1]) == first, "in reversed order, replies differ")
        alone = {k: v for request in requests for k, v in _replies(generator, [request]).items()}
        require(alone == first, "alone and in a batch, replies differ")
        other = _replies(generator, _requests(range(4, 8)))
        require(any(other[key] != first[key] for key in first), "four other seeds give the same replies")


def temperature_zero_takes_the_likeliest(subject: Subject) -> None:
    """At temperature 0 the seed does not matter, and each token is the model's argmax."""
    with _open(subject) as (generator, folder):
        first = _replies(generator, _requests(range(4), temperature=0.0))
        other = _replies(generator, _requests(range(4, 8), temperature=0.0))
        require(first == other, "greedy replies depend on the seed")
        if generator.remote:
            return
        for completion in _generate(generator, _requests(range(1), temperature=0.0)):
            logits = _logits(folder, completion)
            require(
                tuple(logits.argmax(-1).tolist()) == completion.token_ids,
                f"greedy {completion.token_ids}, the model's argmax is {logits.argmax(-1).tolist()}",
            )


def replies_end_at_the_stop_token(subject: Subject) -> None:
    """A reply ends with its first end token and reason `stop`, or at the limit with reason `length`."""
    with _open(subject, ids=True) as (generator, _):
        end = tiny_tokenizer().eos_token_id
        reasons = set()
        for completion in _generate(generator, _requests(range(40))):
            reasons.add(completion.finish_reason)
            ids = completion.token_ids
            require(ids, f"{completion.id}: no token, not even the end token")
            require(end not in ids[:-1], f"{completion.id}: goes on after its end token: {ids}")
            if completion.finish_reason == "stop":
                require(
                    ids[-1] == end, f"{completion.id}: reason 'stop', its last token {ids[-1]} is not the end token"
                )
            else:
                require(completion.finish_reason == "length", f"{completion.id}: reason {completion.finish_reason!r}")
                require(len(ids) == NEW_TOKENS, f"{completion.id}: reason 'length' with {len(ids)} of {NEW_TOKENS}")
        require("stop" in reasons, "none of 40 replies of a model that likes its end token stopped")


def stop_strings_end_a_reply(subject: Subject) -> None:
    """A stop string ends the reply where it first appears: kept in the ids, not in the text."""
    with _open(subject) as (generator, _):
        tokenizer: Any = tiny_tokenizer()
        (free,) = _generate(generator, _requests(range(1), temperature=0.0))
        text = free.text if generator.remote else tokenizer.decode(free.token_ids, skip_special_tokens=True)
        require(len(text) >= 4, f"the tiny model's greedy reply {text!r} is too short to try stop strings")
        stop = text[2:4]
        (cut,) = _generate(generator, _requests(range(1), temperature=0.0, stop=(stop,)))
        require(cut.finish_reason == "stop", f"stop string {stop!r} in {text!r}: reason {cut.finish_reason!r}")
        require(cut.text == text[: text.index(stop)], f"stop string {stop!r}: text {cut.text!r} of {text!r}")
        if generator.remote:
            return
        require(cut.token_ids == free.token_ids[: len(cut.token_ids)], "the stop string changed the tokens before it")
        decoded = tokenizer.decode(cut.token_ids, skip_special_tokens=True)
        require(
            decoded.endswith(stop), f"the ids decode to {decoded!r}, which does not end with the stop string {stop!r}"
        )


def special_tokens_are_seen(subject: Subject) -> None:
    """A stop string that is a special token ends a reply; `text_with_special` has those of a reply, `text` has not."""
    with _open(subject, ids=True) as (generator, _):
        tokenizer: Any = tiny_tokenizer()
        end = tokenizer.eos_token_id
        special = [i for i in tokenizer.all_special_ids if i != end]
        held = [c for c in _generate(generator, _requests(range(40))) if {*special} & {*c.token_ids}]
        require(held, "none of 40 replies of a model that likes special tokens holds one")
        for completion in held:
            spoken = completion.token_ids[:-1] if completion.token_ids[-1] == end else completion.token_ids
            decoded = tokenizer.decode(spoken)
            seen = completion.text_with_special
            require(seen == decoded, f"text_with_special is {seen!r}, the ids decode to {decoded!r}")
        first = next(i for i in held[0].token_ids if i in special)
        stop, place = tokenizer.decode([first]), int(held[0].id.removeprefix("request-"))
        (cut,) = _generate(generator, _requests(range(40), stop=(stop,))[place : place + 1])
        wanted = held[0].token_ids[: held[0].token_ids.index(first) + 1]
        require(cut.token_ids == wanted, f"stop string {stop!r}, a special token: {cut.token_ids}, should be {wanted}")
        require(cut.finish_reason == "stop", f"stop string {stop!r}: reason {cut.finish_reason!r}")
        require(
            stop not in (cut.text_with_special or cut.text), f"stop string {stop!r} is in {cut.text_with_special!r}"
        )


def completions_are_whole(subject: Subject) -> None:
    """Ids, log-probabilities and versions are of one length; prompt ids and request ids come back; text is decoded."""
    with _open(subject, version=7) as (generator, _):
        tokenizer: Any = tiny_tokenizer()
        requests = _requests(range(4))
        completions = _generate(generator, requests)
        require([c.id for c in completions] == [r.id for r in requests], "ids do not come back in order")
        for request, completion in zip(requests, completions, strict=True):
            count = len(completion.token_ids)
            if not generator.remote:
                require(completion.prompt_ids == request.prompt_ids, f"{request.id}: other prompt ids")
                text = tokenizer.decode(completion.token_ids, skip_special_tokens=True)
                require(completion.text == text, f"text {completion.text!r}, its ids decode to {text!r}")
            told = len(completion.logprobs)
            require(told == count or (generator.remote and not told), f"{count} tokens, {told} log-probabilities")
            require(completion.versions == (7,) * count, f"versions {completion.versions}, the weights are version 7")


def logprobs_are_the_models(subject: Subject) -> None:
    """Each log-probability is the model's own, at the sampling temperature (mean difference below 1e-3)."""
    for temperature in (1.0, 0.7):
        with _open(subject, ids=True) as (generator, folder):
            for completion in _generate(generator, _requests(range(2), temperature=temperature)):
                logits = _logits(folder, completion) / temperature
                ids = torch.tensor(completion.token_ids)
                ours = torch.log_softmax(logits, -1).gather(1, ids.unsqueeze(1)).squeeze(1)
                off = float((ours - torch.tensor(completion.logprobs)).abs().mean())
                require(off < 1e-3, f"at temperature {temperature} they differ by {off:.2g} on average")


def new_weights_are_used_and_stamped(subject: Subject) -> None:
    """After `update_weights` replies come from the new weights and carry the new version; checksums, if told, agree."""
    with _open(subject, seed=1, ids=True) as (other, folder):
        requests = _requests(range(4))
        expected = _replies(other, requests)
    weights = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False).state_dict()
    with _open(subject) as (generator, _):
        before = _replies(generator, requests)
        generator.update_weights(weights.items(), 3)
        for name, (dtype, told) in (generator.checksums() or {}).items():
            own = checksum(weights[name], getattr(torch, dtype))
            require(told == own, f"the checksum of {name} is told as {told}, that of what was given is {own}")
        after = _generate(generator, requests)
    require(all(set(c.versions) == {3} for c in after), f"versions {[c.versions for c in after]}, should be 3")
    ids = {completion.id: completion.token_ids for completion in after}
    require(ids == expected, "replies differ from those of a model opened with the weights")
    require(expected != before, "the new weights give the old replies")


def cancelled_requests_are_not_collected(subject: Subject) -> None:
    """What is cancelled never comes back; the others do."""
    with _open(subject) as (generator, _):
        requests = _requests(range(4))
        generator.submit(requests)
        generator.cancel([requests[1].id])
        collected: list[str] = []
        while part := generator.collect(PATIENCE):
            collected += [completion.id for completion in part]
            require(len(collected) <= len(requests), f"collected {collected}")
        require(
            sorted(collected) == sorted(r.id for i, r in enumerate(requests) if i != 1),
            f"collected {sorted(collected)}",
        )


@contextmanager
def _open(
    subject: Subject, version: int = 0, *, seed: int = 0, ids: bool = False
) -> Iterator[tuple[Generator[Any], str]]:
    """A generator with the tiny model of a seed, and the model's folder.

    Args:
        ids: whether token ids or weights are looked at, of which an endpoint tells nothing.
    """
    generator: Generator[Any] = subject.component()
    if ids and generator.remote:
        raise Unchecked("an endpoint's token ids and weights are its server's")
    folder = tiny_model(subject.folder / f"model-{seed}", seed=seed)
    with served(folder) if generator.remote else nullcontext(folder) as model:
        generator.open(model, version)
        try:
            yield generator, folder
        finally:
            generator.close()


def _requests(seeds: Sequence[int], *, temperature: float = 1.0, stop: tuple[str, ...] = ()) -> list[GenerationRequest]:
    tokenizer: Any = tiny_tokenizer()
    sampling = Sampling(max_new_tokens=NEW_TOKENS, temperature=temperature, stop=stop)
    return [
        GenerationRequest(
            f"request-{place}",
            tuple(tokenizer(PROMPTS[place % len(PROMPTS)], add_special_tokens=False)["input_ids"]),
            sampling,
            1000 + seed,
            (Message("user", PROMPTS[place % len(PROMPTS)]),),
            PROMPTS[place % len(PROMPTS)],
        )
        for place, seed in enumerate(seeds)
    ]


def _generate(generator: Any, requests: Sequence[GenerationRequest]) -> list[Completion]:
    completions: list[Completion] = generator.generate(requests, PATIENCE)
    for completion in completions:
        good = all(math.isfinite(value) and value <= 1e-6 for value in completion.logprobs)
        require(good, f"{completion.id}: log-probabilities {completion.logprobs}")
    return completions


def _replies(generator: Any, requests: Sequence[GenerationRequest]) -> dict[str, tuple[int, ...] | str]:
    """Token ids by the requests' ids; texts of an endpoint."""
    return {reply.id: reply.text if generator.remote else reply.token_ids for reply in _generate(generator, requests)}


def _logits(folder: str, completion: Completion) -> Tensor:
    """Float32 `[tokens, vocabulary]`: what the model predicts at each token of the reply, by transformers itself."""
    ids = torch.tensor([*completion.prompt_ids, *completion.token_ids])
    return plain_logits(folder, ids)[len(completion.prompt_ids) - 1 : -1]
