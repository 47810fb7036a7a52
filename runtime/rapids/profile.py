"""What a table holds, as a page for the browser; with a second table, how far the two lie apart."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, ToolFailed
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import engine as engines
from runtime.rapids import tables
from runtime.rapids.schemas import ROW_ID, TRIP_ID

if TYPE_CHECKING:
    import polars as pl

    from runtime.rapids.profiling import Apart


@dataclass(kw_only=True)
class Ports:
    """Write a page about a table: rows, what is missing, histograms, frequent values, and maps of coordinates.

    With a reference, such as the table that a model was trained on, also how far each column has moved away from it.
    """

    data: Annotated[Path, Input("Parquet dataset, or CSV files", remote=True)]
    reference: Annotated[Path | None, Input("The same columns of an earlier time, to compare with", remote=True)] = None
    max_psi: Annotated[
        float, Param("Population stability index above which a column counts as drifted", minimum=0.0)
    ] = 0.2
    on_drift: Annotated[str, Param("What becomes of the step when a column has drifted", choices=("tell", "fail"))] = (
        "tell"
    )
    engine: Annotated[str, Param("Where the queries run", choices=engines.CHOICES)] = "auto"
    profile: Annotated[Path, Output("profile.html, profile.json and, for coordinates, map_NAME.png")]


@component(name="rapids_profile", version="1", image="rapids")
def profile(ports: Ports, metrics: Metrics) -> None:
    """Write the page and its figures.

    Raises:
        BadInput: for tables that cannot be read or, with a reference, have no column in common.
        ToolFailed: with `on_drift=fail`, when a column has drifted.
    """
    engine = engines.Engine.of(ports.engine, metrics, ports.data)
    with tempfile.TemporaryDirectory(prefix="ngcrun-profile-") as work:
        drifted, drift = _profile(ports, engine, metrics, Path(work))
    if drifted and ports.on_drift == "fail":
        told = ", ".join(f"{name} (PSI {drift[name].psi:.2f})" for name in drifted[:8])
        raise ToolFailed(f"{len(drifted)} columns have drifted from the reference: {told}")


def _profile(ports: Ports, engine: engines.Engine, metrics: Metrics, work: Path) -> tuple[list[str], dict[str, Apart]]:
    """Write and log all of it; which columns have drifted, and how far each has."""
    from runtime.rapids import profile_page, profiling

    table = _table(engine, "data", ports.data, work)
    with tables.reading("data", ports.data):
        rows, columns = profiling.describe(engine, table)
        if not rows:
            raise BadInput.of("data", ports.data, "holds no rows", "name files with data")
        by_name = {column.name: column for column in columns}
        pairs = profiling.places([c.name for c in columns if c.kind == "number" and c.figures])
        plain = profiling.numbers(table)
        maps = {name: profiling.grid(engine, plain, pair, by_name) for name, pair in pairs.items()}
    drift = _drift(ports, engine, table, work)
    drifted = sorted(name for name, apart in drift.items() if apart.psi > ports.max_psi)
    for name, pair in pairs.items():
        extent = (*profiling.bounds(by_name[pair[0]]), *profiling.bounds(by_name[pair[1]]))
        profile_page.draw_map(ports.profile / f"map_{name}.png", name, maps[name], extent)
    _log(metrics, rows, columns, drift, drifted)
    document = {
        "rows": rows, "columns": [{k: v for k, v in asdict(c).items() if k != "marks"} for c in columns],
        "drift": {name: _plain(asdict(apart)) for name, apart in drift.items()}, "drifted": drifted,
    }  # fmt: skip
    (ports.profile / "profile.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    title = f"{ports.data.name}: {rows:,} rows, {len(columns)} columns"
    profile_page.write(ports.profile, title, rows, columns, drift, ports.max_psi)
    metrics.artifact(ports.profile, "profile")
    return drifted, drift


def _table(engine: engines.Engine, port: str, path: Path, work: Path) -> pl.LazyFrame:
    """The table without its numbers of rows; of CSV files a Parquet copy in `work`, since every column is read anew."""
    import polars as pl

    found = tables.with_partitions(port, path, (".parquet", ".csv"))
    files = found.files
    with tables.reading(port, path):
        if files[0].suffix.lower() == ".parquet":
            table = replace(found, files=[f for f in files if f.suffix.lower() == ".parquet"]).scan()
        else:
            read = pl.scan_csv(files, try_parse_dates=True, infer_schema_length=10_000, null_values=["", "NA"])
            engine.write({work / f"{port}.parquet": read}, read.select(pl.len()))
            table = pl.scan_parquet(work / f"{port}.parquet")
        names = [name for name in table.collect_schema() if name not in (ROW_ID, TRIP_ID)]
    return table.select(names)


def _drift(ports: Ports, engine: engines.Engine, table: pl.LazyFrame, work: Path) -> dict[str, Apart]:
    from runtime.rapids import profiling

    if ports.reference is None:
        return {}
    reference = _table(engine, "reference", ports.reference, work)
    with tables.reading("reference", ports.reference):
        before, now = reference.collect_schema(), table.collect_schema()
        same = [n for n in now if n in before and profiling.kind_of(now[n]) == profiling.kind_of(before[n]) != ""]
        if not same:
            wrong = f"has no column in common with data; its columns are {', '.join(before)}"
            raise BadInput.of("reference", ports.reference, wrong, f"those of data are {', '.join(now)}")
        _, columns = profiling.describe(engine, reference.select(same), histograms=False)
        return profiling.apart(engine, reference.select(same), table.select(same), columns)


def _log(metrics: Metrics, rows: int, columns: list[Any], drift: Mapping[str, Apart], drifted: list[str]) -> None:
    metrics.log({"rows": rows, "columns": len(columns)})
    metrics.log({f"missing_share_{c.name}": c.missing / rows for c in columns if c.missing})
    for name, apart in drift.items():
        metrics.log({f"psi_{name}": apart.psi} | ({} if math.isnan(apart.ks) else {f"ks_{name}": apart.ks}))
    if drift:
        metrics.log({"columns_drifted": len(drifted)})
        metrics.tags({"drifted": ", ".join(drifted) or "none"})


def _plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {key: None if math.isnan(value) else value for key, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main(profile))
