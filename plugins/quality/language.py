"""Which language a row is written in, by lingua's n-gram models (lingua-language-detector, high accuracy mode)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from aftertrain.core.errors import DataError, MissingExtra, unknown
from aftertrain.core.operator import Row, Scorer
from aftertrain.plugins.quality.parts import text_of
from aftertrain.plugins.quality.settings import LanguageSettings

PACKAGE = "lingua-language-detector"


class Language(Scorer[LanguageSettings]):
    """Facts: `code` (ISO 639-1; null for a text without letters) and `confidence`, its probability among those that
    are told apart."""

    Config = LanguageSettings
    finds = ("code", "confidence")

    def facts(self, row: Row) -> Mapping[str, str | float | None]:
        """Of the row's first characters."""
        text = text_of(row, self.settings.of)[: self.settings.characters]
        likeliest = self._detector.compute_language_confidence_values(text)[0]
        if likeliest.value == 0 or not any(map(str.isalpha, text)):
            return {"code": None, "confidence": 0.0}
        return {"code": likeliest.language.iso_code_639_1.name.lower(), "confidence": round(likeliest.value, 6)}

    def check(self) -> None:
        """The package is there, and knows the languages.

        Raises:
            MissingExtra: it is not installed. DataError: it knows no such language.
        """
        builder(self.settings.languages)

    @cached_property
    def _detector(self) -> Any:
        return builder(self.settings.languages).build()


def builder(languages: tuple[str, ...]) -> Any:
    """Of a detector that tells these apart, or all.

    Raises:
        MissingExtra: lingua is not installed. DataError: it knows no such language.
    """
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ModuleNotFoundError as error:
        raise MissingExtra(PACKAGE, "data", "operator 'language'") from error
    if not languages:
        return LanguageDetectorBuilder.from_all_languages()
    known = {name.lower() for name in dir(IsoCode639_1) if len(name) == 2 and name.isupper()}
    for code in languages:
        if code not in known:
            raise DataError(unknown("language of lingua", code, known))
    return LanguageDetectorBuilder.from_iso_codes_639_1(*(getattr(IsoCode639_1, code.upper()) for code in languages))
