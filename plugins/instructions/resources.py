"""What the checks of instructions need beside the text: NLTK's English sentence model and stop words, langdetect.

Everything is found on this machine, never downloaded: first where NLTK looks (`NLTK_DATA`, `~/nltk_data`, ...), then in
the copy that the package llama-index-core carries. Everything is loaded once a process, when first asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from aftertrain.core.errors import AftertrainError, MissingExtra
from aftertrain.plugins.instructions.languages import Languages
from aftertrain.plugins.instructions.punkt import Punkt
from aftertrain.plugins.instructions.treebank import treebank_words

Resource = Literal["punkt", "stopwords", "langdetect", "syllapy", "emoji"]
"""punkt: `sentences` and `words`; stopwords: `stopwords`; langdetect: `language`; the other packages: themselves."""

FOLDERS = {"punkt": "tokenizers/punkt_tab/english", "stopwords": "corpora/stopwords"}
FILES = {
    "punkt": ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"),
    "stopwords": ("english",),
}
REMEMBERED, SHORT = 64, 20_000
"""So many texts of at most so many characters have their sentences and words kept."""


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
        if name not in FOLDERS:
            raise MissingExtra(name, "verifiers", used_by)
        searched = ", ".join(str(folder) for folder in folders())
        where = f"is not in {searched}" if searched else "was not found: there is no folder of NLTK's data"
        raise MissingResource(
            f"{used_by} needs NLTK's {FOLDERS[name]}, which {where}: pip install 'aftertrain[verifiers]'"
        )


def load(*packages: str, used_by: str) -> None:
    """Import packages, so that one that is there but broken is told before any case.

    Raises:
        MissingResource: a package cannot be imported.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingResource(
                f"{used_by} needs the package {package!r}, which is installed but cannot be imported ({error}): "
                f"pip install --force-reinstall {package}"
            ) from error


def each_sentence(text: str) -> Iterator[str]:
    """The sentences of an English text one by one, as `nltk.sent_tokenize` divides it."""
    return _punkt().sentences(text)


def each_word(text: str) -> Iterator[str]:
    """The words and punctuation marks of an English text one by one, as `nltk.word_tokenize` divides it."""
    for sentence in each_sentence(text):
        yield from treebank_words(sentence)


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of an English text, as `nltk.sent_tokenize` divides it."""
    return _sentences(text) if len(text) <= SHORT else tuple(each_sentence(text))


def words(text: str) -> tuple[str, ...]:
    """The words and punctuation marks of an English text, as `nltk.word_tokenize` divides it."""
    return _words(text) if len(text) <= SHORT else tuple(each_word(text))


@cache
def stopwords() -> frozenset[str]:
    """NLTK's English stop words."""
    return frozenset(_lines("stopwords", "english"))


def language(text: str) -> str | None:
    """The code of the text's language (ISO 639-1, `zh-cn`, `zh-tw`), or None where langdetect finds no letters."""
    return known_languages().detect(text)


def read(name: str, file: str) -> str:
    """A data file's text.

    Raises:
        MissingResource: it is in none of the folders.
    """
    for folder in folders():
        path = folder / FOLDERS[name] / file
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise MissingResource(f"NLTK's {FOLDERS[name]}/{file} is not installed: pip install 'aftertrain[verifiers]'")


@lru_cache(REMEMBERED)
def _sentences(text: str) -> tuple[str, ...]:
    return tuple(each_sentence(text))


@lru_cache(REMEMBERED)
def _words(text: str) -> tuple[str, ...]:
    return tuple(each_word(text))


def _there(name: str) -> bool:
    if name not in FOLDERS:
        return importlib.util.find_spec(name) is not None
    return any(all((folder / FOLDERS[name] / file).is_file() for file in FILES[name]) for folder in folders())


def folders() -> list[Path]:
    """Where data may be: NLTK's own list, then llama-index-core's copy (found without importing it)."""
    nltk_data = sys.modules.get("nltk.data")
    if nltk_data is not None:
        places = [Path(folder) for folder in nltk_data.path]
    else:
        places = [Path(folder).expanduser() for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
        roots = (Path.home(), *(Path(sys.prefix) / part for part in ("", "share", "lib")))
        system = (Path(part) for part in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib"))
        places += [root / "nltk_data" for root in (*roots, *system)]
    carrier = importlib.util.find_spec("llama_index")
    for folder in carrier.submodule_search_locations or () if carrier else ():
        places.append(Path(folder) / "core" / "_static" / "nltk_cache")
    return [folder for folder in places if folder.is_dir()]


def _lines(name: str, file: str) -> list[str]:
    return [line for line in read(name, file).split("\n") if line]


def _pairs(name: str, file: str) -> list[tuple[str, str]]:
    return [(first, second) for first, _, second in (line.partition("\t") for line in _lines(name, file))]


@cache
def _punkt() -> Punkt:
    return Punkt(
        frozenset(_lines("punkt", "abbrev_types.txt")),
        frozenset(_pairs("punkt", "collocations.tab")),
        frozenset(_lines("punkt", "sent_starters.txt")),
        {word: int(flags) for word, flags in _pairs("punkt", "ortho_context.tab")},
    )


@cache
def known_languages() -> Languages:
    """langdetect's languages, read from its profiles."""
    import numpy

    require("langdetect", used_by="the language of a text")
    from langdetect.detector_factory import PROFILES_DIRECTORY
    from langdetect.utils.ngram import NGram

    profiles = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(PROFILES_DIRECTORY).iterdir())]
    grams = dict.fromkeys(gram for profile in profiles for gram in profile["freq"] if gram != " ")
    rows = {gram: row for row, gram in enumerate(grams)}
    shares = numpy.zeros((len(rows), len(profiles)), dtype=numpy.float32)
    for column, profile in enumerate(profiles):
        for gram, count in profile["freq"].items():
            if gram in rows:
                shares[rows[gram], column] = count / profile["n_words"][len(gram) - 1]
    return Languages([profile["name"] for profile in profiles], rows, shares, NGram)
