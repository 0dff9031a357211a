"""What there is to train on: tokenised rows, chosen by the policies for length and for unusable rows, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aftertrain.core.errors import DataError
from aftertrain.core.loss import Needs
from aftertrain.plugins.training.accounts import Intake
from aftertrain.plugins.training.atoms import Atoms
from aftertrain.plugins.training.columns import Fault
from aftertrain.plugins.training.probes import partners_of
from aftertrain.plugins.training.rows import Rules
from aftertrain.plugins.training.settings import Batch
from aftertrain.plugins.training.spans import Ints
from aftertrain.plugins.training.store import Store
from aftertrain.plugins.training.tokenising import tokenised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_MICRO_TOKENS = 8192
NAMED = 10
"""Unusable rows that an error names."""
ENOUGH = 100
"""Unusable rows after which the rest of the data need not be looked at."""
Where = Callable[[Collection[str]], Mapping[str, str]]


@dataclass(frozen=True)
class Samples:
    """What there is to train on.

    Attributes:
        atoms: one per row kept: a conversation's or a reply's segment, or a pair's two; a pair that a loss of single
            replies learns from makes two atoms. Probes come last in theirs.
        n_targets: target tokens of one pass, probes not counted.
        n_rows: rows that were read.
        sources: for each data set that rows came from, its rows kept, tokens and targets before any cut.
        largest_id: largest token id.
        dropped: ids of rows left out, by reason.
        truncated: ids of rows that were cut.
        intake: what the book of the stage is told of the rows.
    """

    atoms: Atoms
    n_targets: int
    n_rows: int
    sources: Mapping[str, Mapping[str, int]]
    largest_id: int = 0
    dropped: dict[str, list[str]] = field(default_factory=dict)
    truncated: list[str] = field(default_factory=list)
    intake: Intake = field(default_factory=Intake)

    @property
    def n_tokens(self) -> int:
        """Tokens of one pass, prompts and probes included."""
        return int(self.atoms.sizes.sum())

    def first(self, count: int | None) -> Samples:
        """The first atoms alone; what was found of the others is kept."""
        return replace(self, atoms=self.atoms[:count])

    def micro_tokens(self, batch: Batch) -> int:
        """The packing budget.

        Raises:
            DataError: an atom does not fit the budget that was asked for.
        """
        at = int(self.atoms.sizes.argmax())
        largest = int(self.atoms.sizes[at])
        if batch.micro_tokens is None:
            return max(DEFAULT_MICRO_TOKENS, largest)
        if largest > batch.micro_tokens:
            raise DataError(
                f"sample {self.atoms[at][0].sample_id!r} needs {largest} tokens in one micro-batch; raise "
                f"batch.micro_tokens ({batch.micro_tokens}) or lower batch.max_tokens"
            )
        return batch.micro_tokens


def prepare(
    tokenizer: PreTrainedTokenizerBase, records: Iterable[Any], batch: Batch, needs: Needs | None = None
) -> Samples:
    """Tokenise records in this process and memory.

    Args:
        needs: of the loss. Pairs make atoms of two only where its atom is a pair, as it is for None.

    Raises:
        DataError: see `select`.
    """
    rows = Store(tokenised(tokenizer, records, Rules.of(needs, batch)))
    return select(rows, batch, needs)


def select(
    store: Store,
    batch: Batch,
    needs: Needs | None = None,
    where: Where = lambda ids: {},
    *,
    may_be_empty: bool = False,
) -> Samples:
    """The rows that the policies keep, cut where they say so.

    Args:
        where: finds file and line of ids, for messages.

    Raises:
        DataError: a row cannot be used or is too long where that is an error, or none is left and that may not be.
    """
    refuse_unusable(store.faults, store.n_rows, batch, where)
    faults: dict[str, list[Fault]] = {}
    for fault in store.faults:
        faults.setdefault(fault.reason, []).append(fault)
    dropped = {reason: [fault.id for fault in those] for reason, those in faults.items()}
    limit = batch.max_tokens
    longest = _by_atom(np.maximum, store.lengths, store)
    kept = fits = longest <= limit
    truncated: list[str] = []
    left_out: dict[str, Any] = {}
    if batch.overlong == "stop" and not fits.all():
        raise _too_long(store, longest, limit, where)
    if batch.overlong == "drop":
        left_out["overlong"] = ~fits
    else:
        learnt = _by_atom(np.maximum, store.first_targets, store) < limit
        tells = _by_atom(np.minimum, store.differs, store) < limit
        left_out["no_target_left"] = ~fits & ~learnt
        left_out["no_difference_left"] = ~fits & learnt & ~tells
        truncated = _ids(store, ~fits & learnt & tells)
        kept = fits | (learnt & tells)
    for reason, which in left_out.items():
        if ids := _ids(store, which):
            dropped.setdefault(reason, []).extend(ids)
    if not kept.any() and not may_be_empty:
        why = "; ".join(f"{reason}: {len(ids)}" for reason, ids in dropped.items())
        first = "".join(f"\n{line}" for line in _fault_lines(store.faults[:1], where))
        raise DataError(f"no row is left to train on of {store.n_rows} ({why}); batch.max_tokens is {limit}{first}")
    intake = Intake(
        store.atom_rows,
        _by_atom(np.add, store.lengths, store),
        kept,
        left_out,
        {reason: np.array([fault.row for fault in those], np.int64) for reason, those in faults.items()},
        store.first,
        store.n_rows,
    )
    chosen = np.repeat(kept, store.atom_sizes)
    probed = needs is not None and needs.probes is not None and kept.any()
    partners = partners_of(store, np.flatnonzero(chosen)) if probed else None
    cut = chosen & (store.lengths > limit)
    targets = int(store.target_counts[chosen & ~cut].sum())
    targets += sum(int(store.span(int(i)).cut(limit).mask().sum()) for i in np.flatnonzero(cut))
    return Samples(
        Atoms(store, np.flatnonzero(kept), limit, partners),
        targets,
        store.n_rows,
        _sources(store, chosen),
        store.largest_id,
        dropped,
        truncated,
        intake,
    )


def refuse_unusable(faults: Sequence[Fault], n_rows: int, batch: Batch, where: Where) -> None:
    """Stop for unusable rows where they are an error.

    Raises:
        DataError: there are some; counts each reason, names the first rows with file and line.
    """
    if batch.unusable == "drop" or not faults:
        return
    counts = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in Counter(f.reason for f in faults).items())
    more = f"\n… and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    cure = ", or leave them out with batch.unusable: drop" if len(faults) < n_rows else ""
    read = f"{len(faults)} of {n_rows} rows" if len(faults) < ENOUGH else f"{len(faults)} of the first {n_rows} rows"
    raise DataError(
        f"{read} cannot be trained on ({counts}): mend them{cure}\n"
        + "\n".join(_fault_lines(faults[:NAMED], where))
        + more
    )


def _fault_lines(faults: Sequence[Fault], where: Where) -> list[str]:
    """What is wrong with each row, file and line before it; what was said of the row before is not said again."""
    places = where([fault.id for fault in faults]) if faults else {}
    lines, last = [], ""
    for fault in faults:
        start = places.get(fault.id, "" if repr(fault.id) in fault.message else fault.id)
        words = "the same" if fault.message == last else fault.message
        lines.append(f"{start}: {words}" if start else words)
        last = fault.message
    return lines


def named(ids: Sequence[str], where: Where) -> list[str]:
    """Ids, each with file and line where these are known."""
    places = where(ids)
    return [f"{name} ({places[name]})" if name in places else name for name in ids]


def _sources(store: Store, chosen: Any) -> dict[str, dict[str, int]]:
    names, codes = store.sources
    starts = np.zeros(len(store), np.int64)
    starts[store.atom_starts] = 1
    figures = {"atoms": starts, "tokens": store.lengths, "targets": store.target_counts}
    sums = {
        figure: np.bincount(codes[chosen], values[chosen], minlength=len(names)) for figure, values in figures.items()
    }
    return {
        name: {figure: int(values[i]) for figure, values in sums.items()}
        for i, name in enumerate(names)
        if sums["atoms"][i]
    }


def _by_atom(combine: np.ufunc, values: Ints, store: Store) -> Ints:
    """Values of segments, combined for each atom."""
    combined: Ints = combine.reduceat(values, store.atom_starts) if len(store) else values
    return combined


def _ids(store: Store, which: Any) -> list[str]:
    return [store.sample_id(int(store.atom_starts[i])) for i in np.flatnonzero(which)]


def _too_long(store: Store, longest: Ints, limit: int, where: Where) -> DataError:
    over = np.flatnonzero(longest > limit)
    name = store.sample_id(int(store.atom_starts[over[0]]))
    place = where([name]).get(name)
    others = f"; so have {len(over) - 1:,} others" if len(over) > 1 else ""
    return DataError(
        (f"{place}: " if place else "")
        + f"sample {name!r} has {longest[over[0]]} tokens, batch.max_tokens is {limit}; raise it, or "
        f"set batch.overlong to drop or truncate{others}"
    )
