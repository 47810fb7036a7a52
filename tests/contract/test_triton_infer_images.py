"""triton_infer_images against a real server: models whose answers are known, over HTTP, gRPC and streams."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from runtime.data import kitti
from runtime.execute import main
from runtime.triton.infer_images import infer_images
from tests.fakes import picture_models as models
from tests.fakes.triton_server import server, shared_memory

DATA = Path(__file__).parents[1] / "data"
PROTOCOLS = ("http", "grpc", "stream")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server with `colours`, `reds`, `where_red` and `finder`."""
    repository = tmp_path_factory.mktemp("pictures") / "repository"
    models.colours(repository, {"task": "classification", "pixels": "unit", "labels": "red,green,blue"})
    models.reds(repository)
    models.where_red(repository)
    models.finder(repository)
    with server(repository, "colours", "reds", "where_red", "finder") as found:
        yield found


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def draw(path, *boxes, size=(192, 128), shade=(255, 0, 0)):
    """An image of twice the network's size with boxes on black."""
    image = Image.new("RGB", size)
    for box in boxes:
        ImageDraw.Draw(image).rectangle(box, fill=shade)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def ask(running, images, out, *words, protocol="http"):
    url = running.http if protocol == "http" else running.grpc
    return main(infer_images, [f"images={images}", f"url={url}", f"protocol={protocol}", f"predictions={out}", *words])


def regions_left():
    """Names of this process's regions in /dev/shm; the server's own have more to their names."""
    return [name for name in shared_memory(f"ngcrun-{os.getpid()}-") if re.fullmatch(r"ngcrun-\d+-\w{8}", name)]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image, int)


