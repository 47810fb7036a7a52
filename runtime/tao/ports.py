"""The ports that every TAO step has; a step's own dataclass adds what it reads besides and what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime.component import Input, Param

MODEL = Input("The model: what an earlier step wrote, or a checkpoint file")
OPTIONAL_DATASET = Input("Dataset, laid out as the network's file says; where its spec names one")


@dataclass(kw_only=True)
class TaoPorts:
    """What is asked of TAO."""

    network: Annotated[str, Param("TAO network; `ngcrun tao networks` lists them")]
    dataset: Annotated[Path | None, OPTIONAL_DATASET] = None
    records: Annotated[
        Path | None, Input("What tao_dataset_convert wrote (TFRecords), where it does not lie below the dataset")
    ] = None
    spec: Annotated[Path | None, Input("Your own spec, left untouched; else the network's template", "uri_file")] = None
    spec_overrides: Annotated[str | None, Param("Keys of the spec to set: key=value, separated by blanks")] = None
    device: Annotated[str, Param("`cpu` rehearses the real TAO without a GPU", choices=("gpu", "cpu"))] = "gpu"
    trust_checkpoint: Annotated[bool, Param("Load a checkpoint even if its pickle would run code")] = False
