"""`tao_analytics`: validate and describe the labels of a dataset with TAO's `analytics` (tables and charts)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Input, Output, Param, component
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.tao.service import ServicePorts


@dataclass(kw_only=True)
class Ports(ServicePorts):
    """Validate and describe the labels of a dataset with TAO's analytics (tables and charts)."""

    images: Annotated[Path, Input("The images")]
    labels: Annotated[Path, Input("KITTI: the folder of label files; COCO: the file or its folder")]
    format: Annotated[str, Param("Format of the labels", choices=("kitti", "coco"))]
    action: Annotated[
        str, Param("`validate` corrects boxes only if its spec says so", choices=("analyze", "validate"))
    ] = "analyze"
    report: Annotated[Path, Output("csv/ and graphs/ (analyze), the log and TAO's status")]


@component(name="tao_analytics", version="1", image="tao-ds")
def describe(ports: Ports, metrics: Metrics) -> None:
    """Run TAO's `analytics analyze` or `validate` and leave what it wrote in `report`."""
    from runtime.tao import service

    labels = service.labels_of("labels", ports.labels, ports.format)
    chosen = [
        ("data.input_format", ports.format.upper()),
        ("data.image_dir", str(service.images_of(ports.images))),
        ("data.ann_path", str(labels)),
    ]
    request = service.Request(
        network="analytics", dataset=labels, spec=ports.spec, spec_overrides=ports.spec_overrides, chosen=chosen,
        inputs=[ports.images, ports.labels],
    )  # fmt: skip
    service.run(request, ports.action, metrics, ports.report, ports.report)


if __name__ == "__main__":
    sys.exit(main(describe))
