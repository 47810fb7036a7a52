"""Small datasets in the layouts that TAO reads, and what our checks say about them."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from runtime.tao import network as networks
from runtime.tao.datasets import check

BOX = [2.0, 2.0, 8.0, 8.0]  # x, y, width, height


def picture(path, size=(16, 12), seed=0):
    """Write an image of noise; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def classes(root, names=("cat", "dog"), number=2):
    """<root>/{train,val,test}/<class>/<image> and classes.txt."""
    for split in ("train", "val", "test"):
        for name in names:
            for index in range(number):
                picture(root / split / name / f"{index}.png")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))


def coco(root, first=1):
    """<root>/{train,val}/<image> and <root>/annotations/{train,val}.json: two categories, ids from `first`."""
    for split in ("train", "val"):
        document = {
            "images": [],
            "annotations": [],
            "categories": [{"id": first + i, "name": n} for i, n in enumerate(("hat", "coat"))],
        }
        for index in range(4):
            picture(root / split / f"{index}.png")
            document["images"].append({"id": index, "file_name": f"{index}.png", "width": 16, "height": 12})
            box = {"id": index, "image_id": index, "category_id": first + index % 2, "bbox": BOX, "area": 64.0}
            document["annotations"].append(box)
        write_json(root / "annotations" / f"{split}.json", document)
    (root / "classmap.txt").write_text("background\nhat\ncoat\n")


def masks(root):
    """<root>/{images,masks}/{train,val,test}/<image>; masks of 0 and 255."""
    for split in ("train", "val", "test"):
        for index in range(4):
            picture(root / "images" / split / f"{index}.png")
            mask(root / "masks" / split / f"{index}.png")


def mask(path, size=(16, 12), value=255):
    """Write a mask whose right half has `value`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((size[1], size[0]), dtype=np.uint8)
    values[:, size[0] // 2 :] = value
    Image.fromarray(values).save(path)


def pairs(root):
    """<root>/{A,B,label}/<image> and <root>/list/{train,val,test}.txt."""
    names = [f"{index}.png" for index in range(4)]
    for name in names:
        picture(root / "A" / name)
        picture(root / "B" / name, seed=1)
        mask(root / "label" / name)
    (root / "list").mkdir()
    for split in ("train", "val", "test"):
        (root / "list" / f"{split}.txt").write_text("\n".join(names) + "\n")


def write_json(path, content):
    """Write JSON; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def edit_json(path, edit):
    """Read JSON, let `edit` change it, write it back."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def spec_of(network, root, changes=None):
    """The network's own template for a dataset, with dotted keys changed."""
    spec = yaml.safe_load(networks.fill(network.spec, {"dataset": str(root), "results": "/results"}))
    for key, value in (changes or {}).items():
        *above, last = key.split(".")
        section = spec
        for part in above:
            section = section.setdefault(part, {})
        section[last] = value
    return spec


def lines(network, action, root, changes=None, limit=20):
    """What the check says, a line a finding; the dataset's folder is `<d>`, a warning is marked."""
    if isinstance(network, str):
        network = networks.find(network)
    found = check(network, action, spec_of(network, root, changes), limit)
    told = [("warning: " if f.warning else "") + f.problem.line() for f in found]
    return [line.replace(str(Path(root)), "<d>") for line in told]
