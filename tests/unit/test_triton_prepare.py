"""Image files to a network's input, without a server."""

import numpy as np
import pytest
from PIL import Image

from runtime.errors import BadInput
from runtime.triton.model_config import Tensor
from runtime.triton.prepare import preparation, prepared, read

CHW = Tensor("x", "FP32", (3, 4, 8))
PLAIN = {"pixels": "raw", "resize": "stretch"}


def red(width=8, height=4):
    return Image.new("RGB", (width, height), (255, 10, 0))


def test_pixels_become_what_the_preset_says_in_its_order_of_channels():
    how = preparation(CHW, {"pixels": "caffe", "resize": "stretch"}, batched=True)
    array, _ = prepared(red(), how)
    assert (array.shape, array.dtype) == ((3, 4, 8), np.float32)
    assert array[:, 0, 0] == pytest.approx([0 - 103.939, 10 - 116.779, 255 - 123.68])
    array, _ = prepared(red(), preparation(CHW, {"pixels": "imagenet", "resize": "stretch"}, batched=True))
    assert array[:, 3, 7] == pytest.approx([(1 - 0.485) / 0.229, (10 / 255 - 0.456) / 0.224, -0.406 / 0.225], rel=1e-4)


def test_mean_scale_channels_and_layout_can_be_given():
    wished = PLAIN | {"mean": "5", "scale": "1,2,3", "channels": "bgr", "layout": "nhwc"}
    array, _ = prepared(red(), preparation(Tensor("x", "FP32", (4, 8, 3)), wished, batched=True))
    assert array[0, 0].tolist() == [-5, 10, 750]
    array, _ = prepared(red(), preparation(Tensor("x", "UINT8", (1, 4, 8)), PLAIN | {"pixels": "unit"}, batched=True))
    assert (array.shape, array.dtype, array[0, 0, 0]) == ((1, 4, 8), np.uint8, 82)  # 0.299 * 255 + 0.587 * 10


def test_a_letterboxed_picture_knows_where_it_lies():
    how = preparation(CHW, PLAIN | {"resize": "letterbox"}, batched=True)
    array, fit = prepared(red(20, 20), how)
    assert array[0, :, 2:6].min() == 255
    assert array[0, :, [0, 1, 6, 7]].max() == 0
    assert fit.to_image(np.array([[2, 0, 6, 4], [-9, 1, 4, 99]])).tolist() == [[0, 0, 20, 20], [0, 5, 10, 20]]
    _, fit = prepared(red(20, 20), preparation(CHW, PLAIN | {"resize": "corner"}, batched=True))
    assert fit.to_image(np.array([[0, 0, 4, 4]])).tolist() == [[0, 0, 20, 20]]


def test_a_network_that_takes_any_size_gets_the_picture_as_it_is():
    how = preparation(Tensor("x", "FP32", (3, -1, -1)), PLAIN, batched=True)
    assert how.free
    assert prepared(red(7, 5), how)[0].shape == (3, 5, 7)


@pytest.mark.parametrize(
    ("tensor", "wished", "said"),
    [
        (Tensor("x", "FP32", (4,)), {}, "model_name='x': takes no image: FP32 [4]; use triton_infer for tables"),
        (Tensor("x", "FP32", (5, 4, 4)), {}, "takes no image"),
        (Tensor("x", "BYTES", (3, 4, 4)), {}, "takes no image"),
        (CHW, {"channels": "gray"}, "channels='gray': are 1, x takes 3"),
        (CHW, {"mean": "1,2"}, "mean='1,2': is neither a number nor 3 of them"),
        (CHW, {"scale": "a"}, "scale='a': is neither a number nor 3 of them"),
    ],
)
def test_what_does_not_fit_an_image_is_refused(tensor, wished, said):
    with pytest.raises(BadInput) as caught:
        preparation(tensor, PLAIN | wished, batched=True)
    assert said in str(caught.value)


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    red(8, 4).save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").size == (4, 8)


def test_a_file_that_is_no_picture_says_why(tmp_path):
    red(64, 64).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    for content, said in ((b"", "is empty"), (b"text", "is no image"), (data[: len(data) // 2], "cut short|broken")):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read(tmp_path / "a.png")
    with pytest.raises(ValueError, match="cannot be read"):
        read(tmp_path / "none.png")
