"""A model folder and a feature table to predictions, joined to their trips by trip_id."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import model_folder, sources, tables
from runtime.rapids.schemas import id_of

PREDICTION = "prediction"


@dataclass(kw_only=True)
class Ports:
    """Predict the target for each row of a feature table with a trained model, a batch at a time.

    Predictions carry the trip_id or row_id, so that nothing later depends on the order of rows.
    """

    model: Annotated[Path, Input("Model folder that rapids_train wrote", type="mlflow_model")]
    features: Annotated[Path, Input("Feature table, such as a part that rapids_transform wrote", remote=True)]
    table_format: Annotated[str, Param(tables.FORM_HELP, choices=tables.FORMS)] = "parquet"
    predictions: Annotated[Path, Output("Parquet dataset with the id and prediction, in the target's unit")]


@component(name="rapids_predict", version="1", image="rapids")
def predict(ports: Ports, metrics: Metrics) -> None:
    """Write `part-NNNNN.parquet` for each part of the feature table; log the rows."""
    import polars as pl

    predict_batch, content = model_folder.load("model", ports.model)
    names = [feature["name"] for feature in content["features"]]
    tables.require_form(ports.table_format)
    files = tables.listing("features", ports.features, (".parquet",))
    sources.log(metrics, "features", ports.features, files)
    with tables.reading("features", ports.features):
        _require_columns(ports, files, names)
        rows, id_ = 0, id_of(pl.read_parquet_schema(files[0]))
        for number, file in enumerate(files):
            with tables.Writer(ports.predictions / f"part-{number:05d}.parquet") as writer:
                for batch in tables.batches([file], [id_, *names]):
                    x = batch.select(pl.col(names).cast(pl.Float32)).to_numpy(order="c")
                    writer.add(batch.select(id_).with_columns(pl.Series(PREDICTION, predict_batch(x), pl.Float32)))
                    rows += batch.height
                    metrics.log({"rows_predicted": rows}, step=rows)
    if rows == 0:
        raise BadInput.of("features", ports.features, "has no rows", "give a table with trips")
    tables.finish(ports.predictions, ports.table_format)


def _require_columns(ports: Ports, files: list[Path], names: list[str]) -> None:
    """Refuse a part that lacks a feature of the model, or holds one that is no number."""
    import polars as pl

    for file in files:
        with tables.reading("features", file):
            schema = pl.read_parquet_schema(file)
        id_ = id_of(schema)
        absent = [name for name in (id_, *names) if name not in schema]
        if absent:
            raise BadInput.of(
                "features", file, f"lacks the column {', '.join(absent)}", "transform it as the training part"
            )
        text = [name for name in (id_, *names) if not schema[name].is_numeric()]
        if text:
            wrong = f"column {text[0]} is {schema[text[0]]}, not a number"
            raise BadInput.of("features", file, wrong, "transform it as the training part")


if __name__ == "__main__":
    sys.exit(main(predict))
