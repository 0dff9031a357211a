"""Known data sets by name: where each is, how its rows become records, under which licence, and where that was seen."""
