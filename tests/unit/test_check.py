"""`ngcrun check`: a corpus of faults, one file each with the finding it must give, and files that must give none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import images
from runtime.check import formats, machine
from runtime.check.rules import RULES
from runtime.check.whole import Report, check
from runtime.errors import BadInput

ROOT = Path(__file__).parents[2]
FAULTS = sorted(Path("tests/data/check/faults").glob("*/*.yaml")) or sorted(
    ROOT.glob("tests/data/check/faults/*/*.yaml")
)
CASES = [path.relative_to(ROOT) if path.is_absolute() else path for path in FAULTS]
RIGHT = ROOT / "tests/data/check/right"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def told(report: Report, path: Path) -> list[str]:
    """The findings of one file, without its name."""
    return [f.text().removeprefix(f"{path}:").replace(": ", " ", 1) for f in report.findings if f.path == str(path)]


def run(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "runtime", "check", *words]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_every_rule_has_a_fault_in_the_corpus() -> None:
    assert {path.parent.name for path in CASES} == set(RULES)
    assert len(CASES) >= 120


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_fault_gives_its_finding_and_no_other(path: Path) -> None:
    expected = re.findall(r"^# expect: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert told(check([path]), path) == expected
    assert [line for line in expected if f"[{path.parent.name}]" in line], "the finding is of the folder's rule"


def test_right_files_give_nothing() -> None:
    report = check([RIGHT])
    assert report.files >= 10
    assert [f.text() for f in report.findings if f.severity != "note"] == []
    assert [f.place for f in report.findings] == ["jobs.elsewhere.component", "jobs.clean.type"]


def test_our_own_specs_give_nothing() -> None:
    report = check([ROOT / "component_specs", ROOT / "containers"])
    assert report.files >= 70
    assert [f.text() for f in report.findings if f.severity != "note"] == []


def test_the_last_line_counts_and_the_exit_status_says_whether_there_are_errors() -> None:
    done = run("tests/data/check/faults/bad-literal/enum.yaml")
    assert done.returncode == 2, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith(
        "tests/data/check/faults/bad-literal/enum.yaml:10:18: error[bad-literal]: jobs.train.inputs.optimizer='adamw'"
    )
    assert re.fullmatch(r"1 error, 0 warnings in 2 files \(\d+\.\d\d s\)", last)


def test_warnings_alone_end_well_unless_they_are_to_count() -> None:
    path = "tests/data/check/faults/unused-input/component.yaml"
    assert run(path).returncode == 0
    assert run(path, "--strict").returncode == 2


def test_what_was_not_looked_into_is_counted_and_shown_when_asked_for() -> None:
    path = "tests/data/check/faults/not-looked-into/spark.yaml"
    assert "0 errors, 0 warnings, 1 note (--notes shows them) in 1 file (" in run(path).stdout
    assert "note[not-looked-into]: jobs.wash.type='spark'" in run(path, "--notes").stdout


def test_a_comment_silences_the_rules_that_it_names_on_its_line(tmp_path: Path) -> None:
    text = (ROOT / "tests/data/check/faults/unused-input/component.yaml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("  seed:"))
    path = tmp_path / "component.yaml"
    path.write_text(text.replace(line, f"{line}  # ngcrun: ignore[bad-name, unused-input] kept for old callers"))
    assert check([path]).findings == ()
    path.write_text(text.replace(line, f"{line}  # ngcrun: ignore[bad-name]"))
    assert [f.rule for f in check([path]).findings] == ["unused-input"]


def test_json_has_what_the_docs_say() -> None:
    done = run("tests/data/check/faults/bad-literal/enum.yaml", "--format", "json")
    report = json.loads(done.stdout)
    assert set(report) == {"version", "findings", "counts", "files", "skipped", "seconds"}
    assert report["version"] == 1
    assert report["counts"] == {"errors": 1, "warnings": 0, "notes": 0}
    assert report["findings"] == [
        {
            "rule": "bad-literal", "severity": "error", "path": "tests/data/check/faults/bad-literal/enum.yaml", "line": 10,
            "column": 18, "place": "jobs.train.inputs.optimizer",
            "message": "jobs.train.inputs.optimizer='adamw': is not a choice", "hint": "did you mean 'adam'? known: adam, sgd",
        }
    ]  # fmt: skip
    page = (ROOT / "docs/check.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in (*report, *report["findings"][0]))


def test_sarif_has_what_code_scanning_needs(tmp_path: Path) -> None:
    report = tmp_path / "report.sarif"
    done = run("tests/data/check/faults", "--format", "sarif", "--output", str(report))
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.match(r"\d+ errors, \d+ warnings, \d+ notes in \d+ files", done.stderr)
    data = json.loads(report.read_text())
    assert (data["version"], len(data["runs"])) == ("2.1.0", 1)
    assert data["$schema"].endswith("sarif-schema-2.1.0.json")
    driver = data["runs"][0]["tool"]["driver"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert set(ids) == set(RULES)
    results = data["runs"][0]["results"]
    assert len(results) >= 100
    for result in results:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert (ROOT / place["artifactLocation"]["uri"]).is_file()
        assert min(place["region"]["startLine"], place["region"]["startColumn"]) >= 1
        assert result["message"]["text"]


def test_a_map_leads_from_a_registry_to_files_here(tmp_path: Path) -> None:
    reference = "azureml://registries/theirs/components/wash/versions/1"
    (tmp_path / "map.yaml").write_text(f"{reference}: ./wash.yaml\n")
    score = (ROOT / "tests/data/check/parts/score.yaml").read_text(encoding="utf-8")
    (tmp_path / "wash.yaml").write_text(score.replace("name: score", "name: wash"))
    done = run("tests/data/check/faults/not-looked-into/registry.yaml", "--map", str(tmp_path / "map.yaml"))
    assert done.returncode == 2
    assert "error[missing-input]: jobs.wash.inputs.model: is required and not bound" in done.stdout
    (tmp_path / "wash.yaml").unlink()
    gone = run("tests/data/check/faults/not-looked-into/registry.yaml", "--map", str(tmp_path / "map.yaml"))
    assert gone.returncode == 2
    assert "'./wash.yaml': does not exist; name a file or folder, counted from the map file" in gone.stderr


def test_clusters_and_environments_of_the_tree_say_which_gpu_meets_which_image(tmp_path: Path) -> None:
    schema = "$schema: https://azuremlschemas.azureedge.net/latest/{}.schema.json\n"
    (tmp_path / "cluster.yaml").write_text(schema.format("amlCompute") + "name: big\nsize: Standard_NC40ads_H100_v5\n")
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "Dockerfile").write_text(
        "FROM docker.io/library/python AS x\nFROM example.com/a-cuda11.3:1\n"
    )
    (tmp_path / "environment.yaml").write_text(
        schema.format("environment") + 'name: old\nversion: "1"\nbuild: {path: ./image}\n'
    )
    (tmp_path / "job.yaml").write_text(
        schema.format("pipelineJob") + "type: pipeline\ninputs: {where: big}\n"
        "settings: {default_compute: azureml:small}\njobs:\n"
        "  a: {command: run, environment: azureml:old:1, compute: 'azureml:${{parent.inputs.where}}'}\n"
        "  b: {command: run, environment: azureml:old:1, compute: '${{parent.inputs.where}}'}\n"
        "  c: {command: run, environment: azureml:new:1, compute: azureml:big}\n"
        "  d: {command: run, environment: azureml:old@latest}\n"
    )
    (tmp_path / "map.yaml").write_text("azureml:new:1: {image: example.com/new-cuda10.2}\n")
    found = check([tmp_path], tmp_path / "map.yaml").findings
    assert [(f.rule, f.place) for f in found] == [
        ("image-on-size", "jobs.b.compute"),
        ("image-on-size", "jobs.c.compute"),
    ]
    assert "which CUDA 11.3 of example.com/a-cuda11.3:1 does not know yet" in found[0].message


def test_a_gpu_whose_drivers_have_ended_cannot_run_an_image_that_needs_a_later_one() -> None:
    needs = machine.Needs("example.com/new:1", driver="590")
    assert machine.cannot("Standard_NC6s_v3", needs) == (
        "has the V100 (compute capability 7.0), whose last driver is 580, and example.com/new:1 needs 590 or newer",
        "choose another size (see `ngcrun azureml compute sizes`)",
    )
    assert machine.cannot("Standard_NC6s_v3", machine.Needs("example.com/new:1", driver="580")) is None


def test_the_images_that_we_know_are_known_outside_of_a_checkout_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = images.known()
    monkeypatch.setattr(images, "checkout", lambda: None)
    assert images.known().keys() == here.keys()


def test_a_component_of_the_tree_stands_for_a_reference_by_name_and_version(tmp_path: Path) -> None:
    for name in ("score.yaml", "train.yaml"):
        text = (ROOT / "tests/data/check/parts" / name).read_text(encoding="utf-8").replace("code: ./code\n", "")
        (tmp_path / name).write_text(text)
    pipeline = (ROOT / "tests/data/check/faults/not-looked-into/registry.yaml").read_text(encoding="utf-8")
    (tmp_path / "pipeline.yaml").write_text(
        pipeline.replace("components/wash/versions/1", "components/score/versions/2")
    )
    assert [f.place for f in check([tmp_path]).findings] == ["jobs.wash.inputs.model"]


def test_a_file_that_is_not_there_is_an_error_of_ours() -> None:
    with pytest.raises(BadInput, match="file='nowhere': does not exist; name a YAML file or a folder"):
        check([Path("nowhere")])


def test_a_named_file_of_another_kind_is_skipped_as_a_commit_hook_needs_it(tmp_path: Path) -> None:
    for name, text in {
        "k8s.yaml": "a: 1\n---\nb: 2\n",
        "helm.yaml": "a: {{ .Values.x }}\n",
        "list.yml": "- 1\n",
    }.items():
        (tmp_path / name).write_text(text)
    done = run(*map(str, sorted(tmp_path.iterdir())))
    assert done.returncode == 0
    assert done.stdout.startswith("0 errors, 0 warnings in 0 files, 3 other YAML files skipped")
    (tmp_path / "list.yml").chmod(0)
    if os.geteuid():
        with pytest.raises(BadInput, match=r"cannot be read \(permission denied\); make it readable to you"):
            check([tmp_path / "list.yml"])


def test_the_check_imports_neither_azure_nor_anything_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from runtime.check.whole import check; check([Path('component_specs')]);"
        "print([m for m in ('azure', 'hydra', 'omegaconf', 'mlflow', 'rich', 'numpy', 'yaml') if m in sys.modules])"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['yaml']"


def test_a_tree_of_fifty_components_is_checked_whole(tmp_path: Path) -> None:  # how fast: bench/check.py
    text = (RIGHT / "everything.yaml").read_text(encoding="utf-8")
    text = text.replace("../parts", str(ROOT / "tests/data/check/parts"))
    for number in range(50):
        (tmp_path / f"c{number}.yaml").write_text(text.replace("name: everything", f"name: everything_{number}"))
    assert "0 errors, 0 warnings in 50 files" in run(str(tmp_path)).stdout


def test_the_rules_are_listed_and_on_the_page() -> None:
    listed = [line.split()[0] for line in run("--rules").stdout.splitlines()]
    assert listed == list(RULES)
    page = (ROOT / "docs/check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning|note) \|", page, re.MULTILINE)
    assert rows == [(rule.id, rule.severity) for rule in RULES.values()]


def test_a_summary_is_written_as_people_count() -> None:
    assert formats.summary(Report((), 1, 0), 0.314) == "0 errors, 0 warnings in 1 file (0.31 s)"
    assert (
        formats.summary(Report((), 2, 3), 0.3) == "0 errors, 0 warnings in 2 files, 3 other YAML files skipped (0.30 s)"
    )


def test_names_that_no_screen_can_show_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.yaml")
    path.write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json\nname: a\n"
        'command: run\nenvironment: azureml:a:1\n"gp\\nu\\e": 1\n'
    )
    done = run(str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    assert "caf\\udce9.yaml:5:1: warning[unknown-key]: gp\\nu\\x1b=1" in done.stdout
