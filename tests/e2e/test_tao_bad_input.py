"""What bad input gets from the TAO steps: its exact lines and exit status, nothing half-written, no input changed.

The steps are the real ones, in this process; below them are TAO's own schemas and stand-ins of TAO's programs. The pair of
formats that TAO cannot convert and calls a success (yolo to coco) belongs to tao_annotations and is tested with it.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tao_support import SMALL, bytes_below, have_tao, kitti, left_over, plain, run

from runtime import catalog
from runtime.component import Output
from runtime.tao import network as networks
from runtime.tao.machine import gpu_count
from tests.fakes import tao_datasets
from tests.fakes.tao_pyt.work import checkpoint_bytes

ROOT = Path(__file__).parents[2]
Prepare = Callable[[Path], object]


@dataclass
class Case:
    """One mistake. In texts `{}` is the test's folder; `ports` replace those of BASE, None unbinds one."""

    step: str
    told: Sequence[str]
    status: int
    prepare: Prepare | None
    env: dict[str, str]
    words: Sequence[str]
    warned: Sequence[str]
    ports: dict[str, object]


def case(step, told, status=2, *, prepare=None, env=None, words=(), warned=(), **ports) -> Case:
    return Case(step, [told] if isinstance(told, str) else told, status, prepare, env or {}, words, warned, ports)


# --- what is there, and what a case spoils ---------------------------------------------------------------------------

CLASSIFIER = {"network": "classification_pyt", "dataset": "{}/data", "spec_overrides": SMALL}
TF1 = {"network": "detectnet_v2", "dataset": "{}/kitti", "spec_overrides": None}
RTDETR = {"network": "rtdetr", "dataset": "{}/coco", "spec_overrides": "dataset.num_classes=3 train.num_epochs=2"}
SEGFORMER = {
    "network": "segformer",
    "dataset": "{}/masks",
    "spec_overrides": "train.num_epochs=2 model.backbone.type=fan_tiny_8_p4_hybrid",
}
MODEL = {"checkpoint": "{}/model.pth"}


def write(name: str, content: str | bytes) -> Prepare:
    return lambda at: (at / name).write_bytes(content.encode() if isinstance(content, str) else content)


def remove(name: str) -> Prepare:
    return lambda at: shutil.rmtree(at / name) if (at / name).is_dir() else (at / name).unlink()


def move(name: str, to: str) -> Prepare:
    return lambda at: (at / name).rename(at / to)


