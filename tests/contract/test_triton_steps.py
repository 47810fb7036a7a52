"""Ready-made steps of an ensemble on a real tritonserver: what they give is what the clients and rapids_transform give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw

from runtime.errors import BadInput
from runtime.execute import main
from runtime.rapids.predict import predict
from runtime.rapids.prepare import prepare
from runtime.rapids.recipe import recipe
from runtime.rapids.train import train
from runtime.rapids.transform import transform
from runtime.rapids.validate import validate
from runtime.triton import model_config
from runtime.triton.client import Client, Endpoint
from runtime.triton.ensemble import ensemble
from runtime.triton.infer import infer
from runtime.triton.infer_images import Ports, infer_images
from runtime.triton.package import package
from runtime.triton.picture_plan import plan_of
from runtime.triton.prepare import prepared, read
from runtime.triton.repository import read_golden
from runtime.triton.step_features import columns_of, on_the_wire
from runtime.triton.verify import verify
from tests.fakes import picture_models
from tests.fakes.triton_models import onnx_model
from tests.fakes.triton_server import server

DATA = Path(__file__).parents[1] / "data"
# An ensemble of each decoding: the model it is over, the steps' own words, and what the image client is told beside.
LOOK = "resize: letterbox\n    mean: [100, 110, 120]\n    scale: 0.017"
ENSEMBLES = {
    "eye": ("colours", LOOK, "make: classes\n    top_k: 2\n    labels: labels.txt", ["resize=letterbox", "mean=100,110,120", "scale=0.017", "top_k=2", "labels={labels}"]),
    "spots": ("reds", "channels: rgb", "make: boxes\n    threshold: 0.5\n    max_boxes: 7", ["threshold=0.5"]),
    "queries": ("finder", "task: detr", "make: boxes", ["task=detr"]),
    "bright": ("finder", "task: yolo", "make: boxes\n    max_boxes: 0", ["task=yolo"]),
}  # fmt: skip


def joined(name: str, models: Path, folder: Path, text: str, *words: str) -> Path:
    """The repository with the ensemble of `text` beside its models."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ensemble.yaml").write_text(text)
    ports = [f"models={models}", f"config={folder / 'ensemble.yaml'}", f"repository={folder / 'repository'}"]
    assert main(ensemble, [*ports, f"golden={folder / 'golden'}", *words]) == 0, name
    return folder / "repository"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """JPEG, PNG with and without colours, and one that its camera turned; all have something bright and red."""
    folder = tmp_path_factory.mktemp("images")
    shutil.copytree(DATA / "wider/WIDER_train/images/0--Portrait", folder / "photos")
    for number, (size, mode) in enumerate((((192, 128), "RGB"), ((101, 333), "RGBA"), ((77, 61), "L"))):
        image = Image.new("RGB", size)
        ImageDraw.Draw(image).rectangle((16, 16, 47, 47), fill=(255, 0, 0))
        ImageDraw.Draw(image).rectangle((size[0] - 20, 8, size[0] - 6, 40), fill=(255, 250, 250))
        image.convert(mode).save(folder / f"{number}.png")
        turned = Image.Exif()
        turned[0x0112] = 6  # Orientation: turn by 90 degrees to the right
        image.save(folder / f"turned_{number}.jpg", exif=turned)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, images):
    """A server with the picture models and an ensemble over each."""
    folder = tmp_path_factory.mktemp("steps")
    repository = folder / "models"
    picture_models.colours(repository, {"task": "classification", "pixels": "unit", "labels": "red,green,blue"})
    picture_models.reds(repository)
    picture_models.finder(repository)
    for name, (model, look, make, _) in ENSEMBLES.items():
        (folder / name).mkdir()
        (folder / name / "labels.txt").write_text("reddish\ngreenish\nbluish\n")
        text = f"name: {name}\nsteps:\n  - make: pictures\n    for: {model}\n    {look}\n  - model: {model}\n"
        repository = joined(
            name, repository, folder / name, f"{text}  - {make}\n    for: {model}\n", f"samples={images}"
        )
    picture_models.where_red(repository)
    text = "name: map\nsteps:\n  - {make: pictures, for: where_red}\n  - model: where_red\n  - {make: mask, for: where_red}\n"
    repository = joined("map", repository, folder / "map", text, f"samples={images}")
    with server(repository, *ENSEMBLES, "map") as running:
        yield running, folder


