"""SQL in a user's YAML: what each row has by itself, in types that hold it, and nothing else."""

import datetime as dt

import polars as pl
import pytest

from runtime.rapids.expressions import Wrong, parse

TABLE = pl.DataFrame(
    {
        "a": [1, 2],
        "b": [1.5, None],
        "text": ["AA", "B"],
        "at": [dt.datetime(2013, 1, 6, 23, 59, 1)] * 2,
        "Len": [5, 6],
    }
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a + 1", [2, 3]),
        ("a IN (1, 5) OR text = 'B'", [True, True]),
        ("text LIKE 'A%'", [True, False]),
        ("CASE WHEN a > 1 THEN 10 ELSE 20 END", [20, 10]),
        ("EXTRACT(HOUR FROM at) * 60 + EXTRACT(MINUTE FROM at)", [1439, 1439]),  # 8 bits would not hold it
        ("LENGTH(text) - 10", [-8, -9]),  # a length has no sign
        ("CASE text WHEN 'AA' THEN 100000 ELSE 0 END * 100000", [10**10, 0]),
        ("EXTRACT(DOW FROM at)", [0, 0]),
        ("COALESCE(b, 0)", [1.5, 0.0]),
        ('"Len" + 1', [6, 7]),
        ("1", [1, 1]),
    ],
)
def test_a_value_for_each_row(text, values):
    expression, kind = parse(text, TABLE.schema)
    found = TABLE.select("a", expression.alias("found"))["found"]
    assert found.to_list() == values
    assert found.dtype == kind


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a - AVG(a)", "is not of each row by itself"),
        ("COUNT(*)", "is not of each row by itself"),
        ("a - LAG(a) OVER (ORDER BY a)", "is not of each row by itself"),
        ("(SELECT 1)", "is not of each row by itself"),
        ("gone > 1", 'unable to find column "gone"'),
        ("a; DROP TABLE x", "invalid expression"),
        ("read_csv('/etc/passwd')", "unsupported function 'read_csv'"),
        ("__import__('os')", "unsupported function '__import__'"),
        ("a AND b", "not supported for dtype"),
        ("a >", "unable to parse"),
        (5, "is no expression"),
        (None, "is no expression"),
    ],
)
def test_anything_else_is_refused(text, wrong):
    with pytest.raises(Wrong) as error:
        parse(text, TABLE.schema)
    assert wrong in error.value.wrong
    assert error.value.todo
