"""`ngcrun check` on 50 components as whole processes, beside azure-ai-ml's load and `_validate()` on the same files.

`python bench/check.py [--rounds N]`, with NGCRUN_AZURE_PYTHON (`nox -s bench` sets it). Then how many of the faults of
tests/data/check/faults each of the two finds.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAULTS = ROOT / "tests" / "data" / "check" / "faults"


def fifty(folder: Path) -> list[str]:
    """Fifty components: our own specs, each under several names."""
    ours = [p for p in sorted((ROOT / "component_specs").glob("*/*.yaml")) if "commandComponent" in p.read_text()]
    for number in range(50):
        source = ours[number % len(ours)]
        text = re.sub(r"^name: (\w+)", rf"name: \1_{number}", source.read_text(encoding="utf-8"), flags=re.MULTILINE)
        text = re.sub(
            r"^code: (.*)", lambda m, here=source: f"code: {(here.parent / m[1]).resolve()}", text, flags=re.M
        )
        (folder / f"{number}.yaml").write_text(text, encoding="utf-8")
    return sorted(map(str, folder.glob("*.yaml")))


def seconds(argv: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return time.perf_counter() - began


def corpus(ours: list[str], theirs: list[str] | None) -> list[str]:
    """How many of the faulty files each of the two says something of; each file names the finding it must give."""
    files = sorted(str(path.relative_to(ROOT)) for path in FAULTS.glob("*/*.yaml"))
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    found = json.loads(
        subprocess.run([*ours, "--format", "json", *files], cwd=ROOT, env=env, capture_output=True, check=False).stdout
    )
    ours_found = {finding["path"] for finding in found["findings"] if finding["severity"] != "note"}
    theirs_found = set()
    if theirs:
        done = subprocess.run([*theirs, *files], cwd=ROOT, env=env, capture_output=True, check=True)
        theirs_found = {path for path, why in json.loads(done.stdout.splitlines()[-1]).items() if why}
    lines = []
    for severity in ("error", "warning"):
        of = {path for path in files if f" {severity}[" in (ROOT / path).read_text(encoding="utf-8").partition("\n")[0]}
        lines.append(f"| {severity}s | {len(of)} | {len(of & ours_found)} | {len(of & theirs_found)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds, python = parser.parse_args().rounds, os.environ.get("NGCRUN_AZURE_PYTHON")
    ours = [sys.executable, "-m", "runtime", "check"]
    theirs = [python, str(ROOT / "bench" / "check_sdk.py")] if python else None
    with tempfile.TemporaryDirectory() as folder:
        files = fifty(Path(folder))
        ways = {"ngcrun check": [*ours, folder]}
        if theirs:
            ways["azure-ai-ml 1.35.2, load and _validate"] = [*theirs, *files]
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, argv in ways.items():
                took[name].append(seconds(argv))
    print("| 50 components, whole process | median, s | slowest, s |\n|---|---|---|")
    for name, times in took.items():
        print(f"| {name} | {statistics.median(times):.2f} | {max(times):.2f} |")
    print("\n| the corpus, by what a file must give | files | ngcrun check | azure-ai-ml |\n|---|---|---|---|")
    print("\n".join(corpus(ours, theirs)))


if __name__ == "__main__":
    main()
