"""What the checks of instructions need beside the text: NLTK's English sentence model and stop words, langdetect.

Everything is found on this machine, never downloaded: first where NLTK looks (`NLTK_DATA`, `~/nltk_data`, ...), then in
the copy that the package llama-index-core carries. Everything is loaded once a process, when first asked for.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from aftertrain.core.errors import AftertrainError, MissingExtra

Resource = Literal["punkt", "stopwords", "langdetect"]
"""punkt: `sentences` and `words`; stopwords: `stopwords`; langdetect: `language`."""

FOLDERS = {"punkt": "tokenizers/punkt_tab/english", "stopwords": "corpora/stopwords"}
FILES = {
    "punkt": ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"),
    "stopwords": ("english",),
}
SEED = 0
"""Of langdetect, which samples. Its own generator is used, so the global one is neither read nor changed."""
REMEMBERED = 256
"""Texts whose sentences, words or language are kept."""


class MissingResource(AftertrainError):
    """A data file that is not on this machine; the message ends with the line that installs it."""

    exit_code = 2


def missing(*names: Resource) -> list[str]:
    """What of `names` is not on this machine; nothing is imported."""
    return [name for name in names if not _there(name)]


def require(*names: Resource, used_by: str) -> None:
    """Check that all of `names` are on this machine.

    Raises:
        MissingExtra: a package is not installed.
        MissingResource: NLTK's data are in none of the folders.
    """
    for name in missing(*names):
        if name == "langdetect":
            raise MissingExtra(name, "verifiers", used_by)
        searched = ", ".join(str(folder) for folder in _folders()) or "no folder"
        raise MissingResource(
            f"{used_by} needs NLTK's {FOLDERS[name]}, which is not in {searched}: pip install 'aftertrain[verifiers]'"
        )


@lru_cache(REMEMBERED)
def sentences(text: str) -> tuple[str, ...]:
    """The sentences of an English text, as `nltk.sent_tokenize` divides it."""
    return tuple(_punkt().tokenize(text))


@lru_cache(REMEMBERED)
def words(text: str) -> tuple[str, ...]:
    """The words and punctuation marks of an English text, as `nltk.word_tokenize` divides it."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return tuple(word for sentence in sentences(text) for word in NLTKWordTokenizer().tokenize(sentence))


@cache
def stopwords() -> frozenset[str]:
    """NLTK's English stop words."""
    return frozenset(read("stopwords", "english").split("\n")) - {""}


@lru_cache(REMEMBERED)
def language(text: str) -> str | None:
    """The code of the text's language (ISO 639-1, `zh-cn`, `zh-tw`), or None where langdetect finds no letters."""
    from langdetect import LangDetectException

    detector = _detectors().create()
    detector.append(text)
    try:
        return str(detector.detect())
    except LangDetectException:
        return None


def read(name: str, file: str) -> str:
    """A data file's text.

    Raises:
        MissingResource: it is in none of the folders.
    """
    for folder in _folders():
        path = folder / FOLDERS[name] / file
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise MissingResource(f"NLTK's {FOLDERS[name]}/{file} is not installed: pip install 'aftertrain[verifiers]'")


def _there(name: str) -> bool:
    if name == "langdetect":
        return importlib.util.find_spec(name) is not None
    return any(all((folder / FOLDERS[name] / file).is_file() for file in FILES[name]) for folder in _folders())


def _folders() -> list[Path]:
    """Where data may be: NLTK's own list, then llama-index-core's copy (found without importing it)."""
    nltk_data = sys.modules.get("nltk.data")
    if nltk_data is not None:
        found = [Path(folder) for folder in nltk_data.path]
    else:
        found = [Path(folder).expanduser() for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
        found += [Path.home() / "nltk_data", *(Path(sys.prefix) / part for part in ("nltk_data", "share/nltk_data"))]
        found += [Path(sys.prefix) / "lib/nltk_data"]
        found += [Path(f"{root}/nltk_data") for root in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")]
    carrier = importlib.util.find_spec("llama_index")
    for folder in carrier.submodule_search_locations or () if carrier else ():
        found.append(Path(folder) / "core" / "_static" / "nltk_cache")
    return [folder for folder in found if folder.is_dir()]


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for line in text.split("\n"):
        if line:
            first, second = line.split("\t")
            yield first, second


@cache
def _punkt() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types = set(read("punkt", "abbrev_types.txt").split("\n")) - {""}
    parameters.sent_starters = set(read("punkt", "sent_starters.txt").split("\n")) - {""}
    parameters.collocations = set(_pairs(read("punkt", "collocations.tab")))
    parameters.ortho_context.update((word, int(flags)) for word, flags in _pairs(read("punkt", "ortho_context.tab")))
    return PunktSentenceTokenizer(parameters)


@cache
def _detectors() -> Any:
    from langdetect import DetectorFactory
    from langdetect.detector_factory import PROFILES_DIRECTORY

    factory = DetectorFactory()
    factory.set_seed(SEED)
    factory.load_profile(PROFILES_DIRECTORY)
    return factory
