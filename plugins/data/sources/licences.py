"""Which licences allow commercial use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aftertrain.core.errors import unknown
from aftertrain.plugins.data.sources.entry import Entry

COMMERCIAL = frozenset({"Apache-2.0", "CC-BY-4.0", "MIT", "ODC-BY-1.0"})
"""Of those in the catalogue. Any other needs to be named: what is not listed here was not looked into."""


def refused(name: str, entries: Mapping[str, Entry], allow: Collection[str], parts: Sequence[str]) -> str:
    """Why a source is not taken under `license: commercial`, with the cure; empty where it is.

    Args:
        allow: names of sources, or licences, that are taken all the same.
        parts: of a collection: those that are taken.
    """
    known = {*entries, *(entry.license for entry in entries.values() if entry.license)}
    if odd := sorted(set(allow) - known):
        return f"allow: {unknown('source or licence', odd[0], known)}"
    if name in allow:
        return ""
    entry = entries[name]
    if entry.part_column is None:
        bad = [name] if not _allowed(entry, allow) else []
    elif entry.parts:
        bad = [part for part in parts or sorted(entry.parts.values()) if not _allowed(entries[part], allow, part)]
    else:
        return (
            f"source {name!r} is a collection whose parts have licences of their own, which are not known; take it all "
            f"the same with allow: [{name}]"
        )
    if not bad:
        return ""
    told = ", ".join(f"{part} ({entries[part].license or 'unconfirmed'})" for part in bad)
    cure = f"take it all the same with allow: [{', '.join(bad)}]"
    if entry.part_column is not None:
        cure += ", or name other parts: in `parts`"
    return f"no licence that is known to allow commercial use: {told}; {cure}"


def _allowed(entry: Entry, allow: Collection[str], name: str = "") -> bool:
    return entry.license in COMMERCIAL or entry.license in allow or name in allow
