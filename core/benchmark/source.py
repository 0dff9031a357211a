"""The one rule by which benchmarks find their rows: a folder laid out like the hub, a map in it, or the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from aftertrain.core.benchmark.rows import JSON_LINES, PARQUET, Row, read_file
from aftertrain.core.errors import DataError, Unavailable, nearest, unknown
from aftertrain.core.ground.reading import read_text, typed
from aftertrain.core.ground.usage import Unused
from aftertrain.core.settings import Kinded, LocalPath, Settings, Use, unhashed

T = TypeVar("T", bound=Kinded)

MAP = "data.yaml"
ENDS = (*JSON_LINES, PARQUET)
_LOOKED_AT = 10_000
"""Files of a folder among which one of a like name is looked for."""


class BenchmarkSettings(Settings):
    """Settings of a task whose rows are found by the one rule."""

    data: LocalPath | None = unhashed(
        None,
        description="Folder of benchmarks: HUB ID/CONFIG/SPLIT.jsonl (.jsonl.gz, .parquet) in the hub's own columns, "
        "or a data.yaml that maps the task to a file. null takes the hub, or what of it is in the local cache.",
    )
    elsewhere: ClassVar[tuple[str, ...]] = ()
    """Settings that give the rows in place of the benchmark, where one is set."""

    def without_use(self) -> dict[str, Unused]:
        """Further the folder, where rows are given otherwise."""
        given = next((name for name in self.elsewhere if getattr(self, name) is not None), None)
        mine = {} if given is None else {"data": Unused(f"{given!r} gives the rows", (given,))}
        return super().without_use() | mine


def reads_folder(settings: Settings) -> bool:
    """Whether a task's rows may come from a folder of benchmarks."""
    return isinstance(settings, BenchmarkSettings) and "data" not in settings.without_use()


def with_folder(use: Use[T], data: str | None) -> Use[T]:
    """A task with a folder of benchmarks, if it reads one and was given none of its own; any other as it is."""
    settings = use.settings
    if data is None or not isinstance(settings, BenchmarkSettings) or settings.data is not None:
        return use
    if not reads_folder(settings):
        return use
    return Use(use.kind, use.name, use.settings.model_copy(update={"data": data}))


