"""Data sets from files and the hub, and mixtures of data sets."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.data"
DATASETS = {
    "jsonl": ("jsonl:Jsonl", "a .jsonl or .jsonl.gz file"),
    "parquet": ("parquet:Parquet", "a parquet file"),
    "csv": ("delimited:Csv", "a CSV file"),
    "json": ("json_array:JsonArray", "a JSON array"),
    "hub": ("hub:Hub", "a data set of the Hugging Face hub, or a local folder of one"),
    "rounds": ("rounds:Rounds", "what rounds of generation made, kept from round to round or replaced (F2)"),
    "mixture": ("mixture:Mixture", "several data sets in given shares (F2)"),
}
"""Component and summary by name; its settings are named after it."""

SOURCE = "a known data set by name (Tülu 3's sources and mixes, the community's), with its licence"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    for name, (component, summary) in DATASETS.items():
        settings = f"{HERE}.settings:{name.capitalize()}Settings"
        registry.add("dataset", name, f"{HERE}.{component}", settings, summary)
    known = f"{HERE}.sources"
    registry.add("dataset", "source", f"{known}.source:Source", f"{known}.settings:SourceSettings", SOURCE)
    rows = "aftertrain.core.rows.made:StageRowsSettings"
    registry.add("dataset", "stage", f"{HERE}.made:StageRows", rows, "rows that an earlier stage of the recipe makes")
