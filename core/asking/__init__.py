"""Asking a model in words: prompts rendered, replies kept and never paid twice, budgets, prices and a transcript."""
