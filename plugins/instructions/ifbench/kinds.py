"""Which kinds of out-of-domain instructions belong to IFBench, and which to Tülu 3's IFEval-OOD."""

from __future__ import annotations

from aftertrain.plugins.instructions.ifbench import ood
from aftertrain.plugins.instructions.ifbench.truth import KINDS

_IFBENCH_ONLY = frozenset(
    {
        "count:keywords_multiple",
        "count:words_japanese",
        "format:no_whitespace",
        "format:output_template",
        "format:title_case",
        "repeat:repeat_change",
        "repeat:repeat_simple",
        "repeat:repeat_span",
        "words:keywords_specific_position",
        "words:words_position",
    }
)

IFBENCH = tuple(name for name in KINDS if name not in ood.KINDS)
"""The 58 kinds of allenai/IFBench_test."""
TULU = tuple(name for name in KINDS if name not in _IFBENCH_ONLY)
"""The 52 kinds of Tülu 3 (arXiv 2411.15124): 48 of IFBench's, and four that IFBench has not."""
