"""The charts of the pipelines: what is drawn, what is told below, and that the committed ones are those of the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import graphs
from runtime.errors import BadInput

PIPELINES = Path(__file__).parents[2] / "component_specs" / "pipelines"
INNER = """\
type: pipeline
name: inner
description: Two steps.
inputs: {raw: {type: uri_folder}, count: {type: integer}}
outputs: {made: {type: uri_folder}}
jobs:
  first:
    component: ../area/area_make.yaml
    inputs: {data: "${{parent.inputs.raw}}", number: "${{parent.inputs.count}}"}
  second:
    component: ../area/second.yaml
    inputs: {left: "${{parent.jobs.first.outputs.out}}", right: "${{parent.jobs.first.outputs.out}}"}
    outputs: {out: "${{parent.outputs.made}}"}
"""
OUTER = """\
type: pipeline
description: The one around it.
inputs: {raw: {type: uri_folder, path: .}, speed: fast}
outputs: {made: {type: uri_folder}}
jobs:
  whole:
    type: pipeline
    component: ./inner.yaml
    inputs: {raw: "${{parent.inputs.raw}}"}
    outputs: {made: "${{parent.outputs.made}}"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner.yaml").write_text(INNER)
    (tmp_path / "outer.yaml").write_text(OUTER)
    (tmp_path / "README.md").write_text(f"# Mine\n\n{graphs.BEGIN}\n{graphs.END}\n\nThe end.\n")
    return tmp_path


def test_a_file_becomes_a_row_and_a_chart_of_the_data_between_its_steps(folder: Path) -> None:
    assert graphs.block(folder).splitlines() == [
        "| file | kind | what it does |",
        "|---|---|---|",
        "| [`inner.yaml`](inner.yaml) | component | Two steps. |",
        "| [`outer.yaml`](outer.yaml) | pipeline | The one around it. |",
        "",
        "### inner.yaml",
        "",
        "```mermaid",
        "flowchart LR",
        '  in_raw[("raw")]',
        '  step_first["first<br/>area_make"]',
        '  step_second["second"]',
        '  out_made(["made"])',
        "  step_first -->|left, right| step_second",
        "  in_raw -->|data| step_first",
        "  step_second -->|out| out_made",
        "```",
        "",
        "### outer.yaml",
        "",
        "```mermaid",
        "flowchart LR",
        '  in_raw[("raw")]',
        '  step_whole[["whole<br/>inner"]]',
        '  out_made(["made"])',
        "  in_raw -->|raw| step_whole",
        "  step_whole --> out_made",
        "```",
    ]


def test_what_many_steps_read_is_drawn_where_a_step_would_stand_alone_and_listed_below(folder: Path) -> None:
    steps = "".join(
        f'  s{n}: {{component: ./x.yaml, inputs: {{data: "${{{{parent.inputs.raw}}}}"}}}}\n' for n in range(4)
    )
    after = "  last: {component: ./x.yaml, inputs: {" + (
        'data: "${{parent.inputs.raw}}", model: "${{parent.jobs.s0.outputs.out}}"}}\n'
    )
    (folder / "outer.yaml").unlink()
    (folder / "inner.yaml").write_text("type: pipeline\ninputs: {raw: {type: uri_folder}}\njobs:\n" + steps + after)
    text = graphs.block(folder)
    arrows = [line.strip() for line in text.splitlines() if "-->" in line]
    assert arrows == ["step_s0 -->|model| step_last", *(f"in_raw -->|data| step_s{n}" for n in range(4))]
    assert text.endswith("not every arrow of which is drawn:\n\n- `raw`: s0, s1, s2, s3, last")


def test_the_block_is_made_anew_between_its_markers_and_its_drift_is_told(folder: Path) -> None:
    readme = folder / "README.md"
    (problem,) = graphs.drift(readme)
    assert problem.line().endswith("its table and charts are out of date; run `ngcrun specs`")
    assert graphs.write(readme) == [readme]
    assert graphs.write(readme) == [] == graphs.drift(readme)
    text = readme.read_text()
    assert text.startswith("# Mine\n\n<!-- pipelines") and text.endswith("<!-- end of pipelines -->\n\nThe end.\n")
    (folder / "outer.yaml").write_text(OUTER.replace("whole:", "all:"))
    assert len(graphs.drift(readme)) == 1
    readme.write_text("# Mine\n")
    with pytest.raises(BadInput, match="has lost a marker of its generated block"):
        graphs.drift(readme)


def test_the_committed_charts_are_those_of_the_committed_files() -> None:
    assert graphs.drift(PIPELINES / "README.md") == []
    text = (PIPELINES / "README.md").read_text()
    assert {f"### {p.name}" for p in PIPELINES.glob("*.yaml")} == {
        line for line in text.splitlines() if line.startswith("### ")
    }
