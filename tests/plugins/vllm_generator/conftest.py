"""The generator `vllm` over a stand-in for the package vllm, run by an interpreter that is a script."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aftertrain.plugins.vllm_generator.generator import Vllm
from aftertrain.plugins.vllm_generator.settings import VllmSettings

FAKE = Path(__file__).parent / "fake"


@pytest.fixture(scope="session")
def make_python(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Writes an interpreter that has the stand-in: `version` is its package's, `fault` what goes wrong there."""
    folder = tmp_path_factory.mktemp("interpreters")

    def make(version: str | None = "0.32.0", *, model: str = "toy", fault: str = "", package: str = "vllm") -> str:
        site = folder / f"site-{package}-{version}"
        site.mkdir(exist_ok=True)
        if version is not None:
            if not (site / "vllm").exists():
                (site / "vllm").symlink_to(FAKE / "vllm")
            information = site / f"{package.replace('-', '_')}-{version}.dist-info"
            information.mkdir(exist_ok=True)
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        script = folder / f"python-{package}-{version}-{model}-{fault.replace(' ', '-')}"
        script.write_text(
            f"#!/bin/sh\nexport PYTHONPATH='{site}' FAKE_MODEL='{model}' FAKE_FAULT='{fault}'\n"
            f"exec '{sys.executable}' \"$@\"\n"
        )
        script.chmod(0o755)
        return str(script)

    return make


@pytest.fixture(scope="session")
def make_model() -> Callable[..., str]:
    """Writes a folder as `aftertrain.testing.model` does, its LM head tied, heads as wide as vLLM takes on a CPU."""
    return _model


def _model(folder: Path, *, seed: int = 0) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    from aftertrain.core.learning.seeding import global_seed
    from aftertrain.testing.model import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with global_seed(seed):
        network = LlamaForCausalLM(config)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session", params=["stand-in", "vllm"])
def engine_python(request: pytest.FixtureRequest, make_python: Callable[..., str]) -> str:
    """An interpreter with an engine that computes: the stand-in's, and vLLM's own where there is one."""
    if request.param == "stand-in":
        return make_python(model="torch")
    if (python := os.environ.get("AFTERTRAIN_VLLM_PYTHON")) is None:
        pytest.skip("AFTERTRAIN_VLLM_PYTHON names no interpreter with vllm: bash .ci/vllm DIR makes one")
    return python


@pytest.fixture
def make_generator(make_python: Callable[..., str], tiny_model: Path) -> Iterator[Callable[..., Vllm]]:
    """Opens a generator over the stand-in; closed at the end."""
    opened: list[Vllm] = []

    def make(folder: Path = tiny_model, *, model: str = "toy", fault: str = "", **settings: Any) -> Vllm:
        settings = {"python": make_python(model=model, fault=fault), "start_timeout": 60, **settings}
        generator = Vllm(VllmSettings(**settings), builder=None)  # type: ignore[arg-type]  # it builds nothing
        opened.append(generator)
        generator.open(str(folder), version=3)
        return generator

    yield make
    for generator in opened:
        generator.close()
