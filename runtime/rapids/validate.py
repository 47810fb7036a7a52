"""Rows of any table against a contract: what keeps it goes on, typed; what does not is kept apart with its reason."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, Problem, nearest
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import csv_files, sources, tables
from runtime.rapids import engine as engines
from runtime.rapids.prepare import FILE_STRIDE
from runtime.rapids.schemas import ROW_ID, SEPARATORS

if TYPE_CHECKING:
    import polars as pl

    from runtime.rapids.contract import Contract

_ROW, _REASON = "__row", "__reason"


@dataclass(kw_only=True)
class Ports:
    """Check each row of a table (CSV or Parquet) against a contract, and write it typed or, with the reason, apart.

    The contract is YAML: columns with their types, bounds, values and patterns, rules in SQL, and what has to be
    unique. Each row gets a row_id: the number of its file times 10 to the 10th, and its number in it.
    """

    data: Annotated[Path, Input("A CSV or Parquet file, or a folder of them with the same columns", remote=True)]
    contract: Annotated[Path, Input("YAML file: what the columns and rows have to be", type="uri_file")]
    separator: Annotated[str, Param("What separates the cells of a CSV file", choices=tuple(SEPARATORS))] = "comma"
    max_rejected: Annotated[float, Param("Share of rejected rows above which the step fails", minimum=0, maximum=1)] = (
        0.1
    )
    engine: Annotated[str, Param("Where the queries run", choices=engines.CHOICES)] = "auto"
    accepted: Annotated[Path, Output("Parquet dataset with row_id and the contract's columns, a part for each file")]
    quarantine: Annotated[Path, Output("Parquet dataset with row_id, file, reason and the cells as they were")]
    report: Annotated[Path, Output("validation.json: rows read, accepted and rejected, by reason")]


@component(name="rapids_validate", version="1", image="rapids")
def validate(ports: Ports, metrics: Metrics) -> None:
    """Write both datasets and the report; log the rows by reason.

    Raises:
        BadInput: for mistakes in the contract, columns that a file lacks, or too many rejected rows.
    """
    from runtime.rapids import contract as contracts

    engine = engines.Engine.of(ports.engine, metrics, ports.data)
    contract = contracts.read(ports.contract)
    files = _open_all(ports, contract)
    sources.log(metrics, "data", ports.data, [table.path for table in files])
    twice = _twice(engine, files, contract)
    counts: dict[str, int] = {"rows_read": 0, "rows_accepted": 0}
    for number, table in enumerate(files):
        for key, value in _write_part(number, table, contract, twice, ports, engine).items():
            counts[key] = counts.get(key, 0) + value
        metrics.log({"files_read": number + 1})
    metrics.log(counts)
    rejected = {k.removeprefix("rows_rejected_"): n for k, n in counts.items() if k.startswith("rows_rejected_")}
    document = {"rows_read": counts["rows_read"], "accepted": counts["rows_accepted"], "rejected": rejected}
    (ports.report / "validation.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    metrics.artifact(ports.report / "validation.json")
    _require_few(ports, counts, rejected)


def _open_all(ports: Ports, contract: Contract) -> list[tables.RawTable]:
    """The files; raises `BadInput` with every column that one of them lacks."""
    found, problems = [], []
    for table in tables.open_raw("data", ports.data, SEPARATORS[ports.separator]):
        found.append(table)
        for name, column in contract.columns.items():
            if (column.source or name) not in table.header:
                wrong = f"has no column {column.source or name!r}, which the contract names"
                problems.append(Problem("data", str(table.path), wrong, nearest(column.source or name, table.header)))
    if problems:
        raise BadInput(problems)
    return found


def _query(number: int, table: tables.RawTable, contract: Contract, *, plain: bool = False) -> pl.LazyFrame:
    import polars as pl

    from runtime.rapids import contract as contracts

    row_id = (pl.col(_ROW).cast(pl.Int64) + number * FILE_STRIDE).alias(ROW_ID)
    return contracts.opened(contract, table.scan(_ROW, plain=plain), table.header).with_columns(row_id)


def _twice(engine: engines.Engine, files: list[tables.RawTable], contract: Contract) -> pl.Series | None:
    """The rows whose unique columns were already in an earlier row, by row_id; holds those columns of all rows."""
    import polars as pl

    if not contract.unique:
        return None
    keys = list(contract.unique)
    queries = [_query(i, table, contract).select(ROW_ID, *keys) for i, table in enumerate(files)]
    with tables.reading("data", files[0].path):
        groups = pl.concat(queries).group_by(keys).agg(pl.len().alias("__n"), pl.col(ROW_ID))
        found = engine.collect(groups.filter(pl.col("__n") > 1).select(ROW_ID))
    return found[ROW_ID].list.sort().list.slice(1).explode(empty_as_null=False)


def _write_part(  # noqa: PLR0913, PLR0917 - what a part is made of
    number: int, table: tables.RawTable, contract: Contract, twice: pl.Series | None, ports: Ports,
    engine: engines.Engine,
) -> dict[str, int]:  # fmt: skip
    """Write one file's rows and return their number: read, accepted, and rejected by reason (those that occurred)."""
    import polars as pl

    from runtime.rapids import contract as contracts

    with tables.reading("data", table.path):
        seen = csv_files.ragged_rows(table) if table.is_csv else csv_files.Look(0, plain=False, ragged=None)
        tests = _tests(contract, seen.ragged, twice)
        reason = tables.first_of(tests.values())
        query = _query(number, table, contract, plain=seen.plain).with_columns(reason.alias(_REASON))
        kept = pl.col(_REASON).is_null()
        names, part = list(tests), f"part-{number:05d}.parquet"
        why = pl.col(_REASON).replace_strict(list(range(len(names))), names, return_dtype=pl.String, default=None)
        cells = [pl.col(contracts.RAW + n).cast(pl.String).alias(n) for n in contract.columns]
        outputs = {
            ports.accepted / part: query.filter(kept).select(ROW_ID, *contract.columns),
            ports.quarantine / part: query.filter(~kept).select(
                ROW_ID, pl.lit(table.path.name).alias("file"), why.alias("reason"), *cells
            ),
        }
        rejected = [(pl.col(_REASON) == i).sum().alias(f"rows_rejected_{name}") for i, name in enumerate(names)]
        summary = query.select(pl.len().alias("rows_read"), kept.sum().alias("rows_accepted"), *rejected)
        row = engine.write(outputs, summary).row(0, named=True)
    csv_files.require_lines("data", table.path, seen.lines if table.is_csv else None, row["rows_read"])
    return {key: n for key, n in row.items() if n or key in ("rows_read", "rows_accepted")}


