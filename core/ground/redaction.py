"""Secrets in the wrong place, kept out of what is shown and written: errors, events, records, logs, terminals.

Known secrets are the values of environment variables and of settings whose names say so, whatever they look like; keys
and tokens of known shape and passwords in addresses are found wherever they stand. Standard library only.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from functools import lru_cache

HIDDEN = "***"
SHORTEST = 8
"""Characters of a secret that is known by its value: shorter ones would hide words."""
_NAMES = re.compile(
    r"(?i)(?:^|[_.-])(?:api[_-]?key|access[_-]?key|secret(?:[_-]key)?|private[_-]?key|pass(?:word|wd|phrase)"
    r"|(?:auth|access|api|bearer|hf|hub|refresh)[_-]?token|credentials?|bearer)$"
)
_ENVIRONMENT = re.compile(r"(?i)(?:^|_)(?:key|token|secret|pass(?:word|wd|phrase)?|pwd|credentials?)$")
_LIKE = ("api_key", "apikey", "access_key", "password", "secret", "secret_key", "api_token", "auth_token", "hf_token")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{20,}|sk-(?=[\w-]*\d)[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|A(?:KIA|SIA)[0-9A-Z]{16}|AIza[\w-]{30,}|npm_[A-Za-z0-9]{30,}"
    r"|pypi-[\w-]{40,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)
_ADDRESS = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{1,20}:/{1,2})[^\s/@\"'<>]*(?::[^\s/@\"'<>]+|[^\s/@:\"'<>]{16,})@")
_QUERY = re.compile(
    r"(?i)([?&](?:api[_-]?key|access[_-]?token|auth|key|password|secret|sig|signature|token)=)[^&\s\"'<>:;,]+"
)
_known: set[str] = set()


def redacted(text: str) -> str:
    """`text` with `***` for each secret in it.

    >>> redacted("no model 'hf_" + "a1" * 12 + "' at https://me:word@host/x?token=abc")
    "no model '***' at https://***@host/x?token=***"
    """
    for secret in _secrets():
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if ":/" in text:  # an address that was taken for a path has lost a slash
        text = _QUERY.sub(rf"\1{HIDDEN}", _ADDRESS.sub(rf"\1{HIDDEN}@", text))
    return _SHAPES.sub(HIDDEN, text)


def note(name: str, value: object) -> None:
    """Remember a setting's value as a secret where its name, or one spelt much like it, says that it is one."""
    if not isinstance(value, str) or len(value) < SHORTEST or value in _known or not _is_secret(name):
        return
    if not _VARIABLE.fullmatch(value):  # the name of an environment variable is where secrets belong
        _known.add(value)
        _secrets.cache_clear()


def look_again() -> None:
    """Take note of environment variables as they are now."""
    _secrets.cache_clear()


class Redacting(logging.Formatter):
    """Log lines without secrets, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        return redacted(super().format(record))


def _is_secret(name: str) -> bool:
    return bool(_NAMES.search(name) or difflib.get_close_matches(name[:40].lower(), _LIKE, n=1, cutoff=0.8))


@lru_cache(maxsize=1)
def _secrets() -> tuple[str, ...]:
    values = {
        value
        for name, value in os.environ.items()
        if _ENVIRONMENT.search(name) and len(value) >= SHORTEST and not value.isdigit() and os.sep not in value[:1]
    }
    return tuple(sorted(values | _known, key=len, reverse=True))
