"""Settings of a source, checked against the catalogue, which `aftertrain show source` lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.errors import unknown
from aftertrain.core.ground.usage import Unused, UsedIf
from aftertrain.core.settings import Listed, LocalPath, PositiveInt, Settings, unhashed
from aftertrain.plugins.data.sources.entry import Entry, catalogue
from aftertrain.plugins.data.sources.layout import written
from aftertrain.plugins.data.sources.licences import refused

DRAWN = ("rated", "ranked")
"""Converters that draw the rejected reply."""


class SourceSettings(Settings):
    """A known data set by its name: layout, conversion, count and licence stand in the catalogue."""

    name: str = Field(description="Name in the catalogue: tulu3/no_robots; aftertrain show source lists all.")
    path: LocalPath | None = unhashed(
        None, description="File or folder in the source's own layout, in place of the hub; its rows enter the hash."
    )
    split: str | None = Field(None, description="Split, or a slice such as train[:1000]; null takes the catalogue's.")
    revision: str | None = Field(None, description="Commit, tag or branch on the hub.")
    parts: tuple[str, ...] = Field(
        (), description="Of a collection (tulu3/sft-mixture): names of the sources to take of it; none takes all."
    )
    branches: PositiveInt = Field(
        1, description="Of message trees: replies that are followed at each message, the best rated first."
    )
    seed: int = Field(0, ge=0, description="Of ranked or rated replies: seed of which worse one is rejected.")
    license: Literal["any", "commercial"] = unhashed(
        "any", description="commercial refuses what is not known to allow it, unconfirmed licences included."
    )
    allow: Annotated[tuple[str, ...], UsedIf("license", "commercial")] = unhashed(
        (), description="Sources, or licences, that `license: commercial` takes all the same."
    )
    limit: PositiveInt | None = Field(None, description="Take only the first rows.")
    source: str | None = Field(None, description="Name of the data set in metrics; null takes the catalogue's.")

    @property
    def entry(self) -> Entry:
        """What the catalogue says of it."""
        return catalogue()[self.name]

    @model_validator(mode="after")
    def _is_known_and_allowed(self) -> Self:
        entries = catalogue()
        if self.name not in entries:
            raise ValueError(unknown("source", self.name, entries))
        known = sorted(self.entry.parts.values())
        if known and (odd := sorted(set(self.parts) - set(known))):
            raise ValueError(unknown(f"part of {self.name}", odd[0], known))
        if self.license == "commercial" and (why := refused(self.name, entries, self.allow, self.parts)):
            raise ValueError(why)
        return self

    def without_use(self) -> dict[str, Unused]:
        """What is for sources of another make."""
        unused = super().without_use()
        entry = catalogue().get(self.name)
        if entry is None:
            return unused
        if not entry.parts:
            unused["parts"] = Unused("the source has no parts that are known", ("name",))
        if entry.reads != "message_trees":
            unused["branches"] = Unused("the source's rows are no trees of messages", ("name",))
        if entry.reads not in DRAWN:
            unused["seed"] = Unused("nothing is drawn from the source's rows", ("name",))
        if self.path is not None:
            unused["revision"] = Unused("path is read in place of the hub", ("path",))
        return unused

    @classmethod
    def listing(cls) -> Mapping[str, Listed]:
        """The catalogue."""
        return {name: _listed(entry) for name, entry in catalogue().items()}


def _listed(entry: Entry) -> Listed:
    place = ", ".join(filter(None, [entry.hub, entry.subset, entry.split if entry.split != "train" else ""]))
    shown = {
        "rows": f"{entry.rows:,}" if entry.rows else "unconfirmed",
        "in Tülu 3": f"{entry.taken:,}" if entry.taken else "",
        "licence": _licence(entry),
        "columns": "unverified" if entry.unverified else "verified",
        "on the hub": place,
    }
    only = ", ".join(f"{column} matches {pattern}" for column, pattern in entry.keep.items())
    more = {
        "layout": written(entry.columns),
        "reads": entry.reads + (f", as {entry.as_}" if entry.as_ else ""),
        "only rows": only,
        "parts": ", ".join(entry.parts.values()),
        "columns seen": ", ".join(entry.seen),
        "unverified": entry.unverified,
        "licence seen": entry.license_seen or "",
        "note": entry.note,
    }
    return Listed(shown, {name: text for name, text in more.items() if text})


def _licence(entry: Entry) -> str:
    if entry.part_column is not None:
        return f"{entry.license or 'unconfirmed'}; parts differ"
    return entry.license or "unconfirmed"
