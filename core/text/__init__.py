"""Conversations to token ids: templates, masks and their checks; answers read out of replies."""
