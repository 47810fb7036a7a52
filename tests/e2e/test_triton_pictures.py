"""`pictures.yaml`: an ONNX classifier to a verified ensemble of image files, which answers as the image client does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from runtime.execute import main
from runtime.triton.client import Client, Endpoint
from runtime.triton.infer_images import infer_images
from tests.e2e.test_local_engine import ROOT, ngcrun
from tests.fakes.triton_server import server

IMAGES = ROOT / "tests" / "data" / "wider" / "WIDER_train" / "images"


def test_image_files_get_the_classes_that_the_image_client_finds(tmp_path: Path) -> None:
    done = ngcrun(tmp_path, "pipeline", str(ROOT / "component_specs" / "pipelines" / "pictures.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = tmp_path.glob("runs/pictures-*")
    report = json.loads((run / "outputs" / "verification" / "report.json").read_text())
    assert (report["live"], report["golden_source"]) == ("run", "sample")
    files = [path.read_bytes() for path in sorted(IMAGES.rglob("*.jpg"))]
    assert len(files) == 2
    with server(run / "outputs" / "repository", "eye", "colours") as running:
        words = [f"images={IMAGES}", f"url={running.http}", "model_name=colours", "task=classification", "pixels=unit"]
        assert main(infer_images, [*words, "top_k=2", f"predictions={tmp_path / 'out'}"]) == 0
        with Client(Endpoint(running.grpc, "grpc"), "eye") as client:
            found = client.infer({"image": np.array(files, dtype=object)[:, None]}, {"image": "BYTES"})
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    told = [[(row["name"], row["score"]) for row in line["classes"]] for line in lines]
    named = [[name.decode() for name in row] for row in found["classes"]]
    assert told == [list(zip(*row, strict=True)) for row in zip(named, found["scores"].round(6).tolist(), strict=True)]
    assert all(name in {"red", "green", "blue"} for row in named for name in row)
