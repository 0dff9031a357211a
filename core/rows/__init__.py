"""Rows at rest: records as columns, shards of them in files, and the folder that a stage hands on."""
