"""Data sets from files and the hub, and mixtures of data sets."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.data"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "dataset", "jsonl", f"{HERE}.jsonl:Jsonl", f"{HERE}.settings:JsonlSettings", "a .jsonl or .jsonl.gz file"
    )
    registry.add("dataset", "parquet", f"{HERE}.parquet:Parquet", f"{HERE}.settings:ParquetSettings", "a parquet file")
    registry.add("dataset", "csv", f"{HERE}.delimited:Csv", f"{HERE}.settings:CsvSettings", "a CSV file")
    registry.add("dataset", "json", f"{HERE}.json_array:JsonArray", f"{HERE}.settings:JsonSettings", "a JSON array")
    registry.add(
        "dataset",
        "hub",
        f"{HERE}.hub:Hub",
        f"{HERE}.settings:HubSettings",
        "a data set of the Hugging Face hub, or a local folder of one",
    )
    registry.add(
        "dataset",
        "mixture",
        f"{HERE}.mixture:Mixture",
        f"{HERE}.settings:MixtureSettings",
        "several data sets in given shares (F2)",
    )
