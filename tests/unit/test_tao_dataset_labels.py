"""The layouts `kitti` and `voc`, a label file an image: each mistake, with its exact line."""

import pytest

from runtime.tao import network as networks
from runtime.tao.datasets import check
from tests.fakes import tao_datasets as data

KITTI = networks.Network(
    name="detector",
    task="object detection",
    dialect="prototext",
    image="tao-tf1",
    program="detector",
    schema="",
    actions={},
    layout="kitti",
    layout_paths={
        "root": "kitti_config.root_directory_path",
        "images": "kitti_config.image_dir_name",
        "labels": "kitti_config.label_dir_name",
        "extension": "kitti_config.image_extension",
        "mapping": "target_class_mapping",
    },
)


def kitti_said(root, **changes):
    config = {
        "root_directory_path": str(root),
        "image_dir_name": "images",
        "label_dir_name": "labels",
        "image_extension": ".png",
    }
    spec = {"kitti_config": {**config, **changes}, "target_class_mapping": [{"key": "car", "value": "car"}]}
    return [
        ("warning: " if f.warning else "") + f.problem.line().replace(str(root), "<d>")
        for f in check(KITTI, "dataset_convert", spec)
    ]


@pytest.fixture
def kitti(tmp_path):
    (tmp_path / "labels").mkdir()
    for index in range(3):
        data.picture(tmp_path / "images" / f"{index}.png")
        (tmp_path / "labels" / f"{index}.txt").write_text("Car 0.0 0 0.0 2.0 2.0 9.0 9.0 0 0 0 0 0 0 0\n")
    return tmp_path


def test_a_good_kitti_dataset_has_no_findings(kitti):
    assert kitti_said(kitti) == []


def test_images_and_labels_pair_up_by_name(kitti):
    (kitti / "images" / "0.png").unlink()
    (kitti / "labels" / "1.txt").unlink()
    assert kitti_said(kitti) == [
        "kitti_config.image_dir_name='<d>/images': holds 1 image without a label (1.png);"
        " add the label (of the same name), or remove the image",
        "kitti_config.label_dir_name='<d>/labels': holds 1 label without an image (0.txt);"
        " add the image (of the same name), or remove the label",
    ]


def test_lines_boxes_and_classes_of_kitti_labels_are_checked(kitti):
    (kitti / "labels" / "0.txt").write_text("Car 0.0 0 0.0 2.0 2.0 9.0\n")
    (kitti / "labels" / "1.txt").write_text("Car 0.0 0 0.0 9.0 2.0 2.0 9.0 0 0 0 0 0 0 0\n")
    (kitti / "labels" / "2.txt").write_text("Truck 0.0 0 0.0 2.0 2.0 99.0 9.0 0 0 0 0 0 0 0\n")
    place = "kitti_config.label_dir_name='<d>/labels'"
    assert kitti_said(kitti) == [
        f"{place}: holds 1 label line that is not a name and 14 numbers (0.txt line 1);"
        " write type, truncated, occluded, alpha, left, top, right, bottom, and 7 numbers (0 when 2D)",
        f"{place}: holds 1 box without width or height (1.txt line 1); write left < right and top < bottom",
        f"warning: {place}: holds 1 box reaching outside the image (2.txt line 1); correct them, in pixels",
        f"warning: {place}: holds 1 class that the spec does not map, so its boxes are left out (Truck in 2.txt);"
        " add it to the class mapping if it is wanted",
    ]


def test_an_extension_that_no_image_has_is_an_error(kitti):
    assert kitti_said(kitti, image_extension=".jpg") == [
        "kitti_config.image_dir_name='<d>/images': holds no image (.jpg);"
        " give the folder of the images, or correct the extension"
    ]


def test_voc_files_open_name_their_image_and_have_boxes_inside(tmp_path):
    network = networks.Network(
        "net", "", "yaml", "tao-pyt", "net", "", {}, "voc", {"train_images": "images", "train_annotations": "xml"}
    )
    box = "<object><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object>"
    (tmp_path / "xml").mkdir()
    for index, right in enumerate((9, 99, 9, 9)):
        data.picture(tmp_path / "images" / f"{index}.png")
        text = f"<annotation><filename>{index}.png</filename>{box.format(right)}</annotation>"
        (tmp_path / "xml" / f"{index}.xml").write_text(text)
    (tmp_path / "xml" / "2.xml").write_text("<annotation>")
    (tmp_path / "xml" / "3.xml").write_text("<annotation><filename>x.png</filename></annotation>")
    spec = {"images": str(tmp_path / "images"), "xml": str(tmp_path / "xml")}
    said = [f.problem.line().replace(str(tmp_path), "<d>") for f in check(network, "train", spec)]
    assert said == [
        "xml='<d>/xml': holds 1 file that is no VOC annotation (2.xml);"
        " correct the XML: filename, and object/bndbox with four numbers",
        "xml='<d>/xml': holds 1 file whose image is not in images (3.xml names x.png);"
        " correct <filename> or add the image",
        "xml='<d>/xml': holds 1 file with a box outside its image (1.xml); correct xmin, ymin, xmax, ymax, in pixels",
    ]
