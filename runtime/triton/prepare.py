"""From an image file to a network's input: resize, order of the channels, numbers, layout."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import BadInput
from runtime.triton.boxes import Fit
from runtime.triton.model_config import TYPES, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("JPEG", "PNG", "BMP")  # those of runtime/data/pictures.SUFFIXES; Pillow knows 40 more, each a risk
RESIZES = ("stretch", "letterbox", "corner")
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")  # as Pillow does them: over all pixels where an image shrinks
CHANNELS = ("rgb", "bgr", "gray")
LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class Pixels:
    """What a pixel becomes: `(pixel - mean) * scale`, a channel each in the order of `channels`."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    channels: str = "rgb"


# Source: tao-toolkit-triton-apps 9a30f969, tao_triton/python/utils/preprocess_input.py (modes tf, torch and caffe).
PIXELS = {
    "raw": Pixels((0.0,), (1.0,)),
    "unit": Pixels((0.0,), (1 / 255,)),
    "signed": Pixels((127.5,), (1 / 127.5,)),
    "imagenet": Pixels((123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)),
    "caffe": Pixels((103.939, 116.779, 123.68), (1.0,), "bgr"),
}


@dataclass(frozen=True)
class Preparation:
    """How images become the input `tensor`. `width`, `height`: None where the network takes the image's own."""

    tensor: Tensor
    width: int | None
    height: int | None
    resize: str
    layout: str
    pixels: Pixels
    interpolation: str = "bilinear"

    @property
    def free(self) -> bool:
        """Whether images keep their own sizes, so that each needs a request of its own."""
        return self.width is None or self.height is None


def preparation(tensor: Tensor, wished: Mapping[str, str | None], *, batched: bool) -> Preparation:
    """The preparation for an input as its server describes it.

    `wished`: `pixels`, `resize`, and, where they are set, `interpolation`, `channels`, `layout`, `mean` and `scale`.

    Raises:
        BadInput: when the input is no image, or what is wished for does not fit it.
    """
    dims = tensor.dims if batched else tensor.dims[1:] if len(tensor.dims) == 4 else tensor.dims
    layout = wished.get("layout") or _layout(dims)
    if len(dims) != 3 or layout is None or tensor.dtype not in TYPES or tensor.dtype == "BYTES":
        todo = "use triton_infer for tables and triton_infer_tensors for the rest; or say layout=nchw"
        raise BadInput.of("model_name", tensor.name, f"takes no image: {tensor.text()}", todo)
    depth, height, width = dims if layout == "nchw" else (dims[2], dims[0], dims[1])
    pixels = "raw" if tensor.dtype == "UINT8" else str(wished["pixels"])
    preset = PIXELS[pixels]
    channels = wished.get("channels") or ("gray" if depth == 1 else preset.channels)
    count = 1 if channels == "gray" else 3
    if depth not in (-1, count):
        raise BadInput.of("channels", channels, f"are {count}, {tensor.name} takes {depth}", "name another order")
    mean = _numbers("mean", wished.get("mean"), preset.mean, count)
    scale = _numbers("scale", wished.get("scale"), preset.scale, count)
    sides = [None if side == -1 else side for side in (width, height)]
    pixels_of = Pixels(mean, scale, channels)
    interpolation = wished.get("interpolation") or INTERPOLATIONS[0]
    return Preparation(tensor, sides[0], sides[1], str(wished["resize"]), layout, pixels_of, interpolation)


def _layout(dims: tuple[int, ...]) -> str | None:
    """The layout that the dims tell: the channels are the side of 1 or 3."""
    if len(dims) != 3:
        return None
    if dims[0] in (1, 3):
        return "nchw"
    return "nhwc" if dims[2] in (1, 3) else None


def _numbers(port: str, text: str | None, preset: tuple[float, ...], count: int) -> tuple[float, ...]:
    if text is None:
        return preset if len(preset) == count else (sum(preset) / len(preset),) * count
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in (1, count):
        raise BadInput.of(port, text, f"is neither a number nor {count} of them", "write 0.5 or 0.485,0.456,0.406")
    return found if len(found) == count else found * count


def read(source: Path | bytes) -> Any:
    """The picture in a file, or in the bytes of one, turned as its camera says.

    Raises:
        ValueError: with what is wrong with the file.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            turned = ImageOps.exif_transpose(image)
            return turned.convert("RGB")
    except UnidentifiedImageError as error:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        raise ValueError("is no image" if size else "is empty") from error
    except (SyntaxError, ValueError, OSError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ValueError(f"cannot be read ({(error.strerror or str(error)).lower()})") from error
        raise ValueError("is cut short" if "truncated" in str(error) else "is broken") from error


def prepared(picture: Any, how: Preparation) -> tuple[NDArray[Any], Fit]:
    """The input for one picture, without the batch dimension, and how the picture lies in it."""
    import numpy as np

    resized, fit = _resized(picture, how)
    channels = how.pixels.channels
    array = np.asarray(resized.convert("L") if channels == "gray" else resized, dtype=np.float32)
    array = array[..., None] if channels == "gray" else array[..., ::-1] if channels == "bgr" else array
    mean, scale = (np.array(numbers, np.float32) for numbers in (how.pixels.mean, how.pixels.scale))
    array = (array - mean) * scale
    kind = np.dtype(TYPES[how.tensor.dtype].numpy)
    if kind.kind in "iu":
        array = np.clip(np.rint(array), np.iinfo(kind).min, np.iinfo(kind).max)
    array = array.transpose(2, 0, 1) if how.layout == "nchw" else array
    return np.ascontiguousarray(array, dtype=kind), fit


def _resized(picture: Any, how: Preparation) -> tuple[Any, Fit]:
    from PIL import Image

    width, height = how.width or picture.width, how.height or picture.height
    resampling = Image.Resampling[how.interpolation.upper()]
    if how.resize == "stretch":
        fit = Fit(picture.size, (width, height), (width / picture.width, height / picture.height))
        return picture.resize((width, height), resampling), fit
    share = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * share)), max(1, round(picture.height * share))
    left, top = (0, 0) if how.resize == "corner" else ((width - size[0]) // 2, (height - size[1]) // 2)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(picture.resize(size, resampling), (left, top))
    return canvas, Fit(picture.size, (width, height), (size[0] / picture.width, size[1] / picture.height), (left, top))
