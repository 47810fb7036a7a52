"""Features to groups or to a few components, without a target: k-means, PCA, UMAP."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Group, Input, Output, Param, component
from runtime.errors import BadInput
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import engine as engines
from runtime.rapids import reducers, sources, tables
from runtime.rapids.features import read_features
from runtime.rapids.reducers import PCA, UMAP, KMeans
from runtime.rapids.schemas import id_of
from runtime.rapids.transform import PART

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

DRAWN = 5000  # points of the plot


@dataclass(kw_only=True)
class Ports:
    """Group the rows of a feature table (k-means), or give each a few components instead of its features (PCA, UMAP).

    The fit takes `max_rows` of them, evenly spread; then every row gets its group or components, a batch at a time.
    """

    features: Annotated[Path, Input("Feature table: a part that rapids_transform or rapids_recipe wrote", remote=True)]
    method: Annotated[KMeans | PCA | UMAP, Group("What is fitted", options=reducers.NAMES)] = field(
        default_factory=KMeans
    )
    max_rows: Annotated[int, Param("Rows that it is fitted on, at most", minimum=2, maximum=100_000_000)] = 1_000_000
    seed: Annotated[int, Param("Seed of all that is random", minimum=0, maximum=1_000_000)] = 0
    engine: Annotated[str, Param("Where it is fitted", choices=engines.CHOICES)] = "auto"
    reduced: Annotated[Path, Output("Parquet dataset with the id, and cluster or METHOD_1, METHOD_2, ...")]
    model: Annotated[Path, Output("model.skops (not of UMAP), reduce.json and reduced.png")]


@component(name="rapids_reduce", version="1", image="rapids")
def reduce(ports: Ports, metrics: Metrics) -> None:
    """Fit, write each row's result and the model; log how well it fits.

    Raises:
        BadInput: for settings out of range, a folder without features, or UMAP where nothing can compute it.
    """
    content = read_features("features", ports.features, "rapids_transform or rapids_recipe")
    names = [feature["name"] for feature in content["features"]]
    engine = engines.choose(ports.engine, "cuml", metrics)
    reducers.check(ports.method, len(names), engine)
    files = tables.listing("features", ports.features, (".parquet",))
    sources.log(metrics, "features", ports.features, files)
    with tables.reading("features", ports.features):
        x = _rows(files, names, ports)
        made = reducers.fit(ports.method, x, ports.seed, engine)
        rows = _apply(files, names, made, ports)
    metrics.log({"rows_fitted": len(x), "rows_reduced": rows, **made.figures})
    about = {
        "method": reducers.name_of(ports.method), "settings": vars(ports.method), "features": names,
        "columns": made.columns, "rows_fitted": len(x), "figures": made.figures, "model": made.unkept or "model.skops",
    }  # fmt: skip
    (ports.model / "reduce.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    if made.model is not None:
        _save(made.model, ports.model / "model.skops")
    else:
        print(f"the model is not kept: {made.unkept}")
    _draw(ports.model / "reduced.png", made, x)
    metrics.artifact(ports.model, "model")


def _rows(files: list[Path], names: list[str], ports: Ports) -> Array:
    """The rows to fit on, evenly spread over the table."""
    import numpy as np
    import polars as pl

    absent = [name for name in names if name not in pl.read_parquet_schema(files[0])]
    if absent:
        todo = "give a folder as rapids_transform wrote it"
        raise BadInput.of("features", files[0], f"lacks the column {', '.join(absent)}", todo)
    total = int(pl.scan_parquet(files).select(pl.len()).collect().item())
    step, seen, parts = max(1, -(-total // ports.max_rows)), 0, []
    for batch in tables.batches(files, names):
        parts.append(batch[(-seen) % step :: step].select(pl.col(names).cast(pl.Float32)).to_numpy(order="c"))
        seen += batch.height
    x = np.concatenate(parts) if parts else np.zeros((0, len(names)), np.float32)
    least = max(2, getattr(ports.method, "clusters", 2), getattr(ports.method, "components", 1))
    if len(x) < least:
        raise BadInput.of("features", ports.features, f"has {len(x)} rows to fit on", f"give {least} or more")
    return x


def _apply(files: list[Path], names: list[str], made: reducers.Reduced, ports: Ports) -> int:
    import polars as pl

    rows, id_ = 0, id_of(pl.read_parquet_schema(files[0]))
    whole = made.columns == ["cluster"]
    with tables.Writer(ports.reduced / PART) as writer:
        for batch in tables.batches(files, [id_, *names]):
            found = made.apply(batch.select(pl.col(names).cast(pl.Float32)).to_numpy(order="c"))
            columns = [
                pl.Series(name, found[:, i], pl.Float32).cast(pl.Int32 if whole else pl.Float32)
                for i, name in enumerate(made.columns)
            ]
            writer.add(batch.select(id_).with_columns(columns))
            rows += batch.height
    return rows


def _save(model: Any, path: Path) -> None:
    import skops.io

    from runtime.rapids.model_folder import settle_skops

    skops.io.dump(model, path)
    settle_skops(path)


def _draw(path: Path, made: reducers.Reduced, x: Array) -> None:
    """Write the first two components, or the sizes of the groups."""
    import numpy as np

    from runtime.rapids import figures

    found = made.apply(x[:: max(1, len(x) // DRAWN)])
    figure, axes = figures.canvas(height_in=4.5)
    if made.columns == ["cluster"]:
        numbers, counts = np.unique(found[:, 0].astype(int), return_counts=True)
        axes.bar(numbers, counts / counts.sum())
        axes.set(title="share of the rows in each cluster", xlabel="cluster")
    else:
        across = found[:, 1] if found.shape[1] > 1 else np.zeros(len(found))
        axes.scatter(found[:, 0], across, s=3, alpha=0.4)
        axes.set(xlabel=made.columns[0], ylabel=made.columns[1] if found.shape[1] > 1 else "")
    figures.save(figure, path)


if __name__ == "__main__":
    sys.exit(main(reduce))
