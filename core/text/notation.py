r"""Unicode mathematics as LaTeX in ASCII, so that one rule reads `−½`, `90°`, `x²`, `√2`, `７２` and their LaTeX.

What has one meaning is rewritten; the rest stays as it is: em dashes (a minus sign or a pause), digits of other scripts
(their separators differ), marks that turn or hide text. Linear time on any text.
"""

from __future__ import annotations

import re
import unicodedata

_NAMES = {
    **dict.fromkeys("−‐‑‒–﹣˗➖", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("⁄∕", "/"),
    **dict.fromkeys("’ʼ′", "'"),
    **dict.fromkeys("∣❘", "|"),
    **dict.fromkeys("⋅·∙", r"\cdot "),
    **dict.fromkeys("°º˚", r"^\circ "),
    **dict.fromkeys("∅⌀", r"\emptyset "),
    **{"×": r"\times ", "✕": r"\times ", "÷": r"\div ", "∗": "*", "±": r"\pm ", "∓": r"\mp ", "∶": ":"},
    **{"≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv "},
    **{"∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∖": r"\setminus "},
    **{"⊂": r"\subset ", "⊆": r"\subseteq ", "∧": r"\land ", "∨": r"\lor ", "→": r"\to ", "…": r"\ldots "},
    **{"⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil "},
    **{"ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}"},
    **{"α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "ε": r"\epsilon ", "θ": r"\theta "},
    **{"λ": r"\lambda ", "μ": r"\mu ", "π": r"\pi ", "ρ": r"\rho ", "σ": r"\sigma ", "φ": r"\phi ", "ω": r"\omega "},
    **{"＄": r"\$", "％": r"\%", "﹩": r"\$", "﹪": r"\%", "￥": "¥", "￡": "£", "￠": "¢", "￦": "₩"},
    **{
        "℃": r"^\circ C",
        "℉": r"^\circ F",
        "∠": r"\angle ",
        "、": ", ",
        "↉": r"\frac{0}{3}",
        "\u2061": "",
        "\u2062": "",
        "\u2064": "",
    },
}


def _compatible() -> dict[str, str]:
    """Full-width and mathematical letters, digits and signs: other shapes of ASCII."""
    shapes = (*range(0xFF01, 0xFF5F), *range(0x1D400, 0x1D7CC), *range(0x1D7CE, 0x1D800))
    plain = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in shapes}
    return {shape: text for shape, text in plain.items() if text.isascii() and text != shape}


def _vulgar() -> dict[str, str]:
    r"""`½` and the others that Unicode spells as a fraction of whole numbers; `⅟` has no denominator and stays."""
    names: dict[str, str] = {}
    for sign in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞":
        above, below = unicodedata.normalize("NFKC", sign).split("\u2044")
        names[sign] = rf"\frac{{{above}}}{{{below}}}"
    return names


_TABLE = str.maketrans({**_compatible(), **_vulgar(), **_NAMES})

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣʸ", "0123456789+-=()nixy")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₙₓᵢₖₘ", "0123456789+-=()aenxikm")
_SUPERSCRIPT = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣʸ]+)(?:[\u2044/]([₀₁₂₃₄₅₆₇₈₉]+))?")
_SUBSCRIPT = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₙₓᵢₖₘ]+")
_FRACTION = r"\\frac\{[^{}√∛∜]{0,200}\}\{[^{}√∛∜]{0,200}\}"
_ROOT = re.compile(
    r"([√∛∜])\s?(?:\(([^()√∛∜]{1,200})\)"
    rf"|(\d+(?:\.\d+)?|[A-Za-z]|{_FRACTION}|\\(?!frac)[A-Za-z]+(?![A-Za-z{{])|\{{[^{{}}√∛∜]{{0,200}}\}}))"
)
_NESTED = 4
"""Roots within roots that are rewritten, the innermost first."""
_INDEX = {"√": "", "∛": "[3]", "∜": "[4]"}


def latex(text: str) -> str:
    r"""`text` with its Unicode mathematics in LaTeX; ASCII stays as it is.

    >>> latex("−2½"), latex("90°"), latex("x₁² + √(y+1)"), latex("10⁻³"), latex("¹⁄₂")
    ('-2\\frac{1}{2}', '90^\\circ ', 'x_{1}^{2} + \\sqrt{y+1}', '10^{-3}', '\\frac{1}{2}')
    """
    if text.isascii():
        return text
    text = _SUBSCRIPT.sub(_lower, _SUPERSCRIPT.sub(_raise, text)).translate(_TABLE)
    for _ in range(_NESTED):
        text, roots = _ROOT.subn(_radical, text)
        if not roots:
            break
    return text


def _raise(run: re.Match[str]) -> str:
    above = run[1].translate(_RAISED)
    return rf"\frac{{{above}}}{{{run[2].translate(_LOWERED)}}}" if run[2] else f"^{{{above}}}"


def _lower(run: re.Match[str]) -> str:
    return f"_{{{run[0].translate(_LOWERED)}}}"


def _radical(root: re.Match[str]) -> str:
    inside = root[2] if root[2] is not None else root[3]
    if inside.startswith("{"):
        inside = inside[1:-1]
    return rf"\sqrt{_INDEX[root[1]]}{{{inside}}}"
