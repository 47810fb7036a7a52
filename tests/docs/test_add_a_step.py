"""CONTRIBUTING.md's "Add a step", followed literally on a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
STEP = '''"""Count the rows of a Parquet file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Input, Output, Param, component
from runtime.execute import main
from runtime.metrics import Metrics


@dataclass(kw_only=True)
class Ports:
    """Count the rows of a Parquet file."""

    table: Annotated[Path, Input("A Parquet file", type="uri_file")]
    at_least: Annotated[int, Param("Rows that are expected", minimum=0)] = 0
    counted: Annotated[Path, Output("Text file with the count", type="uri_file")]


@component(name="rapids_count", version="1", image="rapids")
def count(ports: Ports, metrics: Metrics) -> None:
    """Write the number of rows."""
    import polars as pl

    rows = pl.scan_parquet(ports.table).select(pl.len()).collect().item()
    metrics.log({"rows": rows})
    ports.counted.write_text(str(rows))


if __name__ == "__main__":
    sys.exit(main(count))
'''


def test_a_new_step_takes_one_file_and_one_command(tmp_path: Path) -> None:
    for name in ("runtime", "component_specs", "containers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)

    def ngcrun(*words: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PYTHONPATH": str(tmp_path)}
        argv = [sys.executable, "-m", "runtime", *words]
        return subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    (tmp_path / "runtime" / "rapids" / "count.py").write_text(STEP)
    assert ngcrun("specs", "--check").returncode == 2
    done = ngcrun("specs")
    assert done.stdout.splitlines()[:2] == ["wrote component_specs/rapids/rapids_count.yaml", "wrote README.md"]
    assert ngcrun("specs", "--check").returncode == 0
    spec = yaml.safe_load((tmp_path / "component_specs" / "rapids" / "rapids_count.yaml").read_text())
    assert spec["inputs"]["at_least"] == {
        "type": "integer",
        "min": 0,
        "default": 0,
        "description": "Rows that are expected",
    }
    assert (
        "| [`rapids_count`](component_specs/rapids/rapids_count.yaml) | Count the rows"
        in (tmp_path / "README.md").read_text()
    )
    table = ROOT / "tests" / "data" / "taxi" / "green_2016.parquet"
    done = ngcrun("run", "rapids_count", f"table={table}", "counted=rows.txt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rows.txt").read_text() == "5000"
    done = ngcrun("run", "rapids_count", "tabel=x")
    assert (
        done.stderr == "rapids_count: tabel='x': is not a port; did you mean 'table'? known: at_least, counted, table\n"
    )
