"""Ready-made steps of an ensemble, without a server: what they compute, what is copied for them, and mistakes in the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.execute import main
from runtime.triton import model_config
from runtime.triton.boxes import Fit
from runtime.triton.ensemble import ensemble
from runtime.triton.ensemble_golden import made_up_pictures, made_up_trips
from runtime.triton.model_config import Plan, Signature, Tensor
from runtime.triton.postprocess import TASKS, Settings
from runtime.triton.ready_files import modules_of
from runtime.triton.repository import Golden, read_golden, write_golden
from runtime.triton.rows import Layout, requests
from runtime.triton.serve_env import PINS
from runtime.triton.step_answers import open_step
from runtime.triton.step_features import NO_TIME, column_of, columns_of, on_the_wire
from runtime.triton.step_pictures import fit_of, numbers_of
from tests.fakes import picture_models

ROOT = Path(__file__).parents[2]
RANDOM = np.random.default_rng(0)
FIT = Fit((192, 128), (96, 64), (1 / 3, 0.5), (16.0, 0.0))
CENTRES = np.concatenate([RANDOM.uniform(0.2, 0.8, (3, 9, 2)), RANDOM.uniform(0.05, 0.3, (3, 9, 2))], axis=2)
CORNERS = np.concatenate([CENTRES[..., :2] - CENTRES[..., 2:] / 2, CENTRES[..., :2] + CENTRES[..., 2:] / 2], axis=2)
# Outputs of three images for each task that gives boxes.
OUTPUTS = {
    "detectnet_v2": {"output_cov": RANDOM.uniform(0, 1, (3, 2, 4, 6)), "output_bbox": RANDOM.uniform(0, 0.3, (3, 8, 4, 6))},
    "detr": {"pred_logits": RANDOM.normal(size=(3, 9, 2)), "pred_boxes": CENTRES},
    "yolo": {"BatchedNMS": np.array([[9], [0], [4]]), "BatchedNMS_1": CORNERS, "BatchedNMS_2": RANDOM.uniform(0, 1, (3, 9)), "BatchedNMS_3": RANDOM.integers(0, 2, (3, 9))},
    "yolo_raw": {"output0": np.concatenate([CENTRES * 90, RANDOM.uniform(0, 1, (3, 9, 2))], axis=2).transpose(0, 2, 1)},
    "ssd": {"NMS": np.concatenate([np.zeros((3, 9, 1)), np.ones((3, 9, 1)), RANDOM.uniform(0, 1, (3, 9, 1)), CORNERS], axis=2)[:, None], "NMS_1": np.array([[9], [2], [0]])},
}  # fmt: skip


def answers(task: str, outputs: dict, *, most: int, stacked: bool = True) -> dict[str, np.ndarray]:
    settings = {
        "labels": ["a"],
        "threshold": 0.4,
        "top_k": 5,
        "overlap": 0.45,
        "channels_last": False,
        "clustering": {"a": {"least": 0.1}},
    }
    step = open_step({"task": task, "settings": settings, "stacked": stacked, "max_boxes": most})
    fits = np.array([numbers_of(FIT)] * 3)
    return step({**outputs, "fit": fits if stacked else fits[0]})


@pytest.mark.parametrize("task", OUTPUTS)
def test_boxes_of_each_task_are_those_of_the_clients_own_function(task):
    outputs = {name: array.astype(np.float32) for name, array in OUTPUTS[task].items()}
    from runtime.triton.detectnet import Clustering

    told = Settings(("a",), 0.4, clustering={"a": Clustering(least=0.1)})
    want = [TASKS[task].run({n: a[i] for n, a in outputs.items()}, FIT, told).boxes for i in range(3)]
    assert max(map(len, want)) > 1
    for most in (0, 2, 20):
        found = answers(task, outputs, most=most)
        length = most or max(map(len, want))
        assert found["boxes"].shape == (3, length, 4)
        for index, boxes in enumerate(want):
            kept = boxes[:length]
            assert found["count"][index].tolist() == [len(kept)]
            got = [list(found[key][index][: len(kept)].tolist()) for key in ("boxes", "scores", "classes")]
            assert got == [
                [[b.left, b.top, b.right, b.bottom] for b in kept],
                [b.score for b in kept],
                [b.name for b in kept],
            ]
            assert not found["boxes"][index, len(kept) :].any()
            assert set(found["classes"][index, len(kept) :]) <= {""}


def test_a_model_without_batches_gets_the_boxes_of_its_one_image():
    outputs = {name: array[0] for name, array in OUTPUTS["detr"].items()}
    found = answers("detr", outputs, most=5, stacked=False)
    assert {name: array.shape for name, array in found.items()} == {
        "boxes": (5, 4),
        "scores": (5,),
        "classes": (5,),
        "count": (1,),
    }
    assert fit_of(np.array(numbers_of(FIT))) == FIT


def test_no_box_at_all_is_a_row_of_zeros():
    found = answers("yolo", {n: a[1:2] for n, a in OUTPUTS["yolo"].items()}, most=0)
    assert (found["boxes"].tolist(), found["count"].tolist()) == ([[[0, 0, 0, 0]]], [[0]])


@pytest.mark.parametrize("stacked", [True, False])
def test_masks_of_several_sizes_lie_in_one_array_with_their_sizes(stacked):
    logits = RANDOM.normal(size=(2, 3, 8, 12)).astype(np.float32)
    fits = [Fit((24, 16), (12, 8), (0.5, 0.5)), Fit((5, 20), (12, 8), (2.4, 0.4))]
    want = [TASKS["segmentation"].run({"x": logits[i]}, fits[i], Settings()).mask for i in range(2)]
    settings = {"labels": [], "threshold": None, "top_k": 5, "overlap": 0.4, "channels_last": False, "clustering": {}}
    step = open_step({"task": "segmentation", "settings": settings, "stacked": stacked, "max_boxes": 0})
    numbers = np.array([numbers_of(fit) for fit in fits])
    if not stacked:
        found = step({"x": logits[1], "fit": numbers[1]})
        assert (found["mask"].tolist(), found["size"].tolist()) == (want[1].tolist(), [5, 20])
        return
    found = step({"x": logits, "fit": numbers})
    assert (found["mask"].shape, found["mask"].dtype, found["size"].tolist()) == (
        (2, 20, 24),
        np.uint8,
        [[24, 16], [5, 20]],
    )
    assert np.array_equal(found["mask"][0, :16], want[0])
    assert np.array_equal(found["mask"][1, :, :5], want[1])
    assert int(found["mask"].sum()) == sum(int(mask.sum()) for mask in want)


def test_a_step_takes_our_own_modules_along_and_nothing_that_is_not_in_the_server():
    assert modules_of("runtime.triton.step_pictures") == [
        "runtime", "runtime.errors", "runtime.redact", "runtime.triton", "runtime.triton.boxes",
        "runtime.triton.model_config", "runtime.triton.prepare", "runtime.triton.scheduling", "runtime.triton.step_pictures",
    ]  # fmt: skip
    assert set(modules_of("runtime.triton.step_features")) == {
        "runtime", "runtime.errors", "runtime.redact", "runtime.triton", "runtime.triton.step_features",
        "runtime.rapids", "runtime.rapids.features", "runtime.rapids.schemas",
    }  # fmt: skip
    assert "runtime.triton.postprocess" in modules_of("runtime.triton.step_answers")


def test_the_images_python_gets_what_the_steps_need_as_the_wheels_server_has_it():
    text = (ROOT / "containers" / "triton-serve" / "Dockerfile").read_text()
    steps = [pin for pin in PINS if pin.startswith(("pillow", "polars"))]
    assert len(steps) == 2
    assert all(f"'{pin}'" in text for pin in steps)


# --- features ---------------------------------------------------------------------------------------------------------


def test_columns_come_back_from_the_wire_as_rapids_prepare_wrote_them():
    frame = pl.DataFrame(
        {
            "pickup_at": pl.Series(["2016-01-02 03:04:05.000006", "1969-12-31 23:59:59", None]).str.to_datetime(
                time_unit="us"
            ),
            "trip_distance_mi": [1.1, float("inf"), None],
            "passenger_count": pl.Series([2**31 - 1, -1, None], dtype=pl.Int32),
        }
    )
    for column in frame:
        sent = on_the_wire(column)
        assert sent.shape == (3, 1)
        assert column_of(column.name, sent.ravel()).equals(column, check_dtypes=True, null_equal=True)
    assert on_the_wire(frame["pickup_at"])[2, 0] == NO_TIME == np.datetime64("NaT").astype(int)


@pytest.mark.parametrize("value", [1.5, 2.0**31, -1e300, float("inf")])
def test_what_is_no_whole_number_is_the_clients_mistake(value):
    with pytest.raises(ValueError, match="passenger_count holds what is no whole number of 32 bits"):
        column_of("passenger_count", np.array([1.0, np.nan, value]))


def test_a_step_takes_the_columns_that_its_features_are_made_of_and_no_other():
    assert columns_of(["hour"]) == ("pickup_at",)
    assert columns_of(["haversine_km", "duration_min"]) == (
        "pickup_at",
        "dropoff_at",
        "pickup_lon",
        "pickup_lat",
        "dropoff_lon",
        "dropoff_lat",
    )


def test_times_of_a_table_are_sent_as_microseconds_by_their_clock():
    at = pl.Series("at", ["2016-07-01 12:00:00", None]).str.to_datetime(time_unit="ms")
    zoned = at.dt.replace_time_zone("Europe/Berlin").alias("zoned")
    tensors = (Tensor("at", "INT64", (1,)), Tensor("zoned", "INT64", (1,)))
    layout = Layout(Signature(tensors, (), True), {"at": ("at",), "zoned": ("zoned",)}, 8)
    found = requests(pl.DataFrame([at, zoned]), layout, Path("t"))
    noon = np.datetime64("2016-07-01T12", "us").astype(int)
    assert [array.tolist() for array in found.values()] == [[[noon], [NO_TIME]]] * 2


# --- golden rows ------------------------------------------------------------------------------------------------------


def test_golden_bytes_come_back_whole_with_zeros_at_their_end(tmp_path):
    rows = np.array([b"\x89PNG\0\0", b"", b"\0"], dtype=object)[:, None]
    tmp_path.joinpath("g").mkdir()
    write_golden(
        Golden({"image": rows}, {"word": np.array([["a"], [""], ["b"]], dtype=object)}, "sample"), tmp_path / "g", {}
    )
    back = read_golden(tmp_path / "g")
    assert back.inputs["image"].tolist() == rows.tolist()
    assert back.outputs["word"].tolist() == [["a"], [""], ["b"]]


def test_made_up_inputs_are_the_same_each_time():
    assert made_up_pictures() == made_up_pictures()
    assert [data[:4] for data in made_up_pictures()][:2] == [b"\xff\xd8\xff\xe0", b"\x89PNG"]
    names = ["dropoff_at", "passenger_count", "pickup_at", "pickup_lon"]
    first, second = made_up_trips(names), made_up_trips(names)
    assert all(first[n].tobytes() == second[n].tobytes() for n in names)
    assert (first["dropoff_at"] > first["pickup_at"]).all()


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def models(tmp_path) -> Path:
    repository = tmp_path / "models"
    picture_models.colours(repository, {"labels": "red,green,blue"})
    picture_models.reds(repository)
    return repository


def run(models: Path, tmp_path: Path, steps: str) -> int:
    (tmp_path / "ensemble.yaml").write_text(f"name: eye\nsteps:\n{steps}")
    out = [f"{name}={tmp_path / name}" for name in ("repository", "golden")]
    return main(ensemble, [f"models={models}", f"config={tmp_path / 'ensemble.yaml'}", *out])


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("- {make: picture, for: colours}\n", "ensemble.yaml:3: steps.0.make='picture': is nothing that can be made; did you mean 'pictures'?"),
        ("- {make: pictures, for: colors}\n", "steps.0.for='colors': is no model of the repository; did you mean 'colours'?"),
        ("- make: pictures\n  for: colours\n  rezise: corner\n", "ensemble.yaml:5: steps.0.rezise='corner': is no setting of pictures; did you mean 'resize'?"),
        ("- {make: pictures, for: colours, resize: crop, task: classification}\n", "steps.0.resize='crop': is not "),
        ("- {make: classes, for: colours, top_k: many}\n", "steps.0.top_k='many': is not a whole number"),
        ("- {make: classes, for: colours, top_k: 0}\n", "steps.0.top_k=0: is below the minimum 1"),
        ("- {make: classes, for: colours, labels: none.txt}\n", "steps.0.labels='none.txt': is no file there"),
        ("- {make: boxes, for: colours, task: classification}\n", "steps.0.task='classification': gives no boxes; make: classes"),
        ("- {make: classes, for: reds, task: detectnet_v2}\n", "steps.0.task='detectnet_v2': gives no classes of an image; make: boxes"),
        ("- {make: mask, for: reds, task: detectnet_v2}\n", "steps.0.task='detectnet_v2': gives no mask; make: boxes"),
        ("- {make: mask, for: colours, task: classification, top_k: 3}\n", "steps.0.top_k=3: is no setting of mask"),
        ("- {make: boxes, for: colours}\n", "steps.0.task=None: is not set, and the model's outputs do not tell it"),
        ("- {make: features, for: colours}\n", "steps.0.for='colours': takes input_1 FP32 [3, 64, 96], and names 0 features"),
        ("- {make: pictures, for: reds, output: {inputs: a}}\n", "steps.0.output.inputs='inputs': is no output of eye_pictures"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_step_is_told_with_its_line(models, tmp_path, capsys, steps, told):
    assert run(models, tmp_path, steps) == 2
    err = capsys.readouterr().err
    assert told in err
    assert not (tmp_path / "repository").exists()


def test_a_models_own_parameters_say_how_images_come_in_and_labels_go_out(models, tmp_path):
    steps = "- {make: pictures, for: colours}\n- model: colours\n- {make: classes, for: colours, instances: 2}\n"
    assert run(models, tmp_path, steps) == 0
    told = json.loads((tmp_path / "repository/eye_classes/1/step.json").read_text())
    assert told["settings"]["settings"]["labels"] == ["red", "green", "blue"]
    assert told["needs"] == ["numpy"]
    assert model_config.read(tmp_path / "repository/eye_classes/config.pbtxt").instance_group[0].count == 2
    config = model_config.read(tmp_path / "repository/eye/config.pbtxt")
    assert [(e.name, list(e.dims)) for e in config.output] == [("classes", [3]), ("scores", [3])]  # it has no more
    golden = read_golden(tmp_path / "golden")
    assert (golden.source, golden.rows, golden.outputs["classes"].shape) == ("synthetic", 4, (4, 3))
    provenance = json.loads((tmp_path / "repository/eye_pictures/1/provenance.json").read_text())
    assert (provenance["kind"], provenance["step_for"]) == ("pictures", "colours")
    assert "runtime/triton/prepare.py" in provenance["files"]


def test_the_task_of_one_step_holds_for_all_of_its_model(models, tmp_path):
    picture_models.finder(models)
    steps = (
        "- {make: pictures, for: finder}\n- model: finder\n- {make: boxes, for: finder, task: yolo, labels: [x, y]}\n"
    )
    assert run(models, tmp_path, steps) == 0
    told = json.loads((tmp_path / "repository/eye_pictures/1/step.json").read_text())["settings"]["preparation"]
    assert told["resize"] == "letterbox"  # as images for a YOLO are


def test_a_model_with_its_batch_among_its_dims_is_fed_one_image(tmp_path):
    plan = Plan(
        "one", "onnxruntime", Signature((Tensor("x", "FP32", (1, 3, 8, 8)),), (Tensor("y", "FP32", (1, 4)),), False), 0
    )
    (tmp_path / "models/one/1").mkdir(parents=True)
    model_config.write(model_config.build(plan), tmp_path / "models/one")
    from onnx import TensorProto, helper, save

    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Pad", ["m", "p"], ["y"]),
    ]
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, dims) for n, dims in (("x", [1, 3, 8, 8]), ("y", [1, 4]))
    ]
    graph = helper.make_graph(
        nodes, "g", values[:1], values[1:], [helper.make_tensor("p", TensorProto.INT64, [4], [0, 0, 0, 1])]
    )
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "models/one/1/model.onnx",
    )
    assert (
        run(
            tmp_path / "models",
            tmp_path,
            "- {make: pictures, for: one}\n- model: one\n- {make: classes, for: one, top_k: 9}\n",
        )
        == 0
    )
    config = model_config.read(tmp_path / "repository/eye/config.pbtxt")
    assert (list(config.input[0].dims), list(config.output[0].dims), config.max_batch_size) == ([1], [1, 4], 0)
    golden = read_golden(tmp_path / "golden")
    assert (golden.inputs["image"].shape, golden.outputs["scores"].shape) == ((1,), (1, 4))


def test_a_step_whose_name_is_taken_is_refused(models, tmp_path, capsys):
    (models / "reds").rename(models / "eye_pictures")
    path = models / "eye_pictures" / model_config.FILE
    path.write_text(path.read_text().replace('"reds"', '"eye_pictures"'))
    assert (
        run(models, tmp_path, "- {make: pictures, for: colours}\n- model: colours\n- {make: classes, for: colours}\n")
        == 2
    )
    assert "steps.0.make='pictures': would be the model eye_pictures, which is there" in capsys.readouterr().err


def test_two_steps_of_a_kind_get_names_of_their_own(models, tmp_path):
    steps = "- {make: pictures, for: colours}\n- model: colours\n- {make: classes, for: colours}\n"
    first = "- {make: classes, for: colours, top_k: 1, output: {classes: best, scores: score}}\n"
    assert run(models, tmp_path, steps + first) == 0
    config = model_config.read(tmp_path / "repository/eye/config.pbtxt")
    assert [step.model_name for step in config.ensemble_scheduling.step][2:] == ["eye_classes", "eye_classes_2"]
    assert {e.name: list(e.dims) for e in config.output} == {"classes": [3], "scores": [3], "best": [1], "score": [1]}


def test_golden_rows_follow_the_names_of_the_ensemble_and_steps_that_were_made_before(models, tmp_path):
    steps = (
        "- {make: pictures, for: colours, input: {image: photo}}\n- model: colours\n- {make: classes, for: colours}\n"
    )
    assert run(models, tmp_path, steps) == 0
    first = read_golden(tmp_path / "golden")
    assert (list(first.inputs), first.rows) == (["photo"], 4)
    (tmp_path / "again").mkdir()
    repository = tmp_path / "repository"
    (tmp_path / "again" / "e.yaml").write_text(
        "name: other\nsteps:\n- {make: pictures, for: colours, task: classification}\n- model: colours\n- model: eye_classes\n"
    )
    ports = [f"{name}={tmp_path / 'again' / name}" for name in ("repository", "golden")]
    assert main(ensemble, [f"models={repository}", f"config={tmp_path / 'again' / 'e.yaml'}", *ports]) == 0
    second = read_golden(tmp_path / "again" / "golden")
    assert second.outputs["scores"].tolist() == first.outputs["scores"].tolist()


def test_a_python_without_what_a_step_needs_is_told_at_the_load(models, tmp_path):
    assert run(models, tmp_path, "- {make: pictures, for: reds}\n- model: reds\n") == 0
    version = tmp_path / "repository/eye_pictures/1"
    told = json.loads((version / "step.json").read_text())
    (version / "step.json").write_text(json.dumps(told | {"needs": ["no_such_module"]}))
    done = subprocess.run([sys.executable, version / "function.py"], capture_output=True, text=True, check=False)
    assert "install in this server's Python: pip install numpy pillow polars" in done.stderr
