"""What the catalogue says of a source, and the catalogue itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from aftertrain.core.errors import DataError
from aftertrain.core.ground.reading import read_text, typed
from aftertrain.plugins.data.settings import FIELDS
from aftertrain.plugins.data.sources.layout import checked_layout

FOLDER = Path(__file__).parent / "catalogue"
FILES = ("tulu3-sft", "tulu3-preference", "tulu3-rlvr", "community")
CITATION = re.compile(r"github:[\w.-]+/[\w.-]+@[0-9a-f]{40}/\S+|hub:[\w.-]+/[\w.-]+@(main|refs/pr/\d+|[0-9a-f]{7,40})")
"""`github:OWNER/REPOSITORY@COMMIT/FILE`, or `hub:OWNER/SET@REVISION` for the card of a data set."""
CONVERTERS: dict[str, str] = {
    "message_trees": "messages",
    "sharegpt": "messages",
    "daring_anteater": "messages",
    "alternating": "messages",
    "jailbreaks": "prompt_response",
    "rated": "preference",
    "scored": "preference",
    "ranked": "preference",
    "argilla": "preference",
}
"""Layouts that no format reads as they are, and the format of what `shapes` makes of them."""


def _cited(text: object) -> object:
    if not (isinstance(text, str) and CITATION.fullmatch(text)):
        raise ValueError(f"no citation: {text!r}; one is github:OWNER/REPOSITORY@COMMIT/FILE or hub:OWNER/SET@REVISION")
    return text


Citation = Annotated[str, BeforeValidator(_cited)]


class Entry(BaseModel):
    """A source.

    Attributes:
        hub: its id on the Hugging Face hub; with `subset`, `split`, and `options` for the loader (data_dir, delimiter).
        columns: the layout that its converter was written for (see `layout`).
        id: column that holds a stable id, where it is not called so.
        reads: a format of `TableSettings`, or one of `CONVERTERS`.
        as_: as the setting of that name.
        fields: columns of the format's fields, where they are named otherwise.
        keep: regular expressions that columns must match; other rows do not belong to the source.
        rows: of the split, before `keep`; None where no count was seen.
        taken: rows that Tülu 3 took of it.
        license: by `license_seen`; None is unconfirmed.
        seen: what cites the columns.
        unverified: what could not be seen.
        part_column: of a collection: names the part that a row is of.
        parts: name in the catalogue by what stands in that column; empty where it is not known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    hub: str
    subset: str | None = None
    split: str = "train"
    options: dict[str, str | bool] = {}
    columns: Annotated[dict[str, Any], BeforeValidator(checked_layout)]
    id: str | None = None
    reads: str
    as_: Literal["problem"] | None = Field(None, alias="as")
    fields: dict[str, str] = {}
    keep: dict[str, str] = {}
    rows: int | None = None
    taken: int | None = None
    license: str | None = None
    license_seen: Citation | None = None
    seen: tuple[Citation, ...] = ()
    unverified: str = ""
    note: str = ""
    part_column: str | None = None
    parts: dict[str, str] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> Entry:
        if self.reads not in FIELDS and self.reads not in CONVERTERS:
            raise ValueError(f"reads {self.reads!r}, which is neither a format nor a converter")
        if not (self.seen or self.unverified):
            raise ValueError("says neither where its columns were seen nor what is unverified")
        if (self.license is not None or self.rows is not None) and not (self.license_seen or self.seen):
            raise ValueError("says not where its licence or count was seen")
        read = {name for name in (self.id, self.part_column, *self.keep) if name is not None}
        if self.reads in FIELDS:
            read |= {self.fields.get(field, field) for field in FIELDS[self.reads]} - {"input"}
            read -= {"prompt"} if self.reads == "preference" and "prompt" not in self.columns else set()
        if missing := sorted(name for name in read if name not in self.columns):
            raise ValueError(f"reads columns that its layout has not: {', '.join(missing)}")
        return self

    @property
    def format(self) -> str:
        """The format of its rows once they are converted."""
        return CONVERTERS.get(self.reads, self.reads)


@cache
def catalogue() -> Mapping[str, Entry]:
    """All sources by name, in the order of the files.

    Raises:
        DataError: a file of it is broken; a name occurs twice, or a part is no source.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    entries: dict[str, Entry] = {}
    for path in (FOLDER / f"{name}.yaml" for name in FILES):
        try:
            value = YAML(typ="safe", pure=True).load(read_text(path, limit=1 << 20, error=DataError))
        except YAMLError as error:
            raise DataError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
        found: dict[str, Entry] = typed(value, dict[str, Entry], path.name, error=DataError)
        if twice := entries.keys() & found.keys():
            raise DataError(f"{path}: has sources that another file has: {', '.join(sorted(twice))}")
        entries |= found
    for name, entry in entries.items():
        if odd := sorted(set(entry.parts.values()) - entries.keys()):
            raise DataError(f"source {name!r} has parts that are no sources: {', '.join(odd)}")
    return entries
