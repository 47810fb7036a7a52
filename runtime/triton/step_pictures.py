"""Ready-made step `pictures`: from the bytes of JPEG, PNG or BMP files to a network's input, as the image client does.

It is copied beside a model.py and runs inside the server, which has numpy and Pillow (runtime/triton/ready_files.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from runtime.triton.boxes import Fit
from runtime.triton.model_config import Tensor
from runtime.triton.prepare import INTERPOLATIONS, Pixels, Preparation, prepared, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

IMAGE, FIT = "image", "fit"
FIT_NUMBERS = 8  # width and height of the image and of the network's input, then scale and offset, (x, y) each


def open_step(settings: Mapping[str, Any]) -> Callable[[Arrays], dict[str, NDArray[Any]]]:
    """The function of a step. Settings: `preparation` (its fields), `stacked` (images have a batch dimension), `fit`.

    It takes `image`, files as bytes, and gives the network's input, and with `fit` also how each image lies in it.
    A file that is no image is a `ValueError`, as are images of several sizes for a network that takes each at its own.
    """
    how = preparation_of(settings["preparation"])

    def predict(inputs: Arrays) -> dict[str, NDArray[Any]]:
        import numpy as np

        arrays, fits = [], []
        for number, data in enumerate(inputs[IMAGE].ravel()):
            try:
                array, fit = prepared(read(bytes(data)), how)
            except ValueError as error:
                raise ValueError(f"image {number} of the request {error}") from error
            arrays.append(array)
            fits.append(numbers_of(fit))
        if len({array.shape for array in arrays}) > 1:
            raise ValueError("the images of a request have several sizes; send each alone")
        found = {how.tensor.name: np.stack(arrays) if settings["stacked"] else arrays[0]}
        if settings["fit"]:
            found[FIT] = np.array(fits if settings["stacked"] else fits[0], dtype=np.float64)
        return found

    return predict


def preparation_of(settings: Mapping[str, Any]) -> Preparation:
    """A preparation from its fields as JSON has them; JSON keeps every number exactly."""
    tensor, pixels = settings["tensor"], settings["pixels"]
    return Preparation(
        Tensor(tensor["name"], tensor["dtype"], tuple(tensor["dims"])),
        settings["width"], settings["height"], settings["resize"], settings["layout"],
        Pixels(tuple(pixels["mean"]), tuple(pixels["scale"]), pixels["channels"]),
        settings.get("interpolation", INTERPOLATIONS[0]),  # a package that was made before there was a choice
    )  # fmt: skip


def numbers_of(fit: Fit) -> list[float]:
    """A fit as the numbers of the tensor `fit`."""
    return [*fit.image, *fit.network, *fit.scale, *fit.offset]


def fit_of(numbers: NDArray[Any]) -> Fit:
    """The fit of the numbers that `numbers_of` made."""
    a, b, c, d, *rest = numbers.tolist()
    return Fit((int(a), int(b)), (int(c), int(d)), (rest[0], rest[1]), (rest[2], rest[3]))
