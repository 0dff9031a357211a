"""Rows that a stage of a run made, and those that it left out, for `aftertrain show rows`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aftertrain.core.errors import RunError, unknown

T = TypeVar("T")

if TYPE_CHECKING:
    from aftertrain.api.stages import Shown
    from aftertrain.core.operator import Row
    from aftertrain.core.rows.left_out import LeftOut


@dataclass(frozen=True)
class Page:
    """Some of a stage's rows.

    Attributes:
        name: `RUN:STAGE`.
        what: what they are, in words.
        total: how many there are of them.
        skipped: how many stand before the first one shown.
        rows: those that are shown.
    """

    name: str
    what: str
    total: int
    skipped: int
    rows: Iterable[Shown]


def page(
    run: str | os.PathLike[str],
    *,
    dropped: str | None = None,
    source: str | None = None,
    skip: int = 0,
    number: int = 3,
) -> Page:
    """Rows that a stage handed on, or that it left out.

    Args:
        run: `RUN:STAGE`; RUN alone where one stage of it made rows.
        dropped: the operator that left rows out, with or without what follows the colon of its name, or `source` for
            what makes no record; None for rows that were kept.
        source: only rows of this data set.
        number: how many; 0 takes all.

    Raises:
        RunError: there is no such run or stage, it made no rows, or it has no such operator or source; names those that
            there are.
        DataError: a file of the stage's is damaged.
    """
    from aftertrain.core.rows.folder import read_contents

    name, folder = _artifact(run)
    if dropped is None:
        contents = read_contents(folder)
        if source is not None and source not in contents.sources:
            raise RunError(f"{name}: {unknown('source', source, contents.sources)}")
        total = contents.rows if source is None else contents.sources[source]
        kept = _kept(folder, source)
        what = " ".join(filter(None, ("rows that were kept", source and f"of {source}")))
        return Page(name, what, total, skip, (_shown(row, place) for place, row in _some(kept, skip, number)))
    counts = _counts(folder)
    named = [dropped] if dropped in counts else [full for full in counts if re.split("[:#]", full)[0] == dropped]
    if not named:
        raise RunError(f"{name}: {unknown('operator that left rows out', dropped, counts)}")
    by_source: dict[str, int] = {}
    for full in named:
        for own, count in counts[full].items():
            by_source[own] = by_source.get(own, 0) + count
    if source is not None and source not in by_source:
        raise RunError(f"{name}: {unknown(f'source of rows that {dropped} left out', source, by_source)}")
    total = sum(by_source.values()) if source is None else by_source[source]
    what = " ".join(filter(None, (f"rows that {dropped} left out", source and f"of {source}")))
    return Page(name, what, total, skip, map(_explained, _some(_missed(folder, named, source), skip, number)))


def _artifact(run: str | os.PathLike[str]) -> tuple[str, Path]:
    """`RUN:STAGE`, and the folder of rows that the stage left."""
    from aftertrain.api.finished import split_name
    from aftertrain.api.history import history
    from aftertrain.core.run.done import DONE, Done
    from aftertrain.core.run.folder import RunFolder, read_json

    path, wanted = split_name(run)
    made: dict[str, Path] = {}
    others = []
    for stage in history(path):
        folder = RunFolder(path).stage(stage.name, stage.hash)
        done = read_json(folder / DONE, Done)
        if done is not None and done.artifact.type == "data":
            made[stage.name] = folder / done.artifact.path
        else:
            others.append(stage.name)
    if wanted in made:
        return f"{path.name}:{wanted}", made[wanted]
    if not wanted and len(made) == 1:
        ((stage_name, folder),) = made.items()
        return f"{path.name}:{stage_name}", folder
    there = f"stages that made rows: {', '.join(made) or 'none'}"
    if wanted in others:
        raise RunError(f"{path}: stage {wanted!r} made no rows, or is not done; {there}")
    if wanted:
        raise RunError(f"{path}: {unknown('stage', wanted, [*made, *others])}")
    raise RunError(f"{path}: {there}" + (f"; name one: {path}:{next(iter(made))}" if made else ""))


def _counts(folder: Path) -> dict[str, dict[str, int]]:
    """Rows left out by operator and source."""
    from aftertrain.core.rows.funnel import read_funnel
    from aftertrain.core.rows.left_out import SOURCE

    funnel = read_funnel(folder)
    if funnel is None:
        return {}
    counts: dict[str, dict[str, int]] = {SOURCE: {"": sum(funnel.bad.values())}} if funnel.bad else {}
    for operator, passage in funnel.passages.items():
        for by_source in passage.dropped.values():
            own = counts.setdefault(operator, {})
            for source, count in by_source.items():
                own[source] = own.get(source, 0) + count
    return counts


def _kept(folder: Path, source: str | None) -> Iterator[tuple[str, Row]]:
    """Rows with their places."""
    from aftertrain.core.rows.files import read_shard
    from aftertrain.core.rows.folder import ROWS, read_contents

    contents = read_contents(folder)
    for shard in contents.shards:
        for number, row in enumerate(read_shard(folder / ROWS / shard.name, contents.record), 1):
            if source in (None, row.source):
                yield f"{shard.name}:{number}", row


def _missed(folder: Path, operators: Sequence[str], source: str | None) -> Iterator[LeftOut]:
    from aftertrain.core.rows.left_out import read_left_out

    for left in read_left_out(folder):
        if left.operator in operators and source in (None, left.source):
            yield left


def _some(things: Iterable[T], skip: int, number: int) -> Iterator[T]:
    return islice(things, skip, skip + number if number else None)


def _shown(row: Row, place: str) -> Shown:
    from aftertrain.api.stages import Shown

    return Shown(" · ".join(filter(None, (row.id, type(row.record).__name__, place))), tuple(_parts(row)))


def _explained(left: LeftOut) -> Shown:
    from aftertrain.api.stages import Shown
    from aftertrain.core.ground.cleaning import json_text

    parts = [("left out", left.reason)]
    parts += [(name, value if isinstance(value, str) else json_text(value)) for name, value in left.evidence.items()]
    return Shown(left.id, (*parts, *(_parts(left.row) if left.row is not None else ())))


def _parts(row: Row) -> Iterator[tuple[str, str]]:
    """The record, then what operators found and did."""
    from aftertrain.api.stages import parts_of
    from aftertrain.core.ground.cleaning import json_text

    yield from parts_of(row.record)
    for name, value in row.facts.items():
        yield name, value if isinstance(value, str) else json_text(value)
    if row.history:
        yield "changed by", ", ".join(row.history)
    if row.origin:
        yield "made of", ", ".join(row.origin)
