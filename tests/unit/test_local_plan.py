from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.command import Command
from runtime.local import graph, workspace
from runtime.local.expression import harm, placeholders, render
from runtime.local.plan import fingerprint, plan
from tests.fakes.pipelines import write_component, write_pipeline


def test_a_plan_is_a_literal(tmp_path: Path) -> None:
    command = "cat '${{inputs.data}}/text' > '${{outputs.out}}/text' $[[--note '${{inputs.note}}']] # ${{inputs.count}}"
    write_component(tmp_path, command=command)
    jobs = {
        "a": {"inputs": {"data": {"type": "uri_folder", "path": "."}, "note": "${{parent.inputs.word}}"}},
        "b": {"inputs": {"data": "${{parent.jobs.a.outputs.out}}", "count": 7}, "environment_variables": {"MODE": 1}},
    }
    write_component(tmp_path, command=command, inputs={
        "data": {"type": "uri_folder"}, "note": {"type": "string", "optional": True},
        "count": {"type": "integer", "default": 3},
    })  # fmt: skip
    steps = plan(graph.read(write_pipeline(tmp_path, jobs, inputs={"word": "two words"})), Path("/r"), mount=True)
    assert list(steps) == ["a", "b"]
    assert steps["a"].command == Command(
        argv=("bash", "-c", f"cat '{tmp_path}/text' > '/r/steps/a/outputs/out/text' --note 'two words' # 3"),
        cwd=Path("/r/steps/a/work"),
        env={
            "AZURE_ML_INPUT_data": str(tmp_path),
            "AZUREML_PARAMETER_note": "two words",
            "AZUREML_PARAMETER_count": "3",
            "AZURE_ML_OUTPUT_out": "/r/steps/a/outputs/out",
            "AZUREML_NODE_COUNT": "1",
            "NGCRUN_METRICS_FILE": "/r/steps/a/metrics.jsonl",
        },
        path=Path(sys.executable).parent,
        read_only=(tmp_path,),
    )
    assert steps["b"].command.argv[2] == "cat '/r/steps/a/outputs/out/text' > '/r/steps/b/outputs/out/text'  # 7"
    assert steps["b"].command.env["MODE"] == "1"
    assert steps["b"].command.read_only == (Path("/r/steps/a/outputs/out"),)


def test_an_input_that_holds_the_run_folder_stays_writable(tmp_path: Path) -> None:
    write_component(tmp_path)
    path = write_pipeline(tmp_path, {"a": {"inputs": {"data": {"type": "uri_folder", "path": "."}}}})
    assert plan(graph.read(path), tmp_path / "runs" / "x", mount=True)["a"].command.read_only == ()


def test_a_nested_pipeline_is_unfolded_and_its_outputs_are_joined(tmp_path: Path) -> None:
    write_component(tmp_path)
    inner = {
        "x": {"inputs": {"text": "${{parent.inputs.word}}", "data": "${{parent.inputs.from}}"}},
        "y": {"inputs": {"data": "${{parent.jobs.x.outputs.out}}"}, "outputs": {"out": "${{parent.outputs.result}}"}},
    }
    write_pipeline(tmp_path, inner, name="inner", inputs={
        "word": {"type": "string", "default": "inner default"}, "from": {"type": "uri_folder", "optional": True},
    }, outputs={"result": {"type": "uri_folder"}})  # fmt: skip
    jobs = {
        "x": {},
        "n": {"type": "pipeline", "component": "./inner.yaml", "inputs": {"from": "${{parent.jobs.x.outputs.out}}"}},
        "z": {"inputs": {"data": "${{parent.jobs.n.outputs.result}}"}, "outputs": {"out": "${{parent.outputs.end}}"}},
    }
    read = graph.read(write_pipeline(tmp_path, jobs, outputs={"end": {"type": "uri_folder"}}))
    assert {n: sorted(s.needs()) for n, s in read.steps.items()} == {
        "x": [], "n.x": ["x"], "n.y": ["n.x"], "z": ["n.y"],
    }  # fmt: skip
    assert read.steps["n.x"].inputs["text"] == graph.Value("inner default", "string")
    assert read.outputs == {"end": graph.FromStep("z", "out")}


def test_the_quoting_of_a_placeholder_is_seen() -> None:
    text = """a '${{inputs.a}}' "${{inputs.b}} '" ${{inputs.c}} \\' $[[--d '${{inputs.d}}']]"""
    assert [(p[1], q, i) for p, q, i in placeholders(text)] == [
        ("a", "'", False), ("b", '"', False), ("c", "", False), ("d", "'", True),
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.sampled_from(["'", '"', ""]))
def test_a_value_survives_the_shell_or_is_known_to_be_harmed(value: str, quote: str) -> None:
    bare = not quote and (value.split() != [value] or not value)  # blanks split a bare word: that is what bare means
    if harm(value, quote) or bare:
        return
    script = render("printf '%s' " + quote + "${{inputs.x}}" + quote, {("inputs", "x"): value})
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout == value.encode()


@pytest.mark.parametrize("value", ["it's", "nul\0"])
def test_nothing_else_ends_single_quotes(value: str) -> None:
    assert harm(value, "'")


def test_a_fingerprint_sees_a_change_of_size_time_or_name(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    seen = {fingerprint(tmp_path)}
    (tmp_path / "d" / "a").write_text("12")
    seen.add(fingerprint(tmp_path))
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 3
    assert fingerprint(tmp_path) in seen


def test_a_path_that_the_pipeline_sets_is_kept_behind_our_python(tmp_path: Path) -> None:
    command = Command(("true",), tmp_path, {"PATH": "/mine"}, path=Path("/python/bin"))
    assert command.environment({"PATH": "/callers"})["PATH"] == "/python/bin:/mine"
    assert command.text().splitlines()[3] == "  PATH=/python/bin:/mine \\"


def test_what_a_training_goes_on_from_survives_a_resume_and_nothing_else_does(tmp_path: Path) -> None:
    outputs = {"trained": {"type": "uri_folder"}, "state": {"type": "uri_folder"}}
    for name, kept in (("tao_train_tf1", True), ("tao_trainer", False)):
        file = write_component(tmp_path, name, outputs=outputs, command="true", inputs={})
        file.write_text(file.read_text().replace("name: say", f"name: {name}"))
        path = write_pipeline(tmp_path, {"a": {"component": f"./{name}.yaml"}}, name=f"p_{name}")
        planned = plan(graph.read(path), tmp_path / "runs" / name, mount=False)["a"]
        workspace.prepare(planned)
        for port in outputs:
            (planned.outputs[port] / "half").write_text("x")
        workspace.prepare(planned)
        assert not list(planned.outputs["trained"].iterdir())
        assert (planned.outputs["state"] / "half").exists() == kept
        assert not list(planned.folder.parent.glob(".*"))
