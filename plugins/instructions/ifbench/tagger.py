"""NLTK's English tagger of parts of speech, where its data are installed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

FOLDER = "taggers/averaged_perceptron_tagger_eng"
INSTALL = "python -m nltk.downloader averaged_perceptron_tagger_eng"
SEEN = 3
"""The tagger goes from left to right and looks two words ahead: more words cannot change the first one's tag."""


def there() -> bool:
    """Whether the tagger's data are in one of NLTK's folders."""
    import nltk.data

    try:
        nltk.data.find(FOLDER)
    except LookupError:
        return False
    return True


def first_tag(words: Sequence[str]) -> str:
    """The Penn Treebank tag that `nltk.pos_tag` gives the first word.

    Raises:
        LookupError: the tagger's data are not installed.
    """
    return str(loaded_tagger().tag(list(words[:SEEN]))[0][1])


@cache
def loaded_tagger() -> Any:
    from nltk.tag.perceptron import PerceptronTagger

    return PerceptronTagger(lang="eng")
