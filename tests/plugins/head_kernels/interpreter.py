"""Imported first by a test's child process, makes both packages' kernels run in Triton's interpreter, on a CPU.

The interpreter has not a GPU's own tanh and log1p, which are written out here, and hands kernels plain floats.
"""

from __future__ import annotations

import os
from typing import Any

import cut_cross_entropy.tl_utils as words
import liger_kernel.ops.cross_entropy as liger
import liger_kernel.ops.fused_linear_cross_entropy as fused
import triton
import triton.language as tl

assert os.environ["TRITON_INTERPRET"] == "1", "Triton reads it when it is imported"


@triton.jit
def _tanh(a):  # noqa: ANN001, ANN202
    return 2 / (1 + tl.exp(-2 * a)) - 1


@triton.jit
def _log1p(a):  # noqa: ANN001, ANN202
    return tl.log(1 + a)


class _Number(float):
    """A float that a kernel can cast, as one that is compiled can."""

    def to(self, dtype: Any) -> _Number:
        return self


class _Launcher:
    """Liger's kernel, its soft cap given as such a number."""

    def __getitem__(self, grid: Any) -> Any:
        def launch(*, softcap: float | None, **others: Any) -> None:
            liger.liger_cross_entropy_kernel[grid](softcap=None if softcap is None else _Number(softcap), **others)

        return launch


for _kernel in (words.tl_softcapping, words.tl_logaddexp):
    _kernel.fn.__globals__.update(tl_tanh=_tanh, tl_log1p=_log1p)
liger.liger_cross_entropy_kernel.fn.__globals__["tanh"] = _tanh
fused.liger_cross_entropy_kernel = _Launcher()
