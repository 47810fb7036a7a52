"""Any table to float32 features and a target by a recipe in YAML, split into a training and a held-out part."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, Problem, nearest
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import engine as engines
from runtime.rapids import sources, tables
from runtime.rapids.features import write_features
from runtime.rapids.schemas import ROW_ID
from runtime.rapids.transform import PART, in_share

if TYPE_CHECKING:
    import polars as pl

    from runtime.local.document import Document
    from runtime.rapids.partitions import Files

SECTIONS = ("target", "features", "filters")
TARGET_KEYS = ("name", "value", "unit")
MOST_CATEGORIES = 1000
_REASON = "__reason"


@dataclass(kw_only=True)
class Ports:
    """Make features of any Parquet table by a recipe: filters, features and the target as SQL, and text as categories.

    The split depends on the row_id alone, so it is the same on every engine.
    """

    data: Annotated[Path, Input("Parquet dataset, such as rapids_validate accepted", remote=True)]
    recipe: Annotated[Path, Input("YAML file: target, features and filters", type="uri_file")]
    test_share: Annotated[float, Param("Share of the rows that is held out", minimum=0.001, maximum=0.9)] = 0.2
    seed: Annotated[int, Param("Which rows are held out", minimum=0, maximum=1_000_000)] = 0
    engine: Annotated[str, Param("Where the queries run", choices=engines.CHOICES)] = "auto"
    train: Annotated[Path, Output("Parquet dataset with row_id, features and target, and features.json")]
    test: Annotated[Path, Output("The held-out part, laid out the same")]


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read: expressions by name; `categories` are features that number the texts of a column."""

    target: dict[str, str]
    value: pl.Expr
    features: Mapping[str, pl.Expr]
    categories: Mapping[str, str]
    filters: Mapping[str, pl.Expr]
    texts: Mapping[str, str]

    def columns(self) -> list[str]:
        """The columns of the table that its features are made of, sorted."""
        found = {root for made in self.features.values() for root in made.meta.root_names()}
        return sorted(found | set(self.categories.values()))


@component(name="rapids_recipe", version="1", image="rapids")
def recipe(ports: Ports, metrics: Metrics) -> None:
    """Write `part-00000.parquet` and `features.json` into `train` and `test`; log the rows by reason.

    Raises:
        BadInput: for mistakes in the recipe, each with its line, or when no row is left.
    """
    engine = engines.Engine.of(ports.engine, metrics, ports.data)
    files = tables.with_partitions("data", ports.data, (".parquet",))
    sources.log(metrics, "data", ports.data, files.files)
    with tables.reading("data", ports.data):
        schema = files.scan().collect_schema()
        made = read(ports.recipe, schema)
        rows = _rows(files, schema, made)
        found = _categories(engine, rows, made, ports)
        counts = _write(engine, rows, made, found, ports)
    metrics.log(counts)
    _require_rows(ports, counts)
    for folder, part in ((ports.train, "train"), (ports.test, "test")):
        write_features(
            folder, [*made.features, *made.categories], target=made.target, id=ROW_ID, part=part,
            rows=counts[f"rows_{part}"], expressions=dict(made.texts), categories=found,
            category_columns=dict(made.categories), column_types={name: str(schema[name]) for name in made.columns()},
        )  # fmt: skip
    metrics.log({"features": len(made.features) + len(made.categories)})


def read(path: Path, schema: Mapping[str, Any]) -> Recipe:
    """The recipe in a file, for a table with these columns; raises `BadInput` with all mistakes, each with its line."""
    from runtime.local.document import load
    from runtime.rapids import expressions

    doc = load(path)
    problems = [
        doc.problem((key,), doc.data[key], "is no part of a recipe", nearest(key, SECTIONS))
        for key in doc.data
        if key not in SECTIONS
    ]
    target, given = doc.data.get("target"), doc.data.get("features")
    if not isinstance(target, dict) or not target.get("name") or set(target) - set(TARGET_KEYS):
        todo = "write target: {name: NAME, value: SQL, unit: UNIT}, where value and unit may be left out"
        problems.append(doc.problem(("target",), target, "is no target", todo))
    if not isinstance(given, dict) or not given:
        problems.append(doc.problem(("features",), given, "names no feature", "write `NAME: SQL`"))
    if not isinstance(target, dict) or not isinstance(given, dict) or problems:
        raise BadInput(problems)
    said = {"name": str(target["name"]), "unit": str(target.get("unit", ""))}
    place = ("target", "value") if "value" in target else ("target", "name")
    value = _numbers(doc, place, {"value": target.get("value", f'"{said["name"]}"')}, schema, problems, whole=place)
    problems += [
        doc.problem(("features", name), None, what, "give it another name")
        for name, what in ((said["name"], "is the target"), (ROW_ID, "is the number of the row"))
        if name in given
    ]
    texts = {str(k): v for k, v in given.items() if not isinstance(v, dict)}
    features = _numbers(doc, ("features",), texts, schema, problems)
    categories = dict(_category(doc, str(k), v, schema, problems) for k, v in given.items() if isinstance(v, dict))
    filters = expressions.yes_or_no(doc, "filters", schema, problems)
    if problems:
        raise BadInput(problems)
    return Recipe(said, value["value"], features, categories, filters, {k: str(v) for k, v in texts.items()})


