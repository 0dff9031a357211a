"""What must not change a training step, measured on a user's own model, loss, engine and rows.

A stage hands over a `Trial`; `check.check` measures it and gives a `Finding` for each invariant. Everything is done by
the code that trains: `Engine.score`, `core.learning.step.train_step`, the packer, the stage's own reference cache and
its own checkpoints. Nothing here knows a loss or an engine by name.
"""