def lines(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_real_photos_are_classified_as_onnx_in_this_process_would(running, tmp_path, protocol):
    images = DATA / "wider" / "WIDER_train" / "images"
    assert ask(running, images, tmp_path / "out", "model_name=colours", protocol=protocol) == 0
    found = lines(tmp_path / "out")
    assert [told["image"] for told in found] == [
        "0--Portrait/0_Portrait_Navy_0_1.jpg",
        "1--Temple/1_Temple_China_1_1.jpg",
    ]
    for told in found:
        with Image.open(images / told["image"]) as image:
            small = image.convert("RGB").resize((models.WIDTH, models.HEIGHT), Image.Resampling.BILINEAR)
            assert (told["width"], told["height"]) == image.size
        powers = np.exp(np.asarray(small, float).mean(axis=(0, 1)) / 255)
        want = dict(zip(("red", "green", "blue"), powers / powers.sum(), strict=True))
        assert {c["name"]: c["score"] for c in told["classes"]} == pytest.approx(want, abs=1e-5)
        assert told["classes"][0]["name"] == max(want, key=want.get)
    annotated = tmp_path / "out" / "annotated" / "0--Portrait" / "0_Portrait_Navy_0_1.jpg"
    assert pixels(annotated).shape == (found[0]["height"], found[0]["width"], 3)


def test_many_small_images_keep_their_order_in_batches_and_requests_side_by_side(running, tmp_path):
    images = DATA / "digits" / "images" / "test" / "one"
    names = sorted(p.name for p in images.iterdir())
    assert len(names) == 18
    assert ask(running, images, tmp_path / "out", "model_name=colours", "batch_size=3", "clients=16", "top_k=1") == 0
    assert [told["image"] for told in lines(tmp_path / "out")] == names


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_detectnet_boxes_come_as_kitti_coco_and_drawings(running, images, tmp_path, protocol):
    draw(images / "a.png", (32, 32, 63, 63), (128, 64, 159, 95))
    draw(images / "deep" / "b.png", (0, 96, 31, 127), shade=(0, 0, 255))
    draw(images / "none.png")
    (tmp_path / "labels.txt").write_text("red\nblue car\n")
    words = [f"labels={tmp_path / 'labels.txt'}", "model_name=reds", "batch_size=2"]
    out = tmp_path / "out"
    assert ask(running, images, out, *words, protocol=protocol) == 0
    text = (out / "kitti" / "a.txt").read_text().splitlines()
    boxes = [kitti.parse(line) for line in text]
    assert {(b.name, b.left, b.top, b.right, b.bottom) for b in boxes} == {
        ("red", 32, 32, 64, 64),
        ("red", 128, 64, 160, 96),
    }
    assert [float(line.split()[15]) for line in text] == pytest.approx([1, 1], abs=0.05)
    assert (out / "kitti" / "deep" / "b.txt").read_text().startswith("blue_car 0.00 0 0.00 0.00 96.00 32.00 128.00 ")
    assert (out / "kitti" / "none.txt").read_text() == ""
    document = json.loads((out / "coco.json").read_text())
    assert [i["file_name"] for i in document["images"]] == ["a.png", "deep/b.png", "none.png"]
    assert document["categories"] == [{"id": 1, "name": "red"}, {"id": 2, "name": "blue car"}]
    assert [(a["image_id"], a["category_id"], a["bbox"]) for a in document["annotations"]][2] == (2, 2, [0, 96, 32, 32])
    assert json.loads((out / "failed.json").read_text()) == []
    assert pixels(out / "annotated" / "none.jpg").max() <= 2
    drawn = pixels(out / "annotated" / "a.jpg")
    assert drawn[32:64, 32].std(axis=0).max() < 40
    assert abs(drawn[45, 32] - [255, 0, 0]).max() > 40  # the edge has the class's colour, not the square's


def test_the_clustering_file_of_the_seed_decides_what_a_box_is(running, images, tmp_path):
    draw(images / "a.png", (32, 32, 63, 63))
    path = tmp_path / "clustering.prototxt"
    entry = 'classwise_clustering_config{ key: "%s" value: { dbscan_config{ dbscan_confidence_threshold: %s } } }\n'
    for least, count in ((0.9, 1), (1.1, 0)):
        path.write_text(entry % ("red", least) + entry % ("blue", 0.9))
        out = tmp_path / f"out{count}"
        assert ask(running, images, out, "model_name=reds", f"clustering={path}") == 0
        assert [box["name"] for box in lines(out)[0]["boxes"]] == ["red"] * count


@pytest.mark.parametrize("task", ["detr", "yolo"])
def test_detr_and_yolo_outputs_are_boxes_in_the_image(running, images, tmp_path, task):
    draw(images / "a.png", (32, 32, 63, 63))
    draw(images / "b.jpg", (20, 60, 79, 119), size=(128, 128))
    words = ["model_name=finder", f"task={task}", "resize=stretch" if task == "detr" else "resize=letterbox"]
    assert ask(running, images, tmp_path / "out", *words) == 0
    a, b = lines(tmp_path / "out")
    (box,) = a["boxes"]
    assert box["name"] == "bright"
    assert [box[k] for k in ("left", "top", "right", "bottom")] == pytest.approx([32, 32, 64, 64], abs=3)
    (box,) = b["boxes"]
    assert [box[k] for k in ("left", "top", "right", "bottom")] == pytest.approx([20, 60, 80, 120], abs=4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_mask_is_an_image_of_class_ids_and_a_run_length_in_coco(running, images, tmp_path, protocol):
    draw(images / "a.png", (32, 32, 63, 63))
    out = tmp_path / "out"
    assert ask(running, images, out, "model_name=where_red", protocol=protocol) == 0
    mask = pixels(out / "masks" / "a.png")
    want = np.zeros((128, 192), int)
    want[32:64, 32:64] = 1
    assert (mask == want).all()
    (told,) = lines(out)
    assert told["pixels"] == {"other": 128 * 192 - 1024, "red": 1024}
    _, red = json.loads((out / "coco.json").read_text())["annotations"]
    assert (red["bbox"], red["area"], red["category_id"]) == ([32, 32, 32, 32], 1024, 2)
    counts = red["segmentation"]["counts"]
    assert counts[:3] == [32 * 128 + 32, 32, 96]
    decoded = np.repeat(np.arange(len(counts)) % 2, counts).reshape(192, 128).T
    assert (decoded == want).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_image_that_fails_is_reported_and_the_rest_is_written(running, images, tmp_path, capsys, protocol):
    for name in ("a", "c", "d"):
        draw(images / f"{name}.png", (32, 32, 63, 63))
    draw(images / "b.png")  # dark all over: the model refuses the whole request that it is in
    shutil.copyfile(images / "a.png", images / "e.png")
    (images / "e.png").write_bytes((images / "e.png").read_bytes()[:60])
    (images / "f.jpg").write_bytes(b"")
    out = tmp_path / "out"
    assert ask(running, images, out, "model_name=finder", "task=detr", "batch_size=4", protocol=protocol) == 0
    assert [told["image"] for told in lines(out)] == ["a.png", "c.png", "d.png"]
    failed = {entry["item"]: entry["error"] for entry in json.loads((out / "failed.json").read_text())}
    assert list(failed) == ["b.png", "e.png", "f.jpg"]
    assert "the image is dark all over" in failed["b.png"]
    assert failed["f.jpg"] == "is empty"
    assert "3 of 6 images failed; the rest is written, see failed.json" in capsys.readouterr().err


def test_more_failures_than_are_allowed_end_the_step_without_output(running, images, tmp_path, capsys):
    draw(images / "a.png", (32, 32, 63, 63))
    draw(images / "b.png")
    assert ask(running, images, tmp_path / "out", "model_name=finder", "task=detr", "allow_failed=0.4") == 3
    error = capsys.readouterr().err
    assert (
        "triton_infer_images: 1 of 2 images failed, more than allow_failed=0.4\n  | images='b.png': the image" in error
    )
    assert not (tmp_path / "out").exists()
    (images / "a.png").unlink()
    assert ask(running, images, tmp_path / "out", "model_name=finder", "task=detr") == 3
    assert "1 of 1 images failed\n" in capsys.readouterr().err
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["model_name=finder"],
            "task=None: is not set, and the model's outputs do not tell it: pred_logits FP32 [3, 2]",
        ),
        (["model_name=finder", "task=detectnet_v2"], "task='cov': wants one output whose name holds 'cov'"),
        (["model_name=reds", "batch_size=9"], "batch_size=9: is more than the model takes at a time, 8"),
        (["model_name=taxi"], "Request for unknown model: 'taxi' is not found"),
        (["model_name=reds", "channels=gray"], "channels='gray': are 1, input_1 takes 3"),
        (["model_name=reds", "images=tests/unit"], "images='tests/unit': holds no image; give a folder with files"),
        (["model_name=reds", "url=ftp://a"], "is not the address of a server"),
    ],
)
def test_each_mistake_is_one_line(running, images, tmp_path, capsys, words, said):  # noqa: PLR0917 - fixtures, a case
    draw(images / "a.png", (32, 32, 63, 63))
    assert ask(running, images, tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert error.startswith("triton_infer_images: ")
    assert said in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_is_not_there_is_tried_again_and_then_told(images, tmp_path, capsys, protocol):
    draw(images / "a.png")
    words = ["url=127.0.0.1:9", f"protocol={protocol}", "retries=1", "timeout_s=2"]
    assert main(infer_images, [f"images={images}", f"predictions={tmp_path / 'out'}", *words]) == 3
    assert "tried 2 times: is the server up?" in capsys.readouterr().err
    assert regions_left() == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_local_server_reads_the_images_from_shared_memory(running, tmp_path, monkeypatch, protocol):
    images = DATA / "wider" / "WIDER_train" / "images"
    answers = []
    for wish in ("yes", "no", "auto"):
        monkeypatch.setenv("NGCRUN_METRICS_FILE", str(tmp_path / f"{wish}.jsonl"))
        out = tmp_path / wish
        assert ask(running, images, out, "model_name=colours", f"shared_memory={wish}", protocol=protocol) == 0
        answers.append((out / "predictions.jsonl").read_text())
        tags = [json.loads(line) for line in (tmp_path / f"{wish}.jsonl").read_text().splitlines()]
        (told,) = [r["value"] for r in tags if r["kind"] == "tag" and r["key"] == "shared_memory"]
        assert told == ("no" if wish == "no" else "yes")
    assert answers[0] == answers[1] == answers[2]
    assert regions_left() == []