def _numbers(  # noqa: PLR0913 - what an expression is read with
    doc: Document, place: tuple[str, ...], texts: Mapping[str, Any], schema: Mapping[str, Any],
    problems: list[Problem], *, whole: tuple[str, ...] | None = None,
) -> dict[str, pl.Expr]:  # fmt: skip
    """Expressions that give numbers, as float32; `whole`: the place of all where they have none of their own."""
    import polars as pl

    from runtime.rapids import expressions

    found = {}
    for name, text in texts.items():
        at = whole or (*place, name)
        made = expressions.at(doc, at, text, schema)
        if isinstance(made, Problem):
            problems.append(made)
        elif not (made[1].is_numeric() or made[1] == pl.Boolean):
            todo = (
                "write {categories: COLUMN} to number the values of a text"
                if made[1] == pl.String
                else "make it a number"
            )
            problems.append(doc.problem(at, text, f"gives {made[1]} and no number", todo))
        else:
            found[name] = expressions.as_feature(made[0])
    return found


def _category(
    doc: Document, name: str, row: Mapping[str, Any], schema: Mapping[str, Any], problems: list[Problem]
) -> tuple[str, str]:
    import polars as pl

    column = str(row.get("categories", ""))
    if set(row) != {"categories"} or column not in schema:
        todo = nearest(column, schema) if "categories" in row else "write {categories: COLUMN}"
        problems.append(doc.problem(("features", name), column or str(dict(row)), "is no column of the table", todo))
    elif schema[column] != pl.String:
        problems.append(doc.problem(("features", name), column, f"is {schema[column]} and no text", "write it as SQL"))
    return name, column


# --- the table --------------------------------------------------------------------------------------------------------


def _rows(files: Files, schema: Mapping[str, Any], made: Recipe) -> pl.LazyFrame:
    """Each row with its features, its target, the texts to number, and the filter that it fails (or null).

    A row is dropped where a filter does not hold or is null, and where the target is missing or no finite number.
    """
    import polars as pl

    table = files.scan(None if ROW_ID in schema else ROW_ID)
    fails = [~test.fill_null(value=False) for test in made.filters.values()]
    fails.append(made.value.is_null() | ~made.value.is_finite())
    return table.select(
        pl.col(ROW_ID).cast(pl.Int64),
        *[expression.alias(name) for name, expression in made.features.items()],
        *[pl.col(column).alias(name) for name, column in made.categories.items()],
        made.value.alias(made.target["name"]),
        tables.first_of(fails).alias(_REASON),
    )


def _categories(engine: engines.Engine, rows: pl.LazyFrame, made: Recipe, ports: Ports) -> dict[str, list[str]]:
    """The values of each column of texts in the training part, sorted: a feature is a value's place among them."""
    import polars as pl

    found = {}
    held_out = in_share(ports.test_share, ports.seed, column=ROW_ID)
    for name, column in made.categories.items():
        kept = rows.filter(pl.col(_REASON).is_null() & ~held_out & pl.col(name).is_not_null())
        values = engine.collect(kept.select(pl.col(name)).unique().head(MOST_CATEGORIES + 1))[name].sort().to_list()
        if len(values) > MOST_CATEGORIES:
            wrong = f"has more than {MOST_CATEGORIES} values, for the feature {name}"
            raise BadInput.of("recipe", column, wrong, "group them by SQL, such as SUBSTR(name, 1, 2)")
        found[name] = values
    return found


def _write(
    engine: engines.Engine, rows: pl.LazyFrame, made: Recipe, found: Mapping[str, list[str]], ports: Ports
) -> dict[str, int]:
    """Write both parts; rows read, kept, in each part, and dropped by filter (those that occurred)."""
    import polars as pl

    from runtime.rapids import expressions

    numbered = [expressions.numbered(name, values) for name, values in found.items()]
    names = [ROW_ID, *made.features, *made.categories, made.target["name"]]
    query = rows.with_columns(*numbered)
    kept, held_out = pl.col(_REASON).is_null(), in_share(ports.test_share, ports.seed, column=ROW_ID)
    outputs = {
        ports.train / PART: query.filter(kept & ~held_out).select(names),
        ports.test / PART: query.filter(kept & held_out).select(names),
    }
    reasons = [*made.filters, "no_target"]
    summary = query.select(
        pl.len().alias("rows_read"), kept.sum().alias("rows_kept"),
        (kept & ~held_out).sum().alias("rows_train"), (kept & held_out).sum().alias("rows_test"),
        *[(pl.col(_REASON) == i).sum().alias(f"rows_dropped_{reason}") for i, reason in enumerate(reasons)],
    )  # fmt: skip
    row = engine.write(outputs, summary).row(0, named=True)
    return {key: n for key, n in row.items() if n or "dropped" not in key}


def _require_rows(ports: Ports, counts: Mapping[str, int]) -> None:
    if not counts["rows_kept"]:
        reasons = ", ".join(f"{k.removeprefix('rows_dropped_')} {n}" for k, n in counts.items() if "dropped" in k)
        wrong = f"leaves none of {counts['rows_read']} rows ({reasons or 'the table is empty'})"
        raise BadInput.of("recipe", ports.recipe, wrong, "widen its filters")
    for part in ("train", "test"):
        if not counts[f"rows_{part}"]:
            wrong = f"leaves no row in {part} of the {counts['rows_kept']} kept"
            raise BadInput.of("test_share", ports.test_share, wrong, "give more rows or another share")


if __name__ == "__main__":
    sys.exit(main(recipe))
