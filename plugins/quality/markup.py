"""What a text is made of: letters or noise. Gopher's quality rules (Rae et al. 2021, arXiv 2112.11446, A.1.1) and signs
of broken extraction.

Gopher keeps documents with at most 0.1 `#` or `…` a word, at most 0.9 of the lines bullets, at most 0.3 ending in an
ellipsis, 0.8 of the words with a letter, and words of 3 to 10 characters in the mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aftertrain.core.operator import Row, Scorer
from aftertrain.plugins.quality.parts import share, text_of
from aftertrain.plugins.quality.settings import MarkupSettings

_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?/?>|<!--.*?-->|&(?:[a-z]{2,8}|#\d{1,6});", re.DOTALL)
# UTF-8 read as Windows-1252 or Latin-1: a lead byte's letter and what its next byte became.
_NEXT = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_MOJIBAKE = f"[\u00c2\u00c3][{_NEXT}]|\u00ef\u00bf\u00bd|\u00e2[€\u0080][{_NEXT}]"
_BROKEN = re.compile(_MOJIBAKE + "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff\ud800-\udfff]")
_SYMBOL = re.compile(r"#|\.\.\.|…")
_BULLETS = ("-", "*", "•", "‣", "▪", "●", "◦", "·")
_ELLIPSES = ("...", "…")


class Markup(Scorer[MarkupSettings]):
    """Facts. Shares of the characters: `letters`, `digits`, `spaces`, `punctuation` (the rest), `tags` (HTML tags and
    entities), `broken` (control and replacement characters, and UTF-8 read as another encoding). `symbols` a word;
    shares of the lines: `bullet_lines`, `ellipsis_lines`; of the words: `alphabetic_words`; and `mean_word_length`."""

    Config = MarkupSettings
    finds = (
        "letters",
        "digits",
        "spaces",
        "punctuation",
        "tags",
        "broken",
        "symbols",
        "bullet_lines",
        "ellipsis_lines",
        "alphabetic_words",
        "mean_word_length",
    )

    def facts(self, row: Row) -> Mapping[str, float]:
        """All shares of one row; 0 where there is no text."""
        text = text_of(row, self.settings.of)
        size, words = len(text), text.split()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        letters, digits, spaces = (sum(map(kind, text)) for kind in (str.isalpha, str.isdigit, str.isspace))
        broken = sum(map(len, _BROKEN.findall(text)))
        return {
            "letters": share(letters, size),
            "digits": share(digits, size),
            "spaces": share(spaces, size),
            "punctuation": share(size - letters - digits - spaces, size),
            "tags": share(sum(len(tag[0]) for tag in _TAG.finditer(text)), size),
            "broken": share(broken, size),
            "symbols": share(len(_SYMBOL.findall(text)), len(words)),
            "bullet_lines": share(sum(line.startswith(_BULLETS) for line in lines), len(lines)),
            "ellipsis_lines": share(sum(line.endswith(_ELLIPSES) for line in lines), len(lines)),
            "alphabetic_words": share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
            "mean_word_length": share(sum(map(len, words)), len(words)),
        }
