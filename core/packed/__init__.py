"""Token ids to scores: packing, attention, the LM head, what is kept and what is computed again, loading a model."""
