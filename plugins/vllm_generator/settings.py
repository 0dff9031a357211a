"""Settings of the generator `vllm`. No torch, no vllm here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.settings import LocalPath, PositiveInt, Settings, unhashed

Seconds = Annotated[float, Field(gt=0)]


class VllmSettings(Settings):
    """How vLLM runs a model folder, on one GPU or on CPU, as the vllm that is found was built.

    What enters a stage's hash regroups sums, which moves logits in the last bits.
    """

    python: LocalPath | None = unhashed(
        None,
        description="Interpreter of the environment that has vllm, such as /opt/vllm/bin/python, beside the recipe if "
        "not absolute; aftertrain need not be there. Null: the one that runs aftertrain.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Type of weights and KV cache. Another than the policy's products moves log-probabilities by some "
        "tenths of a nat.",
    )
    batch: PositiveInt = Field(64, description="Most replies decoded together; others wait and enter as these finish.")
    step_tokens: PositiveInt = Field(8192, description="Most tokens of one forward; longer prompts take several.")
    context: PositiveInt | None = Field(
        None, description="Most tokens of prompt and reply together; null: as many as the model takes."
    )
    cache_gib: Annotated[float, Field(gt=0)] = unhashed(
        4.0, description="GiB of the KV cache, on the GPU or in memory; one reply of full context must fit."
    )
    prefix_cache: bool = Field(
        True,
        description="Keep what prompts begin with for the prompts after them, until weights are replaced.",
    )
    compile: bool = Field(
        False, description="Compile the model and, on a GPU, record its graphs: faster, and minutes longer to start."
    )
    start_timeout: Seconds = unhashed(900.0, description="Most seconds from the server's start to a loaded model.")
    patience: Seconds = unhashed(
        300.0, description="Most seconds without a sign of life: between two steps, or while weights are replaced."
    )