class Mapped(BaseModel):
    """An entry of `data.yaml`.

    Attributes:
        file: beside the map unless absolute; `{split}` and `{config}` stand for the names of these. Without one of the
            endings that are read, the file is the one that has such an ending.
        columns: the hub's column to the one that the file has for it; those left out are named alike.
        config: the column that says a row's configuration, of a file that holds several.
    """

    model_config = ConfigDict(extra="forbid")

    file: Annotated[str, Field(min_length=1)]
    columns: dict[str, str] = {}
    config: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's rows are on the Hugging Face hub.

    Attributes:
        hub: the data set's id.
        config: its configuration; `default` where it has none of a name.
        revision: a branch or commit of the hub's; those of scripts are read from `refs/convert/parquet`.
        unpublished: why the hub has none of this name, of rows that only who has them can give, laid out alike.
        gated: whether the hub gives it only to an account that has accepted its terms.
    """

    hub: str
    config: str
    split: str
    revision: str | None = None
    unpublished: str = ""
    gated: bool = False

    def __str__(self) -> str:
        return f"{self.hub}/{self.config}/{self.split}"

    def rows(self, task: str, data: str | None) -> list[Row]:
        """All rows of the split in their order, by the hub's columns.

        Args:
            task: under which `data.yaml` has an entry.
            data: a folder of benchmarks; None takes the hub.

        Raises:
            DataError: there are none, or they cannot be read; says where they were looked for and how to give them.
        """
        if data is None and self.unpublished:
            raise Unavailable(f"task {task!r}: {self.unpublished}{self._by_folder(task)}")
        if data is None:
            return self._from_hub(task)
        folder = Path(data)
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder of benchmarks")
        entries = mapped(folder)
        if task in entries:
            entry = entries[task]
            named = folder / entry.file.replace("{split}", self.split).replace("{config}", self.config)
            file = named if named.name.endswith(ENDS) else _ended(named, task) or named
            if "{" in entry.file and not file.exists():
                # One pattern serves several splits, of which a folder may lack some.
                raise Unavailable(f"{folder / MAP}: task {task!r} needs {self}, and there is no {named} for it")
            rows = read_file(file) if entry.config is None else self._of_config(file, entry.config)
            return [_renamed(row, entry) for row in rows] if entry.columns else rows
        there = _ended(folder / self.hub / self.config / self.split, task)
        if there is None:
            raise Unavailable(self._missing(folder, task))
        return read_file(there)

    def _of_config(self, file: Path, column: str) -> list[Row]:
        configs = _by_config(file, column, _stamp(file))
        found = configs.get(self.config, [])
        if not found:
            there = list(configs)
            raise DataError(f"{file}: {unknown(f'value of column {column!r}', self.config, there)}")
        return [replace(row, number=number) for number, row in enumerate(found)]

    def _missing(self, folder: Path, task: str) -> str:
        there = [_stem(file.relative_to(folder).as_posix()) for file in islice(folder.glob("*/*/*/*"), _LOOKED_AT)]
        guess = nearest(str(self), there)
        hint = f"; did you mean {guess} for it?" if guess else ""
        why = f" ({reason})" if (reason := self.unpublished or self._terms) else ""
        return (
            f"{folder}: task {task!r} needs {self}.jsonl, .jsonl.gz or .parquet there, or {task!r} in {MAP}{why}{hint}"
        )

    @property
    def _terms(self) -> str:
        """What a gated data set asks for."""
        page = f"huggingface.co/datasets/{self.hub}"
        return f"gated: accept its terms at {page}, then 'hf auth login'" if self.gated else ""

    def _by_folder(self, task: str) -> str:
        terms = f" ({self._terms})" if self.gated else ""
        return (
            f"{terms}; give it by folder: --data DIR (setting 'data') with DIR/{self}.jsonl, .jsonl.gz or .parquet, or "
            f"{task!r} in DIR/{MAP}"
        )

    def _from_hub(self, task: str) -> list[Row]:
        import datasets

        from aftertrain.core.ground.hub import load_from_hub

        datasets.disable_progress_bars()
        table = load_from_hub(
            self.hub,
            self.config,
            self.split,
            self.revision,
            named=f"task {task!r}: {self.hub} (config {self.config}, split {self.split})",
            cure=self._by_folder(task),
        )
        return [Row(place, f"{self}:row {place + 1}", row) for place, row in enumerate(table)]


def _stamp(file: Path) -> tuple[int, int]:
    """What changes when a file does; of one that is not there nothing, and whoever reads it tells."""
    if not file.exists():
        return (0, 0)
    state = file.stat()
    return (state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _by_config(file: Path, column: str, stamp: tuple[int, int]) -> dict[str, list[Row]]:
    """The rows of a file of several configurations, which a task asks for one by one."""
    configs: dict[str, list[Row]] = {}
    for row in read_file(file):
        configs.setdefault(str(row.fields.get(column)), []).append(row)
    return configs


def _ended(stem: Path, task: str) -> Path | None:
    """The file of this name with one of the endings that are read; None where there is none."""
    files = [file for end in ENDS if (file := stem.with_name(stem.name + end)).exists()]
    if len(files) > 1:
        raise DataError(f"{' and '.join(map(str, files))}: one of them must go, as each would be task {task!r}")
    return files[0] if files else None


def mapped(folder: Path) -> dict[str, Mapped]:
    """The entries of a folder's `data.yaml`; none where it has no such file.

    Raises:
        DataError: it cannot be read.
    """
    path = folder / MAP
    if not path.exists():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value: Any = YAML(typ="safe", pure=True).load(read_text(path, limit=1 << 20, error=DataError))
    except (YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
    entries: dict[str, Mapped] = typed(value or {}, dict[str, Mapped], str(path), error=DataError)
    return entries


def _renamed(row: Row, entry: Mapped) -> Row:
    fields = dict(row.fields)
    for column, there in entry.columns.items():
        if there not in row.fields:
            guess = nearest(there, map(str, row.fields))
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise DataError(f"{row.where}: has no column {there!r}, which {MAP} names for {column!r}{hint}")
        fields[column] = row.fields[there]
    return Row(row.number, row.where, fields)


def _stem(name: str) -> str:
    end = next((end for end in ENDS if name.endswith(end)), "")
    return name.removesuffix(end)