def files_of(images: Path) -> dict[str, bytes]:
    return {p.relative_to(images).as_posix(): p.read_bytes() for p in sorted(images.rglob("*")) if p.is_file()}


def rows_of(files: dict[str, bytes]) -> np.ndarray:
    return np.array(list(files.values()), dtype=object)[:, None]


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_step_gives_each_bit_of_what_the_image_client_sends(pictures, images, name):
    running, _ = pictures
    model, _, _, words = ENSEMBLES[name]
    files = files_of(images)
    assert len(files) == 7
    with Client(Endpoint(running.http, "http"), model) as client:
        config = client.config()
    told = dict(word.split("=", 1) for word in words if word.startswith(("task", "resize", "mean", "scale")))
    plan = plan_of(config, Ports(images=images, predictions=images, **told))
    with Client(Endpoint(running.grpc, "grpc"), f"{name}_pictures") as client:
        found = client.infer({"image": rows_of(files)}, {"image": "BYTES"})
    for index, path in enumerate(files):
        want, _ = prepared(read(images / path), plan.preparation)
        got = found[plan.preparation.tensor.name][index]
        assert (got.dtype, got.shape, got.tobytes()) == (want.dtype, want.shape, want.tobytes()), path


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_ensemble_answers_what_the_image_client_makes_of_the_models_outputs(pictures, images, tmp_path, name):
    running, folder = pictures
    model, _, _, words = ENSEMBLES[name]
    words = [word.format(labels=folder / name / "labels.txt") for word in words]
    ports = [
        f"images={images}",
        f"url={running.http}",
        f"model_name={model}",
        f"predictions={tmp_path / 'out'}",
        *words,
    ]
    assert main(infer_images, ports) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    files = files_of(images)
    with Client(Endpoint(running.http, "http"), name) as client:
        found = client.infer({"image": rows_of(files)}, {"image": "BYTES"})
    assert [told["image"] for told in lines] == list(files)
    for index, told in enumerate(lines):
        mine = [
            {"name": n.decode(), "score": round(s, 6)}
            for n, s in zip(found["classes"][index], found["scores"][index], strict=True)
        ]
        if "classes" in told:
            assert mine == told["classes"]
            continue
        count = int(found["count"][index, 0])
        corners = [
            dict(zip(("left", "top", "right", "bottom"), map(float, box.round(2)), strict=True))
            for box in found["boxes"][index]
        ]
        assert [b | c for b, c in zip(mine, corners, strict=True)][:count] == told["boxes"][: len(corners)]
        assert not found["boxes"][index, count:].any()
        assert len(corners) == (7 if name == "spots" else 100 if name == "queries" else max(found["count"].max(), 1))
    assert sum(bool(told.get("boxes", told.get("classes"))) for told in lines) >= 5


def test_each_mask_is_that_of_the_image_client(pictures, images, tmp_path):
    running, _ = pictures
    ports = [f"images={images}", f"url={running.http}", "model_name=where_red", f"predictions={tmp_path / 'out'}"]
    assert main(infer_images, ports) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    files = files_of(images)
    with Client(Endpoint(running.http, "http"), "map") as client:
        found = client.infer({"image": rows_of(files)}, {"image": "BYTES"})
        alone = [client.infer({"image": row[None]}, {"image": "BYTES"})["mask"][0] for row in rows_of(files)]
    assert [told["image"] for told in lines] == list(files)
    assert len({tuple(size) for size in found["size"].tolist()}) >= 5  # one request of many sizes
    both = 0
    for index, told in enumerate(lines):
        want = np.asarray(Image.open(tmp_path / "out" / told["mask"]))
        width, height = found["size"][index]
        got = found["mask"][index]
        assert (got.dtype, (height, width)) == (np.uint8, want.shape)
        assert np.array_equal(got[:height, :width], want)
        assert not got[height:].any()
        assert not got[:, width:].any()
        assert np.array_equal(alone[index], want)  # by itself an image gets a mask of its own size
        both += len(np.unique(want)) == 2
    assert both >= 5


