"""What a stage would save is the model that it has in memory, as plain transformers reads it."""

from __future__ import annotations

from aftertrain.core.errors import ModelError, NumericsError
from aftertrain.core.events import Saved
from aftertrain.core.ground.wording import counted
from aftertrain.core.learning.saved import save_checked
from aftertrain.invariants.bench import Bench
from aftertrain.invariants.finding import EXACT, Finding, Measure, NotChecked
from aftertrain.invariants.outcome import MOVER, STEPS, move


def check_saved(bench: Bench) -> Finding:
    """Two steps, a save, and the check that every stage ends with; of each model that the loss trains."""
    trial = bench.trial
    engines = trial.engines(MOVER)
    move(trial, engines, bench.batches)
    rows = [segment.token_ids for segment in bench.flat]
    events: list[Saved] = []
    for term, engine in engines.items():
        head = "scalar" if term == "value" else "lm"
        folder = bench.folder / f"saved-{term}"
        try:
            events.append(save_checked(engine, folder, head=head, base=trial.models[term], rows=rows))  # type: ignore[arg-type]
        except (ModelError, NumericsError) as error:
            return Finding("saved", f"the folder of {term}", note=str(error), failed=True)
    if any(saved.left_out for saved in events):
        raise NotChecked("; ".join(f"names and bits hold; {saved.left_out}" for saved in events if saved.left_out))
    names, tensors = (sum(getattr(saved, field) for saved in events) for field in ("names", "tensors"))
    what = f"the saved {events[0].kind} ({events[0].dtype})"
    scored = counted(events[0].tokens, "token")
    return Finding(
        "saved",
        f"{names:,} names and {tensors:,} tensors of {what} after {STEPS} steps; "
        f"scores of {scored} by plain transformers",
        (
            Measure("tensors that differ", 0, EXACT),
            *(Measure("scores", saved.difference or 0.0, saved.tolerance or 0.0) for saved in events),
        ),
    )
