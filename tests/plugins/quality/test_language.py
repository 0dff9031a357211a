"""The operator `language` by texts whose language is known."""

from __future__ import annotations

import sys

import pytest

from aftertrain.core.errors import DataError, MissingExtra
from aftertrain.plugins.quality.language import Language
from aftertrain.plugins.quality.settings import LanguageSettings
from tests.plugins.quality.test_texts import asked

LANGUAGES = ("en", "de", "fr")
TEXTS = {
    "en": "The quick brown fox jumps over the lazy dog while nobody is watching.",
    "de": "Der schnelle braune Fuchs springt über den faulen Hund, während niemand zusieht.",
    "fr": "Le rapide renard brun saute par-dessus le chien paresseux sans que personne ne regarde.",
}


@pytest.fixture(scope="module")
def language() -> Language:
    pytest.importorskip("lingua")
    return Language(LanguageSettings(languages=LANGUAGES), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", LANGUAGES)
def test_each_is_told(language: Language, code: str) -> None:
    facts = language.facts(asked(TEXTS[code], TEXTS[code]))
    assert facts["code"] == code
    assert isinstance(facts["confidence"], float)
    assert facts["confidence"] > 0.9


def test_a_text_without_letters_has_none(language: Language) -> None:
    assert language.facts(asked("1 + 1 = ?", "2!")) == {"code": None, "confidence": 0.0}
    assert language.facts(asked("", "")) == {"code": None, "confidence": 0.0}


def test_an_unknown_language_is_named() -> None:
    pytest.importorskip("lingua")
    with pytest.raises(DataError, match="no language of lingua named 'xx'"):
        Language(LanguageSettings(languages=("en", "xx")), None).check()  # type: ignore[arg-type]


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(MissingExtra, match=r"pip install 'aftertrain\[data\]'"):
        Language(LanguageSettings(languages=LANGUAGES), None).check()  # type: ignore[arg-type]
