"""Evaluation items in training data: tokens, rules, an index over the evaluation side, a scan past it (F3–F6)."""
