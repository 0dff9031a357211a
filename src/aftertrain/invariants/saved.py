"""What a stage would save is the model that it has in memory, as plain transformers reads it."""

from __future__ import annotations

from aftertrain.core.errors import ModelError, NumericsError
from aftertrain.core.events import Saved
from aftertrain.core.learning.saved import save_checked
from aftertrain.core.learning.step import train_step
from aftertrain.invariants.bench import Bench
from aftertrain.invariants.finding import EXACT, Finding, Measure, NotChecked
from aftertrain.invariants.modes import MOVER, RATE
from aftertrain.invariants.outcome import HALF

STEPS = 2
"""Adapters add nothing before their second factors have moved, and a second step moves the first ones."""


def check_saved(bench: Bench) -> Finding:
    """Two steps, a save, and the check that every stage ends with; of each model that the loss trains."""
    trial = bench.trial
    engines = trial.engines(MOVER)
    rates, loss = dict.fromkeys(engines, RATE), trial.make_loss()
    for step in range(1, STEPS + 1):
        train_step(engines, loss, bench.batches, rates, step=step, temperature=trial.temperature, progress=HALF)
    rows = [segment.token_ids for segment in bench.flat]
    found: list[Saved] = []
    for term, engine in engines.items():
        head = "scalar" if term == "value" else "lm"
        folder = bench.folder / f"saved-{term}"
        try:
            found.append(save_checked(engine, folder, head=head, base=trial.models[term], rows=rows))  # type: ignore[arg-type]
        except (ModelError, NumericsError) as error:
            return Finding("saved", f"the folder of {term}", note=str(error), failed=True)
    if any(saved.left_out for saved in found):
        raise NotChecked("; ".join(f"names and bits hold; {saved.left_out}" for saved in found if saved.left_out))
    names, tensors = (sum(getattr(saved, field) for saved in found) for field in ("names", "tensors"))
    what = f"the saved {found[0].kind} ({found[0].dtype})"
    return Finding(
        "saved",
        f"{names:,} names and {tensors:,} tensors of {what} after {STEPS} steps; scores of {found[0].tokens} tokens by "
        "plain transformers",
        (
            Measure("tensors that differ", 0, EXACT),
            *(Measure("scores", saved.difference or 0.0, saved.tolerance or 0.0) for saved in found),
        ),
    )
