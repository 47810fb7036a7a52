"""Delta Lake tables as the Parquet files of their present version."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from runtime.errors import BadInput, summary
from runtime.rapids.partitions import Files
from runtime.remote_path import Remote, as_remote

if TYPE_CHECKING:
    import polars as pl

# What a table may ask of its readers without a Parquet file meaning something else than its rows.
# Source: the Delta transaction log protocol, "Valid Feature Names in Table Features"; deletion vectors are followed.
HARMLESS = ("timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "deletionVectors")


def is_table(root: Path) -> bool:
    """Whether there is a Delta Lake table; its first log entries may be gone, as they are cleaned up after a time."""
    remote = as_remote(root)
    if remote is not None and (remote.scheme in ("http", "https") or remote.suffix in (".parquet", ".csv")):
        return False
    return (root / "_delta_log").exists()


def files(port: str, root: Path) -> Files:
    """The files of a Delta Lake table, with the columns that it is partitioned by.

    Raises:
        BadInput: a table whose rows are not those of its files, or whose log is broken, or deltalake is not here.
    """
    if importlib.util.find_spec("deltalake") is None:
        raise BadInput.of(port, root, "is a Delta Lake table", "pip install 'ngcrun[delta]', or name its Parquet files")
    import deltalake

    try:
        table = deltalake.DeltaTable(str(root))
        _require_plain(port, root, table)
        return _listed(root, table)
    except (deltalake.exceptions.DeltaError, OSError, ValueError) as error:
        wrong = f"is no readable Delta Lake table: {summary(error)}"
        raise BadInput.of(port, root, wrong, "write it again") from error


def _require_plain(port: str, root: Path, table: Any) -> None:
    """Raises `BadInput` where the files cannot be read as what they are."""
    asked = set(table.protocol().reader_features or ())
    mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none" or "columnMapping" in asked:
        wrong = f"has other names in its files than in its log (delta.columnMapping.mode={mapping})"
        raise BadInput.of(port, root, wrong, "write it again without column mapping, such as to a new table")
    if unknown := sorted(asked - set(HARMLESS)):
        wrong = f"asks its readers for {', '.join(unknown)}, which is not known here"
        raise BadInput.of(port, root, wrong, "write it to a table without")


def _listed(root: Path, table: Any) -> Files:
    import polars as pl

    adds = pl.DataFrame(table.get_add_actions(flatten=True))
    made = {path: _at(root, path) for path in adds["path"]}
    split = table.metadata().partition_columns
    parts = adds.select(pl.col(f"partition.{name}").alias(name) for name in split)
    values = {made[path]: row for path, row in zip(adds["path"], parts.rows(named=True), strict=True)} if split else {}
    return Files(sorted(made.values(), key=lambda p: p.parts), parts.schema, values, _deleted(table, made))


def _deleted(table: Any, made: Mapping[str, Path]) -> dict[Path, pl.Series]:
    """By file the numbers of the rows that its deletion vector marks; `made`: the files by their paths in the log."""
    import polars as pl

    found: dict[Path, pl.Series] = {}
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return found
    for uri, kept in pl.DataFrame(table.deletion_vectors()).iter_rows():
        path = made.get(uri.removeprefix(table.table_uri).lstrip("/"))
        if path is None:
            raise ValueError(f"its deletion vectors name {uri}, which is none of its files")
        found[path] = (~pl.Series(kept, dtype=pl.Boolean)).arg_true()
    return found


def _at(root: Path, path: str) -> Path:
    """The file of a log's entry, whose path is below the table's or, as in a clone, a whole one; both are escaped."""
    remote = as_remote(root) is not None
    if "://" in path or path.startswith("/"):
        return Remote(path) if remote else Path(unquote(urlsplit(path).path))  # type: ignore[return-value] # an address
    return root / unquote(path)