def test_golden_rows_of_masks_are_of_images_of_one_size_and_the_server_answers_them(pictures, tmp_path):
    _, folder = pictures
    golden = read_golden(folder / "map" / "golden")
    assert (golden.source, sorted(golden.outputs), golden.rows >= 1) == ("sample", ["mask", "size"], True)
    assert len({tuple(size) for size in golden.outputs["size"].tolist()}) == 1
    ports = [f"repository={folder / 'map' / 'repository'}", f"golden={folder / 'map' / 'golden'}", "model_name=map"]
    assert main(verify, [*ports, f"report={tmp_path / 'report'}", "measure_s=0", "under_load=no"]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["live"] == "run"
    assert [answer["max_abs"] for answer in report["answers"]] == [0.0] * 4  # two outputs over two protocols


def test_bytes_that_are_no_image_are_the_clients_mistake_and_spoil_nothing(pictures, images):
    running, _ = pictures
    good = rows_of(files_of(images / "photos"))
    with Client(Endpoint(running.http, "http"), "eye") as client:
        for data, told in (
            (b"GIF89a" + bytes(99), "is no image"),
            (good[0, 0][:2000], "is cut short"),
            (b"", "is empty"),
        ):
            with pytest.raises(BadInput, match=f"image 1 of the request {told}"):
                client.infer({"image": np.array([good[0], [data]], dtype=object)}, {"image": "BYTES"})
            assert client.infer({"image": good}, {"image": "BYTES"})["classes"].shape == (1, 2)


def test_golden_rows_are_of_the_samples_and_the_server_answers_them(pictures, tmp_path):
    _, folder = pictures
    golden = read_golden(folder / "spots" / "golden")
    assert (golden.source, golden.rows, sorted(golden.outputs)) == (
        "sample",
        7,
        ["boxes", "classes", "count", "scores"],
    )
    assert read_golden(folder / "bright" / "golden").rows == 0  # finder is somebody's own model.py
    golden = read_golden(folder / "eye" / "golden")
    assert [[row[0][:2], row[0][-2:]] for row in golden.inputs["image"]][-1] == [
        b"\xff\xd8",
        b"\xff\xd9",
    ]  # a whole JPEG
    ports = [f"repository={folder / 'eye' / 'repository'}", f"golden={folder / 'eye' / 'golden'}", "model_name=eye"]
    assert main(verify, [*ports, f"report={tmp_path / 'report'}", "measure_s=0"]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["live"] == "run"
    assert len(report["answers"]) == 4
    assert max(answer["max_abs"] for answer in report["answers"]) < 1e-15  # exp of numpy 1 and 2 differ in the last bit


@pytest.fixture(scope="module")
def taxi(tmp_path_factory) -> Path:
    """Trips prepared and transformed, and a native ONNX model that sums their features, with the features before it."""
    folder = tmp_path_factory.mktemp("taxi")
    assert main(prepare, [f"trips={DATA / 'taxi'}", f"prepared={folder / 'prepared'}"]) == 0
    parts = [f"{part}={folder / part}" for part in ("train", "test")]
    assert main(transform, [f"prepared={folder / 'prepared'}", *parts]) == 0
    document = json.loads((folder / "train" / "features.json").read_text())
    names = [feature["name"] for feature in document["features"]]
    (folder / "model").mkdir()
    onnx_model(folder / "model", width=len(names))
    (folder / "model" / "features.json").write_text(json.dumps(document))
    ports = [f"model={folder / 'model'}", f"repository={folder / 'packaged'}", f"golden={folder / 'g'}", "target=ngc"]
    assert main(package, [*ports, "model_name=sum", "max_batch_size=8192"]) == 0
    text = "name: trip\nsteps:\n  - {make: features, for: sum}\n  - model: sum\noutput: [x, total]\n"
    joined("trip", folder / "packaged", folder / "joined", text, f"samples={folder / 'prepared'}")
    return folder


def test_each_feature_of_each_trip_is_bit_for_bit_that_of_rapids_transform(taxi):
    names = json.loads((taxi / "train" / "features.json").read_text())["features"]
    names = [feature["name"] for feature in names]
    want = pl.concat([pl.read_parquet(taxi / part / "*.parquet") for part in ("train", "test")]).sort("trip_id")
    trips = pl.read_parquet(taxi / "prepared" / "*.parquet").join(want.select("trip_id"), on="trip_id").sort("trip_id")
    assert len(names) == 14
    assert (trips.height, trips["trip_id"].to_list()) == (want.height, want["trip_id"].to_list())
    assert want.height > 360_000
    assert min(want.null_count().row(0, named=True)[name] for name in ("haversine_km", "pickup_location_id")) > 0
    columns = {name: on_the_wire(trips[name]) for name in columns_of(names)}
    types = {
        t.name: t.dtype
        for t in model_config.signature_of(model_config.read(taxi / "joined/repository/trip/config.pbtxt")).inputs
    }
    starts = range(0, trips.height, 8192)
    with (
        server(taxi / "joined" / "repository", "trip_features") as running,
        Client(Endpoint(running.grpc, "grpc"), "trip_features") as client,
    ):
        found = [client.infer({n: a[i : i + 8192] for n, a in columns.items()}, types)["x"] for i in starts]
    got, wanted = np.concatenate(found), want.select(names).to_numpy(order="c")
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    assert (np.isnan(got) == np.isnan(wanted)).all()
    assert np.where(np.isnan(got), 0, got).tobytes() == np.where(np.isnan(wanted), 0, wanted).tobytes()


def test_a_native_model_in_an_ensemble_is_verified_through_its_twin(taxi, tmp_path):
    ports = [f"repository={taxi / 'joined/repository'}", f"golden={taxi / 'joined/golden'}", "measure_s=0"]
    assert main(verify, [*ports, f"report={tmp_path / 'report'}", "under_load=no"]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["live"], report["golden_source"]) == ("twin", "sample")
    assert "of each step that needs it" in report["live_reason"]
    assert all(answer["rows"] == 256 for answer in report["answers"])


def test_prepared_trips_go_through_the_table_client_as_they_are(taxi, tmp_path):
    from runtime.triton.twins import python_twins

    trips = pl.read_parquet(taxi / "prepared" / "*.parquet").tail(300)
    trips.write_parquet(tmp_path / "trips.parquet")
    repository = python_twins(taxi / "joined" / "repository", ["trip"], tmp_path)
    with server(repository, "trip") as running:
        ports = [f"rows={tmp_path / 'trips.parquet'}", f"url={running.http}", "model_name=trip", "id_column=trip_id"]
        assert main(infer, [*ports, f"predictions={tmp_path / 'out'}"]) == 0
    found = pl.read_parquet(tmp_path / "out").sort("trip_id")
    want = pl.concat([pl.read_parquet(taxi / part / "*.parquet") for part in ("train", "test")])
    both = found.join(want, on="trip_id")
    assert both.height > 200
    assert both["x_3"].to_list() == both["duration_min"].to_list()


@pytest.fixture(scope="module")
def flights(tmp_path_factory) -> Path:
    """Flights by their contract and recipe to a model, packaged for the server here, with the features before it."""
    folder = tmp_path_factory.mktemp("flights")
    files = DATA.parents[1] / "component_specs/pipelines/flights"
    accepted = [f"data={DATA / 'flights'}", f"contract={files / 'contract.yaml'}", f"accepted={folder / 'accepted'}"]
    assert main(validate, [*accepted, f"quarantine={folder / 'quarantine'}", f"report={folder / 'report'}"]) == 0
    parts = [f"{part}={folder / part}" for part in ("train", "test")]
    assert main(recipe, [f"data={folder / 'accepted'}", f"recipe={files / 'recipe.yaml'}", *parts]) == 0
    words = ["model=xgboost", "model.rounds=20", "model.max_depth=4"]
    assert main(train, [*parts, *words, f"trained={folder / 'model'}"]) == 0
    ports = [f"model={folder / 'model'}", f"repository={folder / 'packaged'}", f"golden={folder / 'g'}", "target=local"]
    assert main(package, [*ports, "model_name=delay"]) == 0
    text = "name: flight\nsteps:\n  - {make: features, for: delay}\n  - model: delay\n"
    joined("flight", folder / "packaged", folder / "joined", text, f"samples={folder / 'accepted'}")
    return folder


def test_rows_of_a_table_get_each_feature_and_prediction_that_a_recipe_gives_them(flights, tmp_path):
    content = json.loads((flights / "model" / "features.json").read_text())
    names = [feature["name"] for feature in content["features"]]
    want = pl.concat([pl.read_parquet(flights / part / "*.parquet") for part in ("train", "test")]).sort("row_id")
    rows = pl.read_parquet(flights / "accepted" / "*.parquet").sort("row_id")
    types = content["column_types"]
    assert {types[name] for name in ("carrier", "dep_delay", "time_hour", "month")} == {
        "String", "Float64", "Datetime(time_unit='us', time_zone=None)", "Int64",
    }  # fmt: skip
    assert (want.height, rows["dep_delay"].null_count() > 0) == (16367, True)
    predictions = []
    for part in ("train", "test"):
        ports = [f"model={flights / 'model'}", f"features={flights / part}", f"predictions={tmp_path / part}"]
        assert main(predict, ports) == 0
        predictions.append(pl.read_parquet(tmp_path / part / "*.parquet"))
    with server(flights / "joined" / "repository", "flight", "flight_features") as running:
        for model in ("flight", "flight_features"):
            ports = [f"rows={flights / 'accepted'}", f"url={running.http}", f"model_name={model}", "id_column=row_id"]
            assert main(infer, [*ports, f"predictions={tmp_path / model}"]) == 0
    made = want.select("row_id").join(pl.read_parquet(tmp_path / "flight_features"), on="row_id", maintain_order="left")
    got, wanted = made.drop("row_id").to_numpy(order="c"), want.select(names).to_numpy(order="c")
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    assert np.array_equal(got, wanted, equal_nan=True)
    both = pl.read_parquet(tmp_path / "flight").join(pl.concat(predictions), on="row_id", suffix="_here")
    assert both.height == want.height
    assert (both["prediction"] - both["prediction_here"]).abs().max() < 1e-4


def test_the_server_answers_the_golden_rows_of_a_recipe(flights, tmp_path):
    golden = read_golden(flights / "joined" / "golden")
    assert (golden.source, golden.rows, golden.inputs["carrier"].dtype) == ("sample", 256, object)
    ports = [f"repository={flights / 'joined/repository'}", f"golden={flights / 'joined/golden'}", "measure_s=0"]
    assert main(verify, [*ports, "model_name=flight", f"report={tmp_path / 'report'}", "under_load=no"]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["live"] == "run"
    assert max(answer["max_abs"] for answer in report["answers"]) < 1e-4


def test_what_a_step_of_a_recipe_cannot_read_is_the_clients_mistake(flights, tmp_path, capsys):
    repository = flights / "joined" / "repository"
    types = {
        t.name: t.dtype for t in model_config.signature_of(model_config.read(repository / "flight/config.pbtxt")).inputs
    }
    golden = read_golden(flights / "joined" / "golden").inputs
    one = {name: array[:1] for name, array in golden.items()}
    with server(repository, "flight") as running, Client(Endpoint(running.http, "http"), "flight") as client:
        for name, value, told in (
            ("carrier", np.array([[b"\xff"]], dtype=object), "carrier holds what is no text in UTF-8"),
            ("month", np.array([[1.5]]), "month holds what is no whole number"),
        ):
            with pytest.raises(BadInput, match=told):
                client.infer(one | {name: value}, types)
        assert client.infer(one, types)
        rows = pl.read_parquet(flights / "accepted" / "*.parquet").head(3)
        rows.with_columns(carrier=pl.lit(None, dtype=pl.String)).write_parquet(tmp_path / "rows.parquet")
        ports = [f"rows={tmp_path / 'rows.parquet'}", f"url={running.http}", "model_name=flight"]
        assert main(infer, [*ports, f"predictions={tmp_path / 'out'}"]) == 2
    assert "misses values in carrier, which BYTES cannot express; fill them first" in capsys.readouterr().err
