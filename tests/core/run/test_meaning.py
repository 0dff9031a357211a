"""A digest is of what a module means: what cannot change a result leaves it alone, everything else changes it."""

from __future__ import annotations

import ast

import pytest

from aftertrain.core.run.meaning import meaning

MODULE = '''
"""What it is."""
from __future__ import annotations
from typing import TYPE_CHECKING
from aftertrain.core.settings import Settings, unhashed
if TYPE_CHECKING:
    from torch import Tensor
SHARE = 0.5
"""Of all."""
class MarginSettings(Settings):
    """Settings."""
    margin: float = Field(1.0, gt=0, description="A margin.")
def loss(x: Tensor, *, weight: float = 1e-3) -> Tensor:
    """It is small."""
    if x < SHARE and x is not None:  # a reason
        return f"{x!r:>{weight}} of {SHARE:.1f}" "more" + 'un\\u0131' + str(-7 // 3j)
    return {**{1: b"\\xff"}, "a": [*x, ...]}
'''
SAME = {
    "comment": ("# a reason", "# another reason"),
    "docstring": ('"""It is small."""', '"""It is small, or not."""'),
    "no docstring": ('    """It is small."""\n', ""),
    "docstring of a constant": ('"""Of all."""', '"""Of a few."""'),
    "docstring of a module": ('"""What it is."""', '"""What it was."""'),
    "description": ('"A margin."', '"Of scores, a margin."'),
    "formatting": ("SHARE = 0.5", "SHARE   =  (\n    0.50\n)"),
    "types": ("from torch import Tensor", "from numpy import ndarray as Tensor"),
    "quotes": ("'un\\u0131'", '"un" "ı"'),
}
OTHER = {
    "constant": ("SHARE = 0.5", "SHARE = 0.6"),
    "operator": ("x < SHARE", "x <= SHARE"),
    "default": ("Field(1.0, gt=0", "Field(1.5, gt=0"),
    "bound": ("gt=0", "ge=0"),
    "name of a default": ("weight: float = 1e-3", "weight: float = 1e-4"),
    "identity": ("is not None", "is None"),
    "helper": ("import Settings, unhashed", "import Settings, LocalPath"),
    "text": ("of {", "off {"),
    "format": (":.1f", ":.2f"),
    "conversion": ("!r:", "!s:"),
    "bytes": ("xff", "xfe"),
    "imaginary": ("3j", "3"),
    "sign": ("-7", "7"),
    "star": ("[*x, ...]", "[x, ...]"),
    "order": ("x < SHARE and x is not None", "x is not None and x < SHARE"),
    "indentation": ("    return {**", "        return {**"),
}


def _digest(source: str) -> str:
    return meaning(ast.parse(source))


@pytest.mark.parametrize("what", SAME)
def test_what_cannot_change_a_result_does_not_count(what: str) -> None:
    assert MODULE.count(SAME[what][0]) == 1
    assert _digest(MODULE.replace(*SAME[what])) == _digest(MODULE)


def test_everything_else_counts() -> None:
    digests = {what: _digest(MODULE.replace(*edit)) for what, edit in OTHER.items()}
    assert len({_digest(MODULE), *digests.values()}) == len(OTHER) + 1


def test_a_program_that_reads_docstrings_has_them_in_its_digest() -> None:
    reader = '"""Usage: one."""\nprint(__doc__)\n'
    assert _digest(reader) != _digest(reader.replace("one", "two"))


def test_a_description_counts_where_it_is_no_settings() -> None:
    """In a model that a judge is prompted with, say."""
    form = MODULE.replace("MarginSettings(Settings)", "Margin(BaseModel)")
    assert _digest(form) != _digest(form.replace(*SAME["description"]))


VECTORS = {
    "": "b5999633",
    MODULE: "12fe8ade",
    'f"a{x}" "b{" f"{y!s:{w}.2}" f""\n': "8c247027",
    "def f(a, /, b=1, *c, d: int = 0x10, **e) -> None: ...\n": "2f545ae9",
    "match p:\n  case {'a': [1, *_], **r} if r: pass\n  case P(x=0) | None: x = (y := 1_000, 1e999)\n": "2945cece",
    "async def g():\n  async with a as b, c: yield await d\n  try: pass\n  except* (E, F) as e: raise\n": "74d29bfc",
    'with a:\n  del b[1:2, ::-1], c.d\nlambda *, k="\\ud800\\0": (not k, k if k else [i for i in k])\n': "e2d70774",
}
"""Digests, in short, of Python 3.11, 3.12 and 3.13: `ast.dump` and f-strings differ between them."""


def test_one_source_has_one_digest_on_every_python() -> None:
    assert {source: _digest(source)[:8] for source in VECTORS} == VECTORS
