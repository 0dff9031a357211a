"""One side of `evaluate.py`: reads what is to be scored or continued, answers with scores and what they cost."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

Pair = tuple[str, str]
Likelihoods = Callable[[Sequence[Pair]], list[float]]
Replies = Callable[[Sequence[str], int], list[str]]


def peak() -> float:
    """GiB that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def peer_sides(model: str, batch_size: int) -> tuple[Likelihoods, Replies]:
    """lm-eval's Hugging Face back end."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=batch_size)

    def likelihoods(pairs: Sequence[Pair]) -> list[float]:
        requests = [Instance("loglikelihood", {}, tuple(pair), number) for number, pair in enumerate(pairs)]
        return [logprob for logprob, _ in lm.loglikelihood(requests, disable_tqdm=True)]

    def replies(prompts: Sequence[str], length: int) -> list[str]:
        options = {"until": ["Question:"], "max_gen_toks": length, "do_sample": False}
        requests = [Instance("generate_until", {}, (prompt, options), number) for number, prompt in enumerate(prompts)]
        return [str(text) for text in lm.generate_until(requests, disable_tqdm=True)]

    return likelihoods, replies


def our_sides(model: str, budget: int) -> tuple[Likelihoods, Replies]:
    """What the stage `evaluate` does with a block: replies first, then the generator makes room for the engine."""
    from aftertrain.core.generator import GenerationRequest, Sampling
    from aftertrain.core.packed.likelihoods import likelihoods as scored
    from aftertrain.core.text.chat import load_tokenizer
    from aftertrain.plugins.evaluation.prompts import encode, encode_choices
    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed
    from aftertrain.registry.resolve import SettingsResolver

    registry = installed(frozenset())
    resolver, builder = SettingsResolver(registry), ComponentBuilder(registry)
    tokenizer = load_tokenizer(model)
    engine: Any = None
    generator: Any = None

    def likelihoods(pairs: Sequence[Pair]) -> list[float]:
        nonlocal engine, generator
        if engine is None:
            if generator is not None:
                generator.close()
            engine = builder.build(resolver.resolve("engine", {"use": "torch", "device": "cpu"}))
            engine.load(model)
        items = [item for context, choice in pairs for item in encode_choices(tokenizer, context, [choice], chat=False)]
        return [result.logprob for result in scored(engine, items, budget)]

    def replies(prompts: Sequence[str], length: int) -> list[str]:
        nonlocal generator
        if generator is None:
            generator = builder.build(resolver.resolve("generator", {"use": "transformers"}))
            generator.open(model)
        sampling = Sampling(temperature=0.0, max_new_tokens=length, stop=("Question:",))
        requests = [
            GenerationRequest(str(number), tuple(encode(tokenizer, prompt, chat=False)), sampling, number)
            for number, prompt in enumerate(prompts)
        ]
        return [completion.text for completion in generator.generate(requests, 3600.0)]

    return likelihoods, replies


def main() -> None:
    side, model, file = sys.argv[1:]
    work = json.loads(Path(file).read_text(encoding="utf-8"))
    likelihoods, replies = (our_sides if side == "ours" else peer_sides)(model, int(work["size"]))
    for part in work["parts"]:
        run = partial(replies, length=part["length"]) if part["length"] else likelihoods
        run(part["warm"])
        started, cpu = time.perf_counter(), time.process_time()
        values = run(part["items"])
        told = {
            "name": part["name"],
            "wall": time.perf_counter() - started,
            "cpu": time.process_time() - cpu,
            "peak": peak(),
            "values": values,
        }
        sys.stdout.write("row " + json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
