"""Whatever is in a file, `ngcrun check` says what is wrong with it, and never fails itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.check.formats import as_json, sarif, text
from runtime.check.whole import Report, check

ROOT = Path(__file__).parents[2]
SOURCES = [
    *sorted((ROOT / "tests/data/check/right").glob("*.yaml")),
    *sorted((ROOT / "tests/data/check/parts").glob("*.yaml")),
]
SCHEMA = "$schema: https://azuremlschemas.azureedge.net/latest/{kind}.schema.json\n"
KINDS = ["commandComponent", "pipelineComponent", "commandJob", "pipelineJob", "sweepJob", "environment", "model", "data",
         "amlCompute", "managedOnlineDeployment", "managedOnlineEndpoint"]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(
        ["${{parent.inputs.x}}", "${{parent.jobs.a.outputs.b}}", "${{inputs.x}}", "<x>", "{{x}}", "./x.yaml", "azureml:a:1", "${{", "$[[", "python x.py --y"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["inputs", "outputs", "jobs", "a", "x", "component", "command", "code", "type", "trial", "environment", "path", "name", "version", "default", "enum", "min", "resources", "instance_type", "build", "settings", "search_space", "1"]
    ) | st.integers(0, 2), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


def survives(path: Path) -> Report:
    report = check([path])
    assert len(text(report, 0.0, notes=True).splitlines()) == len(report.findings) + 1
    as_json(report, 0.0)
    sarif(report)
    return report


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), data=st.dictionaries(st.sampled_from(
    ["inputs", "outputs", "jobs", "command", "code", "name", "version", "type", "environment", "settings", "trial", "search_space", "compute", "resources", "path", "model", "code_configuration", "instance_type", "size"]
), VALUES, max_size=8))  # fmt: skip
def test_any_shape_of_a_file_is_survived(tmp_path: Path, kind: str, data: dict[str, object]) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(
        SCHEMA.format(kind=kind) + yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="replace"
    )
    survives(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=st.sampled_from(SOURCES), seed=st.integers(0, 2**32))
def test_a_right_file_with_some_lines_lost_moved_or_changed_is_survived(
    tmp_path: Path, source: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    lines = source.read_text(encoding="utf-8").splitlines()
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(chance.randrange(len(lines)), lines[at])
            case 2:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case 3:
                lines[at] = chance.choice(["  ", "\t", "- ", "? ", "&a ", "*a", "\ufeff"]) + lines[at]
            case _:
                lines[at] = lines[at].replace(chance.choice("aeio:{}[]\"'$"), chance.choice("aeio:{}[]\"'$\x85\u2028"))
        lines = lines or [""]
    path = tmp_path / "changed.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    survives(path)


GARBAGE = {
    "nothing": b"",
    "binary": bytes(range(256)) * 20,
    "utf-16": "\ufeffname: x".encode("utf-16"),
    "latin": SCHEMA.format(kind="data").encode() + "name: caf\xe9".encode("latin-1"),
    "a list": b"[1, 2, 3]",
    "a text": b"hello",
    "null bytes": SCHEMA.format(kind="data").encode() + b"name: a\x00b",
    "tabs": SCHEMA.format(kind="data").encode() + b"inputs:\n\ta: 1\n",
    "deep brackets": SCHEMA.format(kind="data").encode() + b"a: " + b"[" * 100_000,
    "deep dashes": SCHEMA.format(kind="data").encode() + b"a:\n " + b"- " * 50_000,
    "deep indents": SCHEMA.format(kind="data").encode() + b"".join(b" " * n + b"a:\n" for n in range(2000)),
    "many laughs": SCHEMA.format(kind="data").encode() + b"a0: &a0 [x, x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)
    ),
    "itself": SCHEMA.format(kind="pipelineJob").encode() + b"jobs: &j\n  a: *j\n",
    "a bad date": SCHEMA.format(kind="data").encode() + b"version: 2020-13-45\n",
    "a big number": SCHEMA.format(kind="data").encode() + b"version: " + b"9" * 5000 + b"\n",
    "a foreign tag": SCHEMA.format(kind="data").encode() + b"name: !!python/object:os.system x\n",
    "keys that are no text": SCHEMA.format(kind="pipelineJob").encode() + b"1: 2\nnull: 3\n[a, b]: 4\njobs: {1: {inputs: {2: 3}}}\n",
    "infinite": SCHEMA.format(kind="commandComponent").encode() + b"inputs: {a: {type: number, min: .inf, max: .nan, default: .nan}}\n",
    "long lines": SCHEMA.format(kind="commandComponent").encode() + b"command: " + b"${{inputs.x}} " * 5000 + b"\n",
}  # fmt: skip


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_survived(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.yaml"
    path.write_bytes(content)
    survives(path)
    assert check([tmp_path]).files <= 1


def test_a_huge_file_in_a_folder_is_skipped_at_once(tmp_path: Path) -> None:
    (tmp_path / "huge.yaml").write_bytes(SCHEMA.format(kind="data").encode() + b"# and so on\n" * 500_000)
    assert check([tmp_path]) == Report((), 0, 1)


def test_a_script_that_is_no_python_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    for name, content in {"a.py": b"\x00", "b.py": b"def (", "c.py": b"(" * 5000, "d.py": b"print '3'"}.items():
        (tmp_path / "code" / name).write_bytes(content)
        path = tmp_path / "component.yaml"
        path.write_text(
            SCHEMA.format(kind="commandComponent")
            + f"name: a\ncode: ./code\ncommand: python {name} --x 1\nenvironment: azureml:a:1\n"
        )
        assert survives(path).findings == ()
