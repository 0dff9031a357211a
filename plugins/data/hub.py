"""Data sets of the Hugging Face hub, or local folders in the same form."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from aftertrain.core.errors import DataError, Unreachable
from aftertrain.plugins.data.row import Row
from aftertrain.plugins.data.saved import is_saved, load_saved
from aftertrain.plugins.data.settings import HubSettings
from aftertrain.plugins.data.table import Table

if TYPE_CHECKING:
    from datasets import Dataset as HubDataset


CONNECT_SECONDS = 3.0
"""How long the hub may take to accept a connection before this machine counts as cut off."""


class Hub(Table[HubSettings]):
    """Rows of `datasets.load_dataset`, from the hub, its local cache, or a local folder."""

    Config = HubSettings

    @property
    def default_source(self) -> str:
        return self.settings.path.rstrip("/").rsplit("/", 1)[-1]

    def stored(self) -> str:
        """Digest of the rows themselves: equal rows are equal data, wherever they were fetched from."""
        digest = hashlib.sha256()
        for row in self._table:
            digest.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
        return digest.hexdigest()

    def rows(self) -> Iterator[Row]:
        for number, row in enumerate(self._table, 1):
            yield Row(f"{self.settings.path}:{self.settings.split}:row {number}", row, columnar=True)

    @cached_property
    def _table(self) -> HubDataset:
        import datasets

        datasets.disable_progress_bars()
        chosen, folder = self.settings, Path(self.settings.path)
        if folder.is_file():
            raise DataError(f"{folder}: a file, where `use: hub` takes a folder: write `use: {_kind(folder)}`")
        if folder.is_absolute() and not folder.is_dir():
            raise DataError(f"data set {chosen.path!r}: there is no such folder")
        if is_saved(folder):
            return load_saved(folder, chosen.split, given="split" in chosen.model_fields_set)
        try:
            with _from_cache_when_cut_off(chosen.path):
                return datasets.load_dataset(chosen.path, chosen.subset, split=chosen.split, revision=chosen.revision)
        except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
            raise Unreachable(
                f"data set {chosen.path!r} is neither a local folder, nor in the local cache, nor to be had from the "
                f"hub: {error}"
            ) from error
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"data set {chosen.path!r}: cannot be loaded: {error}") from error


def _kind(file: Path) -> str:
    """The data set that reads a file of this name."""
    return {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json"}.get(file.suffix, "jsonl")


@contextmanager
def _from_cache_when_cut_off(path: str) -> Iterator[None]:
    """Without a way to the hub, go to the cache at once: the library would try again for half a minute a data set."""
    import datasets
    from huggingface_hub import constants

    places: tuple[Any, ...] = (constants, datasets.config)
    before = [place.HF_HUB_OFFLINE for place in places]
    if any(before) or Path(path).exists() or _answers(constants.ENDPOINT):
        yield
        return
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _answers(endpoint: str) -> bool:
    """Whether something accepts connections there. Behind a proxy that cannot be told, so it counts as yes."""
    if getproxies():
        return True
    url = urlsplit(endpoint)
    try:
        socket.create_connection((url.hostname or "", url.port or 443), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
