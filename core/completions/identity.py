"""Which reply is meant: who replies, and what is asked, as one digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aftertrain.core.generator import GenerationRequest, Generator
from aftertrain.core.ground.endpoint import endpoint_of
from aftertrain.core.run.base_model import model_digest
from aftertrain.core.run.sources import source_digests
from aftertrain.core.settings import Use

LIBRARIES = ("torch", "transformers")
"""Whose versions may change what a model in this process replies."""


def maker_digest(use: Use[Generator[Any]], generator: Generator[Any], model: str) -> str:
    """Digest of who replies: the model, the generator with its affecting settings, and its code.

    Of a model folder all of its files count, tokenizer and template included, and the versions of the libraries that
    run it; of an endpoint there is but its address, the model's name and the setting `revision`, which is to be changed
    when the server's model is. Reads the weights.

    Args:
        model: folder, or `http://HOST/v1#NAME` of a remote generator.
    """
    facts: dict[str, Any] = {"generator": {"use": use.name, **use.settings.affecting()}}
    facts["code"] = source_digests([type(generator)])
    if generator.remote:
        facts["model"] = endpoint_of(model).digest
    else:
        facts["model"] = model_digest(Path(model))
        facts["versions"] = {name: version(name) for name in LIBRARIES}
        facts["device"] = _device()
    return _digest(facts)


def request_key(maker: str, takes: str, request: GenerationRequest) -> str:
    """SHA-256 over who replies and all that decides the reply: the prompt as it is sent, sampling and seed."""
    prompt: Any = {
        "tokens": request.prompt_ids,
        "text": request.text,
        "messages": [asdict(message) for message in request.messages],
    }[takes]
    # Each by name: what a settings class writes of itself leaves out what is not used at its temperature.
    sampling = {name: getattr(request.sampling, name) for name in type(request.sampling).model_fields}
    likeliest = {"likeliest": request.likeliest} if request.likeliest else {}
    return _digest({"maker": maker, takes: prompt, "sampling": sampling, "seed": request.seed, **likeliest})


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