def _tests(contract: Contract, ragged: Any, twice: pl.Series | None) -> dict[str, pl.Expr]:
    """Reason -> whether a row is rejected for it: those of the contract, and rows that are ragged or repeated."""
    import polars as pl

    from runtime.rapids import contract as contracts

    tests = contracts.tests(contract)
    if ragged is not None and len(ragged):
        tests = {"ragged": pl.col(_ROW).is_in(pl.Series(ragged, dtype=pl.UInt32).implode()), **tests}
    if twice is not None and len(twice):
        tests["duplicate"] = pl.col(ROW_ID).is_in(twice.implode())
    return tests


def _require_few(ports: Ports, counts: dict[str, int], rejected: dict[str, int]) -> None:
    read, kept = counts["rows_read"], counts["rows_accepted"]
    if read != kept + sum(rejected.values()):
        raise AssertionError(f"rows do not add up: {counts}")
    if read == 0:
        raise BadInput.of("data", ports.data, "holds no rows", "name files with data")
    if read - kept > ports.max_rejected * read or not kept:
        most = sorted(rejected.items(), key=lambda reason: -reason[1])[:8]
        reasons = ", ".join(f"{name} {n}{_example(ports, name)}" for name, n in most)
        wrong = f"has {read - kept} of {read} rows that break the contract ({reasons})"
        raise BadInput.of("data", ports.data, wrong, "repair them, change the contract, or raise max_rejected")


def _example(ports: Ports, reason: str) -> str:
    """The cell of one row that was rejected for it, where the reason is of one column."""
    import polars as pl

    rejected = pl.scan_parquet(sorted(ports.quarantine.glob("*.parquet")))
    column = max((c for c in rejected.collect_schema() if reason.startswith(f"{c}_")), key=len, default="")
    if not column or reason.startswith("rule_") or reason.endswith("_missing"):
        return ""
    (cell,) = rejected.filter(pl.col("reason") == reason).head(1).select(column).collect().to_series()
    return f", such as {cell!r}"


if __name__ == "__main__":
    sys.exit(main(validate))
