from __future__ import annotations

from pathlib import Path

import pytest

from runtime.command import Command
from runtime.errors import BadInput
from runtime.metrics import Memory, Metrics
from runtime.tao import analytics, annotations, augmentation, network, program, service


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """Two images with KITTI labels; the classes are not in the order of the files."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name, text in (("a", "zebra 0 0 0 1 1 9 9 0 0 0 0 0 0 0\n"), ("b", "ape 0 0 0 2 2 8 8 0 0 0 0 0 0 0\n\n")):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(b"jpg")
        (tmp_path / "labels" / f"{name}.txt").write_text(text)
    return tmp_path


def metrics() -> Metrics:
    return Metrics([Memory()])


def line(error: BadInput) -> str:
    (problem,) = error.problems
    return problem.line("tao_annotations")


def test_a_pair_that_tao_calls_a_success_without_an_output_is_refused_with_those_that_exist(kitti: Path) -> None:
    ports = annotations.Ports(labels=kitti, source="yolo", target="coco", converted=kitti / "out")
    with pytest.raises(BadInput) as caught:
        annotations.convert.run(ports, metrics())
    assert line(caught.value) == (
        "tao_annotations: source='yolo': TAO cannot convert it to coco; it has: kitti to coco, coco to kitti, "
        "coco to odvg, coco to coco, odvg to coco, aicity to ovpkl, nvidia_pas to tao_clip, nvidia_paidf_pas to tao_clip"
    )


def test_kitti_to_coco_without_images_is_refused(kitti: Path) -> None:
    ports = annotations.Ports(labels=kitti, source="KITTI", target="coco", converted=kitti / "out")
    with pytest.raises(BadInput) as caught:
        annotations.convert.run(ports, metrics())
    expected = "tao_annotations: images=None: KITTI to COCO needs the sizes of the images; give images=PATH"
    assert line(caught.value) == expected


def test_an_image_without_a_label_file_is_named_before_tao_stops_at_it(kitti: Path) -> None:
    (kitti / "images" / "c.png").write_bytes(b"png")
    ports = annotations.Ports(labels=kitti, images=kitti, source="kitti", target="coco", converted=kitti / "out")
    with pytest.raises(BadInput) as caught:
        annotations.convert.run(ports, metrics())
    assert line(caught.value) == (
        f"tao_annotations: images='{kitti / 'images'}': 1 images have no label file (c.png); "
        "add the .txt files (empty where there is no object)"
    )


def test_odvg_without_its_label_map_is_refused_because_tao_would_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    ports = annotations.Ports(labels=tmp_path, source="odvg", target="coco", converted=tmp_path)
    with pytest.raises(BadInput) as caught:
        annotations.convert.run(ports, metrics())
    assert line(caught.value) == (
        f"tao_annotations: labels='{tmp_path}/a.jsonl': there is no a_labelmap.json beside it; "
        "give mapping=FILE, the label map ({number: class})"
    )


def test_a_folder_without_labels_is_refused(kitti: Path) -> None:
    with pytest.raises(BadInput, match=r"labels='.*images': holds no KITTI labels \(\*.txt\); name the folder"):
        service.labels_of("labels", kitti / "images", "kitti")
    with pytest.raises(BadInput, match=r"labels='.*': holds 0 .json files; name the coco file"):
        service.labels_of("labels", kitti, "coco")


def test_labels_are_found_in_what_the_steps_write(kitti: Path) -> None:
    (kitti / "model.json").write_text("{}")
    (kitti / "annotations.json").write_text("{}")
    assert service.labels_of("labels", kitti, "kitti") == kitti / "labels"
    assert service.labels_of("labels", kitti, "coco") == kitti / "annotations.json"
    assert service.labels_of("labels", kitti / "annotations.json", "coco") == kitti / "annotations.json"
    assert service.images_of(kitti) == service.images_of(kitti / "images") == kitti / "images"


def test_classes_are_numbered_in_their_own_order_and_not_that_of_the_folder(kitti: Path) -> None:
    assert service.classes_of(kitti / "labels") == ["ape", "zebra"]
    assert service.mapping_text(["ape", "no", "zebra"]) == "- ape:\n  - ape\n- 'no':\n  - 'no'\n- zebra:\n  - zebra\n"


def test_the_same_coco_comes_out_whatever_order_tao_listed_the_images_in() -> None:
    def coco(first: str, second: str) -> dict[str, object]:
        images = [{"file_name": first, "id": 1}, {"file_name": second, "id": 2}]
        boxes = [{"id": n, "image_id": n, "of": image["file_name"]} for n, image in enumerate(images, 1)]
        return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ape"}]}

    ordered = annotations.in_order(coco("b.jpg", "a.jpg"))
    assert ordered == annotations.in_order(coco("a.jpg", "b.jpg")) == coco("a.jpg", "b.jpg")


def test_a_key_that_a_port_sets_may_not_be_set_again(kitti: Path) -> None:
    ports = analytics.Ports(
        images=kitti, labels=kitti, format="kitti", report=kitti, spec_overrides="data.input_format=YOLO workers=2"
    )
    with pytest.raises(BadInput) as caught:
        analytics.describe.run(ports, metrics())
    expected = "spec_overrides='data.input_format': is set by a port of this step; leave it out, and set the port"
    assert str(caught.value) == expected


def test_a_width_without_a_height_is_refused(kitti: Path) -> None:
    ports = augmentation.Ports(images=kitti, labels=kitti, format="kitti", width=64, augmented=kitti)
    with pytest.raises(BadInput) as caught:
        augmentation.generate.run(ports, metrics())
    assert str(caught.value) == "width=64: height=None: TAO wants both or none; give both"


def test_the_command_of_a_data_service_on_a_cpu_is_this(tmp_path: Path) -> None:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "annotations").write_text("")
    environ = {"NGCRUN_TAO_DS_ENV": str(tmp_path / "env"), "PATH": "", "OMP_NUM_THREADS": "2"}
    found = network.find("annotations")
    run = program.Run(found, found.action("convert"), Path("/r/spec.yaml"), Path("/r"), {}, "cpu")
    where = program.find(found, run.action, device="cpu", environ=environ)
    assert program.command(run, where, environ) == Command(
        (str(tmp_path / "env" / "bin" / "annotations"), "convert", "-e", "/r/spec.yaml"),
        Path("/r"),
        {
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(program.DS_SHIM),
            "NGCRUN_TAO_CPU": "",
            "WANDB_MODE": "disabled",
            "NGCRUN_TAO_DS_CPU": "1",
            "HF_HUB_OFFLINE": "1",
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "OMP_NUM_THREADS": "2",
        },
        tmp_path / "env" / "bin",
    )


def test_without_the_environment_the_way_to_make_it_is_told(tmp_path: Path) -> None:
    found = network.find("analytics")
    environ = {"NGCRUN_TAO_DS_ENV": str(tmp_path), "PATH": ""}
    with pytest.raises(BadInput) as caught:
        program.find(found, found.action("analyze"), device="cpu", environ=environ)
    assert str(caught.value) == (
        "network='analytics': TAO's program 'analytics' is not on this machine; make the environment: "
        "python -m runtime.tao.env ds (1.6 GB on disk), or set NGCRUN_TAO_DS_ENV"
    )