def cut(name: str) -> Prepare:
    def act(at: Path) -> None:
        data = (at / name).read_bytes()
        (at / name).write_bytes(data[: len(data) // 2])

    return act


def both(*acts: Prepare) -> Prepare:
    def act(at: Path) -> None:
        for each in acts:
            each(at)

    return act


def tf1_spec(old: str, new: str) -> Prepare:
    def act(at: Path) -> None:
        text = networks.find("detectnet_v2").spec
        assert old in text
        (at / "spec.txt").write_text(text.replace(old, new))

    return act


def pickled(name: str, payload: bytes) -> Prepare:
    def act(at: Path) -> None:
        with zipfile.ZipFile(at / name, "w") as archive:
            archive.writestr("archive/data.pkl", payload)

    return act


def colours(at: Path) -> None:
    pixels = np.full((12, 16), 7, dtype=np.uint8)
    Image.fromarray(pixels).save(at / "masks" / "masks" / "train" / "0.png")


def several(at: Path) -> None:
    (at / "models").mkdir()
    for name in ("model_epoch_000.pth", "model_epoch_001.pth"):
        (at / "models" / name).write_bytes(checkpoint_bytes("classification_pyt", "a", 0))


def other_state(at: Path) -> None:
    (at / "state").mkdir()
    card = {"network": "rtdetr", "action": "train", "checkpoints": ["train/a.pth"]}
    (at / "state" / "state.json").write_text(json.dumps(card))


def torn_state(at: Path) -> None:
    (at / "state").mkdir()
    (at / "state" / "state.json").write_text('{"network": "classif')


def annotation(key: str, index: int, field: str, value: object) -> Prepare:
    def act(at: Path) -> None:
        path = at / "coco" / "annotations" / "train.json"
        document = json.loads(path.read_text())
        document[key][index][field] = value
        path.write_text(json.dumps(document))

    return act


CASES = {
    # the network and the action
    "wrong_network": case("train", "tao_train: network='clasification_pyt': is not a TAO network; did you mean 'classification_pyt'? see `ngcrun tao networks`", network="clasification_pyt"),
    "network_of_no_name_like_it": case("train", "tao_train: network='resnet': is not a TAO network; did you mean 'retinanet'? see `ngcrun tao networks`", network="resnet"),
    "action_that_the_network_lacks": case("prune", "tao_prune: action='prune': classification_pyt cannot do it; classification_pyt has: train, evaluate, inference, export, quantize, distill, gen_trt_engine", **MODEL),
    "action_that_the_tf1_network_lacks": case("distill", "tao_distill: action='distill': detectnet_v2 cannot do it; detectnet_v2 has: dataset_convert, train, evaluate, prune, retrain, calibration_tensorfile, inference, export, gen_trt_engine", **TF1, checkpoint="{}/model.hdf5", prepare=write("model.hdf5", "x")),
    "network_not_bound": case("train", "tao_train: network=None: is required and not bound; add network=VALUE: TAO network; `ngcrun tao networks` lists them", network=None),
    "device_of_no_such_name": case("train", "tao_train: device='tpu': is not a choice; did you mean 'gpu'? known: cpu, gpu", device="tpu"),
    "no_gpu": case("train", "tao_train: device='gpu': this machine has no NVIDIA GPU; add device=cpu to rehearse without one, or run on a GPU node (`ngcrun doctor` says what is here)", device="gpu"),
    "no_tao_on_this_machine": case("train", "tao_train: network='classification_pyt': TAO's program 'classification_pyt' is not on this machine; make the environment: python -m runtime.tao.env cpu (8 GB on disk), or set NGCRUN_TAO_ENV", env={"PATH": "/usr/bin:/bin", "NGCRUN_TAO_ENV": "{}/no_env"}),
    "no_tf1_on_this_machine": case("train", "tao_train: network='detectnet_v2': TAO's program 'detectnet_v2' is not on this machine; run it in the image tao-tf1 (docker, AzureML)", **TF1, env={"PATH": "/usr/bin:/bin"}),
    "several_processes_a_node": case("train", "tao_train: distribution='2 processes a node': is not what TAO expects; set distribution.process_count_per_instance: 1; TAO starts one process a GPU itself", env={"WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}),
    "world_size_that_is_no_number": case("train", "tao_train: WORLD_SIZE='two': is not a whole number; unset the variable, or give the number that it means", env={"WORLD_SIZE": "two"}),
    # the command line, as people write it and as AzureML's specs do
    "misspelled_port": case("train", "tao_train: datasett='<d>/data': is not a port; did you mean 'dataset'? known: dataset, device, network, pretrained, records, spec, spec_overrides, state, trained, trust_checkpoint", words=["--datasett={}/data"]),
    "flag_without_a_value": case("train", "tao_train: pretrained=None: has no value; write --pretrained=VALUE", words=["--pretrained"]),
    "empty_path": case("train", "tao_train: pretrained='': is empty; name a file or folder", words=["--pretrained="]),
    "word_that_is_no_override": case("train", "tao_train: argument='train.num_epochs': is not an override; write port=value, group.field=value or --port=value", words=["train.num_epochs"]),
    "spec_key_as_a_port": case("train", "tao_train: train.num_epochs='3': is not a port; did you mean 'trained'? known: dataset, device, network, pretrained, records, spec, spec_overrides, state, trained, trust_checkpoint", words=["train.num_epochs=3"]),
    "switch_that_is_neither": case("train", "tao_train: trust_checkpoint='yes': is not true or false; write true or false, such as trust_checkpoint=false", words=["--trust_checkpoint=yes"]),
    "checkpoint_not_bound": case("evaluate", "tao_evaluate: checkpoint=None: is required and not bound; add checkpoint=VALUE: The model: what an earlier step wrote, or a checkpoint file", checkpoint=None),
    "dataset_not_bound": case("train", "tao_train: dataset=None: classification_pyt train needs it; give dataset=PATH", dataset=None),
    "output_that_holds_data": case("train", "tao_train: trained='<d>/out': already holds data; remove it or name another place", prepare=lambda at: (at / "out").mkdir() or write("out/mine.txt", "x")(at)),
    "output_below_a_file": case("train", "tao_train: trained='<d>/model.pth/out': cannot be written (file exists); name a place that you may write to", trained="{}/model.pth/out", status=2),
    # key=value
    "override_without_a_value": case("train", "tao_train: spec_overrides='train.num_epochs': is not key=value; write key=value, such as train.num_epochs=3; to unset a key write key=null", spec_overrides="train.num_epochs"),
    "override_with_an_open_quote": case("train", 'tao_train: spec_overrides="model.backbone.type=\'resnet_18": no closing quotation; close the quote', spec_overrides="model.backbone.type='resnet_18"),
    "override_with_an_open_bracket": case("train", "tao_train: model.head.topk='[1,5': no viable alternative at input '[1,5'; quote the word and the value: \"key='...'\"", spec_overrides=f"{SMALL} model.head.topk=[1,5"),
    "override_that_is_a_sweep": case("train", "tao_train: train.optim.lr='0.1,0.2': is a sweep; give one value; quote one that holds commas: \"key='...'\"", spec_overrides=f"{SMALL} train.optim.lr=0.1,0.2"),
    "override_with_a_deletion": case("train", "tao_train: spec_overrides='~train.optim': is not key=value; write key=value, such as train.num_epochs=3; to unset a key write key=null", spec_overrides=f"{SMALL} ~train.optim"),
    "override_with_a_strange_key": case("train", "tao_train: spec_overrides='1train=3': is not key=value; write key=value, such as train.num_epochs=3; to unset a key write key=null", spec_overrides=f"{SMALL} 1train=3"),
    "three_bad_overrides_at_once": case("train", ["tao_train: spec_overrides='a': is not key=value; write key=value, such as train.num_epochs=3; to unset a key write key=null", "tao_train: c='[': no viable alternative at input '['; quote the word and the value: \"key='...'\"", "tao_train: spec_overrides='=d': is not key=value; write key=value, such as train.num_epochs=3; to unset a key write key=null"], spec_overrides="a b= c=[ =d"),
    "override_into_a_value": case("train", "tao_train: train.num_epochs.more=3: 'num_epochs' is '3', not a section; leave out what follows it", spec_overrides=f"{SMALL} train.num_epochs.more=3"),
    "override_of_an_index_that_is_not_there": case("train", "tao_train: model.head.topk[7]=3: '7' is not in the list; give an index that is there", spec_overrides=f"{SMALL} model.head.topk[7]=3"),
    # the spec
    "spec_missing": case("train", "tao_train: spec='<d>/none.yaml': does not exist; name an existing file", spec="{}/none.yaml"),
    "spec_is_a_folder": case("train", "tao_train: spec='<d>/data': is a directory; name a file that is there", spec="{}/data"),
    "spec_not_utf8": case("train", "tao_train: spec='<d>/spec.yaml': is not UTF-8 text (byte 15); save it as UTF-8", spec="{}/spec.yaml", prepare=write("spec.yaml", b"train:\n  note: \xe9t\xe9\n")),
    "spec_utf16": case("train", "tao_train: spec='<d>/spec.yaml': is not UTF-8 text (byte 0); save it as UTF-8", spec="{}/spec.yaml", prepare=write("spec.yaml", "train: {}\n".encode("utf-16"))),
    "spec_not_yaml": case("train", "tao_train: spec='line 2, column 9': is not YAML: expected ',' or ']', but got ':'; mend the file there", spec="{}/spec.yaml", prepare=write("spec.yaml", "train: [1, 2\nevaluate: 3\n")),
    "spec_with_a_tab": case("train", "tao_train: spec='line 2, column 1': is not YAML: found character '\\t' that cannot start any token; mend the file there", spec="{}/spec.yaml", prepare=write("spec.yaml", "train:\n\tnum_epochs: 3\n")),
    "spec_is_a_list": case("train", "tao_train: spec='line 1': is no mapping; a spec is lines of key: value", spec="{}/spec.yaml", prepare=write("spec.yaml", "- train\n- evaluate\n")),
    "spec_with_a_duplicate_key": case("train", "tao_train: train.num_epochs='line 3': stands twice; keep one of them; TAO refuses a key that stands twice", spec="{}/spec.yaml", prepare=write("spec.yaml", "train:\n  num_epochs: 3\n  num_epochs: 4\n")),
    "spec_with_control_characters": case("train", "tao_train: spec='text': is not YAML: unacceptable character #x0000: special characters are not allowed; mend the file", spec="{}/spec.yaml", prepare=write("spec.yaml", b"train:\n  num_epochs: \x00\x1b3\n")),
    "spec_with_two_documents": case("train", "tao_train: spec='line 2, column 1': is not YAML: but found another document; mend the file there", spec="{}/spec.yaml", prepare=write("spec.yaml", "train: {}\n---\ntrain: {}\n")),
    "spec_with_an_object": case("train", "tao_train: spec='line 1, column 8': could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'; write a plain value there", spec="{}/spec.yaml", prepare=write("spec.yaml", "train: !!python/object/apply:os.system [ls]\n")),
    "spec_that_is_prototext": case("train", "tao_train: spec='line 5, column 19': is not YAML: could not find expected ':'; mend the file there", spec="{}/spec.txt", prepare=tf1_spec("random_seed", "random_seed")),
    "misspelled_key_at_depth_four": case("train", "tao_train: dataset.augmentation.random_flip.enabel (line 18)=True: is not a key of this spec; did you mean 'dataset.augmentation.random_flip.enable'?", spec_overrides=f"{SMALL} dataset.augmentation.random_flip.enabel=true"),
    "misspelled_key_in_the_file": case("train", "tao_train: evaluate.chekpoint (line 3)='a': is not a key of this spec; did you mean 'evaluate.checkpoint'?", spec="{}/spec.yaml", prepare=write("spec.yaml", "# mine\nevaluate:\n  chekpoint: a\n")),
    "key_of_another_section": case("train", "tao_train: train.batch_size (line 33)=3: is not a key of this spec; did you mean 'dataset.batch_size'?", spec_overrides=f"{SMALL} train.batch_size=3"),
    "wrong_type": case("train", "tao_train: train.num_epochs (line 26)='three': is not a whole number; write a whole number, such as 10", spec_overrides=f"{SMALL} train.num_epochs=three"),
    "wrong_type_list": case("train", "tao_train: train.gpu_ids (line 25)=0: is not a list; write a list, such as [0]", spec_overrides=f"{SMALL} train.gpu_ids=0"),
    "null_where_none_may_be": case("train", "tao_train: train.num_epochs (line 26)=None: may not be null; give a whole number", spec_overrides=f"{SMALL} train.num_epochs=null"),
    "everything_wrong_at_once": case("train", ["tao_train: dataset.batch_size (line 8)=[1]: is not a whole number; write a whole number, such as 8", "tao_train: train.num_epochs (line 26)='x': is not a whole number; write a whole number, such as 10", "tao_train: train.nume_gpus (line 33)=1: is not a key of this spec; did you mean 'train.num_gpus'?"], spec_overrides=f"{SMALL} train.num_epochs=x train.nume_gpus=1 dataset.batch_size=[1]"),
    "reference_to_nothing": case("train", "tao_train: train.pretrained_model_path (line 33)='${model.wieghts}': refers to model.wieghts, which is not in the spec; name a key that is there", spec_overrides=f"{SMALL} 'train.pretrained_model_path=${{model.wieghts}}'"),
    "placeholder_not_bound": case("train", "tao_train: pretrained=None: the spec of classification_pyt train holds ${pretrained} and it is not bound; give pretrained=PATH, or put a path in its place", spec="{}/spec.yaml", prepare=write("spec.yaml", "train:\n  pretrained_model_path: ${pretrained}\n")),
    "path_inside_a_container": case("train", "tao_train: dataset.train_dataset.images_dir (line 11)='/workspace/data/train': does not exist; name a path on this machine; one inside a container is another", spec_overrides=f"{SMALL} dataset.train_dataset.images_dir=/workspace/data/train"),
    "relative_path_that_is_nowhere": case("train", "tao_train: train.pretrained_model_path (line 33)='weights/a.pth': does not exist below <d>; name a path on this machine; one inside a container is another", spec_overrides=f"{SMALL} train.pretrained_model_path=weights/a.pth"),
    "checkpoint_interval_above_num_epochs": case("train", "tao_train: train.checkpoint_interval=9: exceeds train.num_epochs (3), which TAO refuses; give 3 or less", spec_overrides=f"{SMALL} train.checkpoint_interval=9"),
    "validation_interval_above_num_epochs": case("train", "tao_train: train.validation_interval=9: exceeds train.num_epochs (3), which TAO refuses; give 3 or less", spec_overrides=f"{SMALL} train.validation_interval=9"),
    # out of range is a warning, and TAO goes on
    "out_of_range": case("train", [], 0, spec_overrides=f"{SMALL} train.optim.lr=-5", warned=["warning: train.optim.lr (line 31)=-5: is below TAO's minimum 0; give 0 or more"]),
    "none_of_the_options": case("train", [], 0, spec_overrides=f"{SMALL} train.optim.optim=lion", warned=["warning: train.optim.optim (line 30)='lion': is none of TAO's options; options: adamw, adam, sgd"]),
    # what only some actions can be told
    "images_where_there_are_none": case("inference", "tao_inference: images='nowhere': is no folder with images in <d>/kitti; name one below the dataset: images=FOLDER", **TF1, checkpoint="{}/model.hdf5", images="nowhere", prepare=write("model.hdf5", "x")),
    "images_that_the_spec_names": case("inference", "tao_inference: images='test': classification_pyt inference does not take it; leave it out; what its spec holds is set with spec_overrides", **MODEL, images="test", prepare=write("model.pth", checkpoint_bytes("classification_pyt", "a", 0))),
    "data_type_that_the_spec_names": case("gen_trt_engine", "tao_gen_trt_engine: data_type='int8': classification_pyt gen_trt_engine does not take it; leave it out; what its spec holds is set with spec_overrides", checkpoint="{}/model.onnx", data_type="int8", prepare=write("model.onnx", "x")),
    "calibration_without_tensors": case("gen_trt_engine", "tao_gen_trt_engine: calibration='<d>/kitti/train': holds no calibration.tensor; name what tao_calibration_tensorfile wrote", **TF1, checkpoint="{}/model.onnx", data_type="int8", calibration="{}/kitti/train", prepare=write("model.onnx", "x")),
    "quantization_aware_model_at_fp16": case("gen_trt_engine", "tao_gen_trt_engine: data_type='fp16': is not what a model that was trained quantization-aware (training_config.enable_qat) can be built at; add data_type=int8", **TF1 | {"spec_overrides": "training_config.enable_qat=true"}, checkpoint="{}/model.onnx", prepare=write("model.onnx", "x")),
    "quantization_aware_model_without_its_scales": case("gen_trt_engine", "tao_gen_trt_engine: checkpoint='<d>/model.onnx': has no calibration.json beside it, the scales of a model that was trained quantization-aware; give what tao_export wrote of that model, or set training_config.enable_qat=false to calibrate it", **TF1 | {"spec_overrides": "training_config.enable_qat=true"}, checkpoint="{}/model.onnx", data_type="int8", prepare=write("model.onnx", "x")),
    # TF1's specs
    "tf1_unknown_field": case("train", "tao_train: training_config.nun_epochs='80': line 104:3: 'nun_epochs' is not a key of TrainingConfig; did you mean 'num_epochs'? known: batch_size_per_gpu, checkpoint_interval, cost_scaling, enable_qat, learning_rate, num_epochs, optimizer, regularizer, visualizer", **TF1, spec="{}/spec.txt", prepare=tf1_spec("num_epochs: 80", "nun_epochs: 80")),
    "tf1_wrong_type": case("train", "tao_train: training_config.num_epochs='eighty': line 104:15: is a string; TAO wants a whole number (uint32); remove the quotes, or give another value", **TF1, spec="{}/spec.txt", prepare=tf1_spec("num_epochs: 80", 'num_epochs: "eighty"')),
    "tf1_dbscan_min_samples": case("train", "tao_train: postprocessing_config.target_class_config.value.clustering_config.dbscan_min_samples='0.05': line 45:29: is a fraction, and TAO 5 takes a whole number here (int32); specs for TAO 3.22 hold a fraction; a cast would guess: `ngcrun tao migrate` takes the value that you decide on, as dbscan_min_samples=VALUE", **TF1, spec="{}/spec.txt", prepare=tf1_spec("dbscan_min_samples: 1", "dbscan_min_samples: 0.05")),
    "tf1_unbalanced_brace": case("train", "tao_train: spec='{': line 132:24: this '{' is never closed; add '}'", **TF1, spec="{}/spec.txt", prepare=write("spec.txt", networks.find("detectnet_v2").spec.rstrip()[:-1])),
    "tf1_yaml_spec": case("train", "tao_train: spec=':': line 2:13: expected a field's name; write `name: value` or `name { ... }`", **TF1, spec="{}/spec.txt", prepare=write("spec.txt", "train:\n  num_epochs: 3\n")),
    "tf1_path_with_a_blank": case("train", "tao_train: dataset='<d>/my data': holds a character that TF1's bash would misread; name a path of letters, digits and ._-", **TF1 | {"dataset": "{}/my data"}, prepare=move("kitti", "my data")),
    "tf1_no_tfrecords": case("train", "tao_train: dataset_config.data_sources.0.tfrecords_path='<d>/kitti/tfrecords/*': matches no file; name a path on this machine; one inside a container is another", **TF1, prepare=remove("kitti/tfrecords")),
    "tf1_relative_tfrecords_that_match_nothing": case("train", "tao_train: dataset_config.data_sources.0.tfrecords_path='records/*': matches no file below <d>; name a path on this machine; one inside a container is another", **TF1, spec="{}/spec.txt", prepare=tf1_spec("${records}/tfrecords/*", "records/*")),
    "tf1_override_of_an_unknown_field": case("train", "tao_train: training_config.epochs='3': line 131:3: 'epochs' is not a key of TrainingConfig; did you mean 'num_epochs'? known: batch_size_per_gpu, checkpoint_interval, cost_scaling, enable_qat, learning_rate, num_epochs, optimizer, regularizer, visualizer", **TF1 | {"spec_overrides": "training_config.epochs=3"}),
    "tf1_encrypted_model_without_a_key": case("evaluate", "tao_evaluate: checkpoint='<d>/model.tlt': is encrypted and there is no key; set NGCRUN_TAO_KEY to the key that it was written with", **TF1, checkpoint="{}/model.tlt", prepare=write("model.tlt", "x")),
    "tf1_wrong_key": case("evaluate", "tao_evaluate: detectnet_v2 evaluate: the encryption key is not the one that the model was written with; set NGCRUN_TAO_KEY to the right key; log: <d>/out.log", 3, **TF1, checkpoint="{}/model.tlt", prepare=write("model.tlt", "sealed"), env={"NGCRUN_TAO_KEY": "no"}),
    # the dataset
    "dataset_missing": case("train", "tao_train: dataset='<d>/nowhere': does not exist; name an existing folder", dataset="{}/nowhere"),
    "dataset_empty": case("train", "tao_train: dataset='<d>/empty': is an empty folder; name a folder that holds the data", dataset="{}/empty", prepare=lambda at: (at / "empty").mkdir()),
    "dataset_without_a_split": case("train", "tao_train: dataset.train_dataset.images_dir (line 11)='<d>/data/train': does not exist; name a path on this machine; one inside a container is another", prepare=remove("data/train")),
    "empty_split": case("train", "tao_train: dataset.val_dataset.images_dir='<d>/data/val': holds no class folder; put the images of a class into val/<class>/", prepare=both(remove("data/val"), lambda at: (at / "data" / "val").mkdir())),
    "class_without_images": case("train", "tao_train: dataset.train_dataset.images_dir='<d>/data/train': holds 1 class without an image (dog); add images or remove the folder", prepare=both(remove("data/train/dog"), lambda at: (at / "data" / "train" / "dog").mkdir())),
    "class_mismatch": case("train", "tao_train: dataset.val_dataset.images_dir='<d>/data/val': holds 1 class that train does not have (wolf); rename them as in <d>/data/train, or remove them", prepare=move("data/val/dog", "data/val/wolf"), warned=["warning: dataset.val_dataset.images_dir='<d>/data/val': lacks 1 class of train (dog); add images of them, or their figures will be missing"]),
    "wrong_num_classes": case("train", "tao_train: dataset.num_classes=1: train has 2 class folders; set it to 2", spec_overrides=f"{SMALL} dataset.num_classes=1"),
    "more_classes_than_folders": case("train", [], 0, spec_overrides=f"{SMALL} dataset.num_classes=3", warned=["warning: dataset.num_classes=3: train has 2 class folders; set it to 2"]),
    "classes_txt_missing": case("train", "tao_train: dataset.root_dir='<d>/data': has no classes.txt, so TAO would write one into the dataset; write it: the 2 class names of train, sorted, a line each", prepare=remove("data/classes.txt")),
    "corrupt_png": case("train", "tao_train: dataset.train_dataset.images_dir='<d>/data/train': holds 1 image that cannot be read (cat/0.png is cut short); replace or remove them", prepare=cut("data/train/cat/0.png")),
    "text_with_the_name_of_a_png": case("train", "tao_train: dataset.train_dataset.images_dir='<d>/data/train': holds 1 image that cannot be read (cat/0.png is no image); replace or remove them", prepare=write("data/train/cat/0.png", "not a picture")),
    "label_without_image": case("dataset_convert", "tao_dataset_convert: kitti_config.label_dir_name='<d>/kitti/train/label_2': holds 1 label without an image (0.txt); add the image (of the same name), or remove the label", **TF1, prepare=remove("kitti/train/image_2/0.png")),
    "image_without_label": case("dataset_convert", "tao_dataset_convert: kitti_config.image_dir_name='<d>/kitti/train/image_2': holds 1 image without a label (0.png); add the label (of the same name), or remove the image", **TF1, prepare=remove("kitti/train/label_2/0.txt")),
    "malformed_label": case("dataset_convert", "tao_dataset_convert: kitti_config.label_dir_name='<d>/kitti/train/label_2': holds 1 label line that is not a name and 14 numbers (0.txt line 1); write type, truncated, occluded, alpha, left, top, right, bottom, and 7 numbers (0 when 2D)", **TF1, prepare=write("kitti/train/label_2/0.txt", "car 1 2\n")),
    "coco_image_missing": case("train", "tao_train: dataset.train_data_sources.0.image_dir='<d>/coco/train': lacks 1 image of train.json (0.png); give the folder that file_name counts from, or add them", **RTDETR, prepare=remove("coco/train/0.png")),
    "coco_annotation_of_no_image": case("train", "tao_train: dataset.train_data_sources.0.json_file='<d>/coco/annotations/train.json': holds 1 image_id value that no image has (99); add the image or remove its annotations", **RTDETR, prepare=annotation("annotations", 0, "image_id", 99), warned=["warning: dataset.train_data_sources.0.json_file='<d>/coco/annotations/train.json': holds 1 image without an annotation (0.png); nothing, when they show nothing of interest"]),
    "coco_not_json": case("train", "tao_train: dataset.train_data_sources.0.json_file='<d>/coco/annotations/train.json': is no JSON: line 1, column 343: Unterminated string starting at; give the annotation file as JSON", **RTDETR, prepare=cut("coco/annotations/train.json")),
    "category_ids_that_need_one_more": case("train", "tao_train: dataset.num_classes=2: the annotations have 2 as the largest category id (coat), and ids count from 0; set it to 3", **RTDETR | {"spec_overrides": "dataset.num_classes=2 train.num_epochs=2"}),
    "mask_colours_outside_the_palette": case("train", ["tao_train: dataset.segment.root_dir='<d>/masks/masks/train': 4 masks hold 2 colours outside the palette, which become class 0 ([255, 255, 255] in 3 of them, [7, 7, 7] in 1 of them); add them to dataset.segment.palette", "tao_train: dataset.segment.root_dir='<d>/masks/masks/val': 4 masks hold 1 colour outside the palette, which become class 0 ([255, 255, 255] in 4 of them); add them to dataset.segment.palette"], **SEGFORMER | {"spec_overrides": "train.num_epochs=2 dataset.segment.label_transform='' model.backbone.type=fan_tiny_8_p4_hybrid"}, prepare=colours, warned=["warning: dataset.segment.label_transform (line 16)='': is none of TAO's options; options: norm, None"]),
    "mask_values_that_norm_makes_0": case("train", [], 0, **SEGFORMER, prepare=colours, warned=["warning: dataset.segment.root_dir='<d>/masks/masks/train': holds masks with values between 0 and 255 ([7, 7, 7]), which label_transform=norm makes 0; set label_transform to '' when the values are class numbers"]),
    "mask_missing": case("train", "tao_train: dataset.segment.root_dir='<d>/masks/images/train': has 1 image without a mask of its name (0.png); name both alike: TAO pairs them by their place in the listing", **SEGFORMER, prepare=remove("masks/masks/train/0.png")),
    # the checkpoint
    "checkpoint_missing": case("evaluate", "tao_evaluate: checkpoint='<d>/none.pth': does not exist; name an existing folder", checkpoint="{}/none.pth"),
    "checkpoint_of_another_network": case("evaluate", "tao_evaluate: checkpoint='<d>/model.pth': was written by rtdetr, not by classification_pyt; give a checkpoint of classification_pyt, or run network=rtdetr", **MODEL, prepare=write("model.pth", checkpoint_bytes("rtdetr", "a", 0))),
    "checkpoint_truncated": case("evaluate", "tao_evaluate: checkpoint='<d>/model.pth': is damaged or cut short (File is not a zip file); copy it again, or take an earlier one", **MODEL, prepare=cut("model.pth")),
    "checkpoint_empty": case("evaluate", "tao_evaluate: checkpoint='<d>/model.pth': is empty; copy it again; it was not written to its end", **MODEL, prepare=write("model.pth", "")),
    "checkpoint_that_runs_code": case("evaluate", "tao_evaluate: checkpoint='<d>/model.pth': would run code when it is loaded (posix.getcwd); if you know where it comes from, add trust_checkpoint=true", **MODEL, prepare=pickled("model.pth", pickle.dumps(os.getcwd))),
    "checkpoint_tlt": case("evaluate", "tao_evaluate: checkpoint='<d>/a.tlt': is a .tlt of TAO 4 and earlier, which TAO 5 and later do not read; take the decrypted .pth (or ONNX) of the same model from NGC, or export it with the TAO that wrote it", checkpoint="{}/a.tlt", prepare=write("a.tlt", "x")),
    "checkpoint_etlt": case("export", "tao_export: checkpoint='<d>/a.etlt': is a .etlt of TAO 4 and earlier, which TAO 5 and later do not read; take the decrypted .pth (or ONNX) of the same model from NGC, or export it with the TAO that wrote it", checkpoint="{}/a.etlt", prepare=write("a.etlt", "x")),
    "checkpoint_hdf5": case("export", "tao_export: checkpoint='<d>/a.hdf5': is a TF1 checkpoint (Keras HDF5), which PyTorch networks cannot load; classification_pyt takes .pth; export the old network to ONNX, or train classification_pyt anew", checkpoint="{}/a.hdf5", prepare=write("a.hdf5", "x")),
    "checkpoint_text": case("evaluate", "tao_evaluate: checkpoint='<d>/a.txt': is damaged or cut short (neither a zip nor a pickle); copy it again, or take an earlier one", checkpoint="{}/a.txt", prepare=write("a.txt", "x")),
    "folder_with_several_checkpoints": case("evaluate", "tao_evaluate: checkpoint='<d>/models': holds several checkpoints (model_epoch_000.pth, model_epoch_001.pth); name the file", checkpoint="{}/models", prepare=several),
    "folder_without_a_checkpoint": case("evaluate", "tao_evaluate: checkpoint='<d>/data': holds no checkpoint; name a file (.pth, .ckpt, .pt, .onnx, .hdf5) or its folder", checkpoint="{}/data"),
    "card_that_is_no_json": case("evaluate", "tao_evaluate: checkpoint='<d>/models': holds several checkpoints (model_epoch_000.pth, model_epoch_001.pth); name the file", checkpoint="{}/models", prepare=both(several, write("models/model.json", "{"))),
    "state_of_another_network": case("train", "tao_train: state='<d>/state': holds a run of rtdetr train; name another folder for classification_pyt train", state="{}/state", prepare=other_state),
    "torn_card_of_a_state": case("train", [], 0, state="{}/state", prepare=torn_state),
    # what TAO itself fails with; each ends with the log's place
    "out_of_memory": case("train", "tao_train: classification_pyt train: ran out of GPU memory; lower the batch size, the image size or train.precision, or take a larger GPU; log: <d>/out.log", 3, env={"FAKE_TAO_OOM": "1"}),
    "nan_loss": case("train", "tao_train: classification_pyt train: the loss became NaN (train_loss); lower the learning rate, or look for corrupt images and labels; log: <d>/out.log", 3, env={"FAKE_TAO_NAN": "1"}),
    "disk_full_at_a_checkpoint": case("train", "tao_train: classification_pyt train: the disk is full; free some space, keep fewer checkpoints (train.checkpoint_interval), or use another disk; log: <d>/out.log", 3, env={"FAKE_TAO_DISK_FULL": "1"}),
    "killed_child": case("train", "tao_train: classification_pyt train: was killed (signal 9); most often memory ran out: lower the batch size or workers, or take a larger node; log: <d>/out.log", 3, env={"FAKE_TAO_KILL": "1"}),
    "killed_with_its_entrypoint": case("train", "tao_train: classification_pyt train: was killed (signal 9): out of memory, or preempted; log: <d>/out.log", 3, env={"FAKE_TAO_KILL_ALL": "1"}),
    "exit_0_without_the_last_word": case("train", "tao_train: classification_pyt train: exit status 0 but without TAO's last word ('... finished successfully.'): it was stopped or crashed; log: <d>/out.log", 3, env={"FAKE_TAO_SILENT": "1"}),
    "finished_without_a_checkpoint": case("train", "tao_train: classification_pyt train: TAO said that it finished, but wrote no train/classifier_model_latest.pth; log: <d>/out.log", 4, env={"FAKE_TAO_NO_ARTEFACT": "1"}),
    "finished_without_a_file": case("inference", "tao_inference: classification_pyt inference: TAO said that it finished, but wrote no inference/result.csv; log: <d>/out.log", 4, **MODEL, env={"FAKE_TAO_NO_ARTEFACT": "1"}),
    "status_torn": case("train", [], 0, env={"FAKE_TAO_TORN": "1"}),
    "driver_too_old": case("train", "tao_train: classification_pyt train: the NVIDIA driver is older than this CUDA needs; update the driver, or take an image with an older CUDA; log: <d>/out.log", 3, env={"FAKE_TAO_SAYS": "RuntimeError: The NVIDIA driver on your system is too old (found version 11040)."}),
    "safe_loader_refuses": case("evaluate", "tao_evaluate: classification_pyt evaluate: torch's safe loader refused the checkpoint; add trust_checkpoint=true if you know where it comes from; log: <d>/out.log", 3, **MODEL, env={"FAKE_TAO_SAYS": "_pickle.UnpicklingError: Weights only load failed. Unsupported global: GLOBAL a.B"}),
    "unknown_failure": case("train", "tao_train: classification_pyt train: ended with exit status 1; log: <d>/out.log", 3, env={"FAKE_TAO_SAYS": "something nobody has seen"}),
    "tf1_out_of_memory": case("train", "tao_train: detectnet_v2 train: ran out of GPU memory; lower the batch size, the image size or train.precision, or take a larger GPU; log: <d>/out.log", 3, **TF1, env={"FAKE_TAO_OOM": "1"}),
    "tf1_nan": case("train", "tao_train: detectnet_v2 train: the loss became NaN; lower the learning rate, clip the gradient, and look for corrupt images and labels; log: <d>/out.log", 3, **TF1, env={"FAKE_TAO_NAN": "1"}),
    "tf1_no_model": case("train", "tao_train: detectnet_v2 train: TAO said that it finished, but wrote no train/weights/model.hdf5; log: <d>/out.log", 4, **TF1, env={"FAKE_TAO_SILENT": "1"}),
}  # fmt: skip

KNOWN = ("model.onnx", "bin", "data", "kitti", "coco", "masks", "model.pth", "models", "state", "spec.yaml", "spec.txt", "model.hdf5",
         "model.tlt", "a.tlt", "a.etlt", "a.hdf5", "a.txt", "empty", "my data")  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-ins first on PATH, and a whole checkpoint."""
    have_tao(tmp_path, monkeypatch)
    (tmp_path / "model.pth").write_bytes(checkpoint_bytes("classification_pyt", "model_epoch_002", 2))
    return tmp_path


DATASETS = {
    "detectnet_v2": ("kitti", kitti),
    "rtdetr": ("coco", tao_datasets.coco),
    "segformer": ("masks", tao_datasets.masks),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_its_lines(name: str, place: Path, monkeypatch, capsys) -> None:
    if name == "no_gpu" and gpu_count():
        pytest.skip("this machine has an NVIDIA GPU")
    asked = CASES[name]
    component = catalog.find(f"tao_{asked.step}")
    output = next(n for n, p in component.all_ports().items() if isinstance(p.marker, Output))
    ports = {**CLASSIFIER, output: "{}/out", **asked.ports}
    folder, make = DATASETS.get(str(ports["network"]), ("data", tao_datasets.classes))
    make(place / folder)
    if asked.prepare:
        asked.prepare(place)
    for key, value in asked.env.items():
        monkeypatch.setenv(key, value.replace("{}", str(place)))
    before = bytes_below(place)
    given = {k: v.replace("{}", str(place)) if isinstance(v, str) else v for k, v in ports.items()}
    status = run(component, *(w.replace("{}", str(place)) for w in asked.words), **given)
    captured = capsys.readouterr()
    assert plain(captured.err, place) == list(asked.told)
    assert [
        line for line in captured.err.replace(str(place), "<d>").splitlines() if line.startswith("warning: ")
    ] == list(asked.warned)
    assert status == asked.status
    if status:
        assert [n for n in left_over(place, KNOWN) if n not in ("out", "out.log", "out.state")] == []
        assert (place / "out.log").is_file() == (status in (3, 4))
        assert {k: v for k, v in bytes_below(place).items() if not k.startswith(("out.log", "out.state"))} == before


# --- what takes a process of its own ---------------------------------------------------------------------------------


def step(place: Path, *words: str, verb: str = "train") -> list[str]:
    given = ["--network=classification_pyt", f"--dataset={place / 'data'}", f"--spec_overrides={SMALL}", "--device=cpu"]
    return [sys.executable, "-m", f"runtime.tao.{verb}", *given, *words]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def started(place: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    """A training that has written a status line."""
    process = subprocess.Popen(
        step(place, *words), env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 20
    while not list(place.glob(".*.partial-*/*/train/status.json")):
        assert time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    return process


def test_every_mistake_of_the_table_is_one_of_at_least_sixty() -> None:
    assert len(CASES) >= 60
    assert {c.status for c in CASES.values()} == {0, 2, 3, 4}


def test_a_second_run_in_one_state_folder_is_told_who_has_it(place: Path, capsys) -> None:
    tao_datasets.classes(place / "data")
    first = started(place, f"--trained={place / 'a'}", f"--state={place / 'state'}", FAKE_TAO_EPOCH_S="0.6")
    ports = {**CLASSIFIER, "dataset": place / "data", "trained": place / "b", "state": place / "state"}
    assert run(catalog.find("tao_train"), **ports) == 2
    told = f"tao_train: state='<d>/state': is in use by another run (process {first.pid}); wait for it, stop it, or name another folder"
    assert capsys.readouterr().err.replace(str(place), "<d>").splitlines() == [told]
    assert first.communicate(timeout=30)[1] == ""
    assert first.returncode == 0
    assert left_over(place, KNOWN) == ["a"]


def test_of_two_runs_into_one_results_folder_the_later_is_told_and_the_earlier_is_whole(place: Path) -> None:
    tao_datasets.classes(place / "data")
    words = [f"--trained={place / 'out'}"]
    slow = started(place, *words, f"--state={place / 'state'}", FAKE_TAO_EPOCH_S="0.7")
    quick = subprocess.run(
        step(place, *words, "--state", str(place / "other")),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (quick.returncode, quick.stderr) == (0, "")
    before = bytes_below(place / "out")
    said = slow.communicate(timeout=30)[1].replace(str(place), "<d>")
    assert (slow.returncode, said) == (
        3,
        "tao_train: <d>/out: was filled by another run meanwhile; name another place\n",
    )
    assert bytes_below(place / "out") == before
    assert left_over(place, KNOWN) == ["other", "out"]


def test_a_read_only_results_folder_is_one_line(place: Path) -> None:
    tao_datasets.classes(place / "data")
    (place / "disk").mkdir()
    begin = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"',
        str(place / "disk"),
    ]
    if shutil.which("unshare") is None or subprocess.run([*begin, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounting in a namespace of one's own (unshare --mount)")
    argv = [*begin, *step(place, f"--trained={place / 'disk' / 'out'}")]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    told = "tao_train: trained='<d>/disk/out': cannot be written (read-only file system); name a place that you may write to\n"
    assert (done.returncode, done.stderr.replace(str(place), "<d>"), done.stdout) == (2, told, "")


def test_azureml_s_verbatim_words_reach_the_spec_as_they_are(place: Path) -> None:
    tao_datasets.classes(place / "data")
    words = [
        f"--trained={place / 'out'}",
        "--spec_overrides",
        f"{SMALL} \"wandb.name='a, b = [c]'\"",
        "--trust_checkpoint=False",
    ]
    done = subprocess.run(step(place, *words), env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load((place / "out" / "spec.yaml").read_text())["wandb"] == {"name": "a, b = [c]"}
