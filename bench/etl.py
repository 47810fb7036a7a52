"""rapids_prepare and rapids_transform against other ways from the same raw trips to the same features.

Usage: python bench/etl.py [--rows 1,5,10] [--ways old,pandas,duckdb,ours] [--kinds csv,parquet] [--rounds 2]
  [--limit-s 1800] [--memory-mib N] [--folder FOLDER] [--out bench/etl.json] [--plot docs/etl.png]
Rows are in millions, half of them green and half yellow trips of 2016, generated. Each way is whole processes: `ours`
the two steps, one after the other, the rest what bench/etl_ways.py says. A B A B, medians; `old`, which reads CSV only
and takes long, once. Peak memory is the kernel's own mark (VmHWM: ru_maxrss would count this process too, which it was
forked from), and beside it the most anonymous memory (what no file backs), sampled. Every row of every way is compared
with ours: whole numbers exactly, float32 within a millionth. A way that is killed, or takes longer than the limit, is
recorded as that. Results are added to --out, so that sizes can be run one at a time. --memory-mib gives each process so
much memory of its own (RLIMIT_DATA: all that no file backs) and prints what becomes of it, for data larger than memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]
from etl_ways import FEATURES, SCHEMA_OF  # noqa: E402 - the paths come first
from generate_trips import chunks, write  # noqa: E402

WAYS = ("old", "pandas", "duckdb", "ours")


def inputs(folder: Path, millions: int, kind: str) -> dict[str, Path]:
    """Green and yellow trips, made where they are not there yet."""
    from runtime.rapids.schemas import FIELDS, SCHEMAS

    files = {}
    yellow, green = (SCHEMAS[SCHEMA_OF[name]] for name in ("yellow", "green"))
    renamed = {getattr(yellow, f): getattr(green, f) for f in FIELDS.values() if getattr(yellow, f)}
    for seed, name in enumerate(SCHEMA_OF):
        files[name] = folder / f"{millions}-{kind}" / f"{name}.{kind}"
        frames: Iterator[Any] = chunks("coordinates", millions * 500_000, seed)
        if not files[name].exists():
            made = files[name].with_suffix(".partial")
            write(made, frames if name == "yellow" else (f.rename(renamed, strict=False) for f in frames), kind)
            made.rename(files[name])
    return files


def watched(argv: list[str], given: argparse.Namespace, environment: dict[str, str], said: Path) -> dict[str, Any]:
    """Run a process: seconds, CPU seconds, peak RSS and anonymous memory in MiB; `failed`: why it has no result."""
    if given.memory_mib:
        argv = ["prlimit", f"--data={given.memory_mib << 20}", *argv]
    began, peak = time.monotonic(), {"VmHWM": 0, "RssAnon": 0}
    with said.open("wb") as errors:
        step = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
    while True:
        done, status, usage = os.wait4(step.pid, os.WNOHANG)
        if done:
            break
        for line in Path(f"/proc/{step.pid}/status").read_text().splitlines():
            key = line.partition(":")[0]
            if key in peak:
                peak[key] = max(peak[key], int(line.split()[1]))
        if time.monotonic() - began > given.limit_s:
            step.kill()
        time.sleep(0.005)
    took = time.monotonic() - began
    step.returncode = os.waitstatus_to_exitcode(status)
    figures: dict[str, Any] = {"s": took, "cpu_s": usage.ru_utime + usage.ru_stime}
    figures |= {"rss_mib": peak["VmHWM"] / 1024, "anon_mib": peak["RssAnon"] / 1024}
    if step.returncode == -signal.SIGKILL:
        return figures | {"failed": f"past {given.limit_s:.0f} s" if took > given.limit_s else "killed: out of memory"}
    text = said.read_text(errors="replace").strip()
    return figures | ({"failed": text.splitlines()[-1] if text else "failed"} if step.returncode else {})


def once(way: str, files: dict[str, Path], out: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One way from start to end."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    environment = {**os.environ, "NGCRUN_METRICS_FILE": str(out / "metrics.jsonl")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    if way != "ours":
        argv = [sys.executable, str(ROOT / "bench" / "etl_ways.py"), way, *map(str, files.values()), str(out)]
        return watched(argv, given, environment, out / "stderr")
    ports = {
        "prepare": [f"trips={files['green'].parent}", f"prepared={out / 'prepared'}"],
        "transform": [f"prepared={out / 'prepared'}", f"train={out / 'train'}", f"test={out / 'test'}"],
    }
    total: dict[str, Any] = {}
    for step, words in ports.items():
        argv = [sys.executable, "-m", f"runtime.rapids.{step}", "engine=cpu", *words]
        found = watched(argv, given, environment, out / "stderr")
        for key in ("s", "cpu_s"):
            total[key] = total.get(key, 0.0) + found[key]
            total[f"{step}_{key}"] = found[key]
        total |= {key: max(total.get(key, 0.0), found[key]) for key in ("rss_mib", "anon_mib")}
        if "failed" in found:
            return total | {"failed": found["failed"]}
    return total


def equal_rows(out: Path, ours: Path) -> int:
    """How many rows are the same in both parts; ends with the first that differs."""
    from runtime.metrics import Metrics
    from runtime.rapids.duckdb_check import compare

    rows = 0
    for part in ("train", "test"):
        file = next((out / part).glob("part-*"))
        source = f"read_{file.suffix[1:]}('{file}')"
        columns = ", ".join(f"{name}::FLOAT AS {name}" for name in (*FEATURES, "fare_usd"))
        sql = f"SELECT trip_id::BIGINT AS trip_id, {columns} FROM {source}"  # noqa: S608 - paths of ours
        rows = compare(sql, ours / part / "part-00000.parquet", Metrics([]), rows)
    return rows


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = {key for run in runs for key, value in run.items() if isinstance(value, float)}
    return {key: round(statistics.median(run[key] for run in runs if key in run), 2) for key in sorted(numbers)}


def measure(millions: int, kind: str, given: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """A record for each way."""
    files = inputs(folder, millions, kind)
    size = sum(path.stat().st_size for path in files.values())
    # The steps compared come first, so that there is something to compare with.
    ways = [way for way in ("ours", "duckdb", "pandas", "old") if way in given.ways and (way != "old" or kind == "csv")]
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    same: dict[str, int] = {}
    for number in range(given.rounds):
        for way in ways:
            if (way == "old" and number) or any("failed" in run for run in runs[way]):
                continue
            out = folder / "out" / way
            runs[way].append(once(way, files, out, given))
            print(f"{millions} M {kind} {way}: {json.dumps(runs[way][-1])}", flush=True)
            if number == 0 and "failed" not in runs[way][-1] and (folder / "out" / "ours" / "train").exists():
                same[way] = equal_rows(out, folder / "out" / "ours")
            if way != "ours":
                shutil.rmtree(out)
    for way in ways:
        failed = next((run["failed"] for run in runs[way] if "failed" in run), None)
        record = {"rows": millions * 1_000_000, "kind": kind, "way": way, "bytes": size, "rounds": len(runs[way])}
        yield record | median(runs[way]) | ({"failed": failed} if failed else {"equal_rows": same.get(way, 0)})


def table(records: list[dict[str, Any]]) -> str:
    """The records as Markdown."""
    head = "| million trips | of | way | s | CPU, s | rows/s | peak RSS, MiB | anonymous, MiB | times the old way |"
    lines = [head, "|" + "---|" * head.count(" | ") + "---|"]
    old = {r["rows"]: r["s"] for r in records if r["way"] == "old" and "failed" not in r}
    kinds = {"csv": "CSV", "parquet": "Parquet"}
    names = {"old": "the old way", "pandas": "pandas", "duckdb": "DuckDB", "ours": "ngcrun"}
    for r in sorted(records, key=lambda r: (r["rows"], r["kind"], WAYS.index(r["way"]))):
        begin = f"| {r['rows'] // 1_000_000} | {kinds[r['kind']]} | {names[r['way']]} |"
        if "failed" in r:
            lines.append(
                f"{begin} {r['failed']} after {r['s']:.0f} | | | {r['rss_mib']:,.0f} | {r['anon_mib']:,.0f} | |"
            )
            continue
        times = f"{old[r['rows']] / r['s']:.1f}" if r["rows"] in old else ""
        lines.append(
            f"{begin} {r['s']:.2f} | {r['cpu_s']:.2f} | {r['rows'] / r['s']:,.0f} | {r['rss_mib']:,.0f} "
            f"| {r['anon_mib']:,.0f} | {times} |"
        )
    return "\n".join(lines)


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """CPU seconds, which other work on the machine changes least, and peak anonymous memory, against rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for way, colour in zip(WAYS, ("tab:red", "tab:orange", "tab:blue", "tab:green"), strict=True):
        for kind, style in (("csv", "--"), ("parquet", "-")):
            found = [r for r in records if (r["way"], r["kind"]) == (way, kind) and "failed" not in r]
            rows = [(r["rows"] / 1e6, r) for r in found]
            if rows:
                label = f"{'ngcrun' if way == 'ours' else way}, {kind}"
                how = {"color": colour, "linestyle": style, "marker": ".", "label": label}
                axes[0].plot([x for x, _ in rows], [r["cpu_s"] for _, r in rows], **how)
                axes[1].plot([x for x, _ in rows], [r["anon_mib"] for _, r in rows], **how)
    for axis, label in zip(axes, ("CPU seconds", "peak anonymous memory, MiB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="million trips", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: [int(part) for part in text.split(",")], default=[1, 5, 10])
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=["csv", "parquet"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit-s", type=float, default=1800)
    parser.add_argument("--memory-mib", type=int)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "etl.json")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    records = json.loads(given.out.read_text()) if given.out.is_file() and not given.memory_mib else []
    with tempfile.TemporaryDirectory() as made:
        for millions in given.rows:
            for kind in given.kinds:
                for record in measure(millions, kind, given, given.folder or Path(made)):
                    key = (record["rows"], record["kind"], record["way"])
                    records = [r for r in records if (r["rows"], r["kind"], r["way"]) != key] + [record]
                    records.sort(key=lambda r: (r["rows"], r["kind"], WAYS.index(r["way"])))
                    if not given.memory_mib:
                        given.out.write_text(json.dumps(records, indent=1) + "\n")
    print(table(records))
    if given.plot:
        plot(records, given.plot)


if __name__ == "__main__":
    main()
