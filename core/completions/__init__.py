"""Replies that were made once and are kept, so that nothing is generated twice."""
