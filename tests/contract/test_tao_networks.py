"""Our files of TAO networks against TAO's own schemas (nvidia-tao-core), action lists and launcher table.

NGCRUN_TAO_SCHEMA names the folder that holds `nvidia_tao_core/`; `nox -s tests` provides it.
"""

import importlib
import os
import sys
from pathlib import Path

import pytest
import yaml

from runtime.tao import network as networks
from runtime.tao import spec_paths

ROOT = Path(__file__).parents[2]
GIVEN = {name: f"/given/{name}" for name in networks.PLACEHOLDERS}

# nvidia-tao-pytorch 7.3.0, */<network>/scripts; nvidia-tao-deploy 7.3.0, */<network>/scripts (gen_trt_engine);
# Left out: `convert` of dino and deformable_detr, which fails at its own schema, as a test below shows.
# `retrain` is TAO's train on a pruned model (nvidia-tao-core 7.3.0, network_configs, which has it for ocdnet, ocrnet and
# pointpillars). TensorFlow 2: NVIDIA/tao_tensorflow2_backend (GitHub), nvidia_tao_tf2/cv/*/scripts.
ACTIONS = {
    "action_recognition": "train evaluate inference export",
    "analytics": "analyze validate",  # nvidia-tao-ds 7.3.0; `kpi_analyze` compares predictions and is not offered
    "annotations": "convert",  # and not `merge`, `slice`, `qa_to_llava_annotation`, `sparse4d_prepare`
    "augmentation": "generate",
    "bevfusion": "dataset_convert train evaluate inference",
    "centerpose": "train evaluate inference export gen_trt_engine",
    "classification_pyt": "train evaluate inference export quantize distill gen_trt_engine",
    "classification_tf2": "train prune retrain evaluate inference export gen_trt_engine",
    "clip": "train evaluate inference export gen_trt_engine",
    "codetr": "train evaluate inference",
    "deformable_detr": "train evaluate inference export quantize gen_trt_engine",
    "depth_net": "train evaluate inference export quantize convert gen_trt_engine",
    "dino": "train evaluate inference export quantize distill gen_trt_engine",
    "dinov3": "train inference export convert grit_score",
    "efficientdet_tf2": "dataset_convert train prune retrain evaluate inference export gen_trt_engine",
    "grounding_dino": "train evaluate inference export quantize gen_trt_engine",
    "mae": "train evaluate inference export gen_trt_engine",
    "mal": "train evaluate inference",
    "mask2former": "train evaluate inference export quantize gen_trt_engine",
    "mask_grounding_dino": "train evaluate inference export quantize gen_trt_engine",
    "ml_recog": "train evaluate inference export gen_trt_engine",
    "nvdinov2": "train inference export gen_trt_engine",
    "nvpanoptix3d": "train evaluate inference export",
    "ocdnet": "train prune retrain evaluate inference export quantize gen_trt_engine",
    "ocrnet": "dataset_convert train prune retrain evaluate inference export quantize gen_trt_engine",
    "oneformer": "train evaluate inference export quantize gen_trt_engine",
    "optical_inspection": "dataset_convert train evaluate inference export gen_trt_engine",
    "pointpillars": "dataset_convert train prune retrain evaluate inference export gen_trt_engine",
    "pose_classification": "dataset_convert train evaluate inference export",
    "radio": "distill",
    "re_identification": "train evaluate inference export",
    "rtdetr": "train evaluate inference export quantize distill gen_trt_engine",
    "segformer": "train evaluate inference export quantize gen_trt_engine",
    "segformer_old": "",
    "sparse4d": "train evaluate inference export quantize gen_trt_engine",
    "stylegan_xl": "dataset_convert train evaluate inference export",
    "video_clip": "train evaluate inference export gen_trt_engine",
    "visual_changenet": "train evaluate inference export quantize gen_trt_engine",
}

# nvidia-tao 6.26.3 (the launcher), config.json, groups `model` and `dataset`: tag of nvcr.io/nvidia/tao/tao-toolkit -> tasks
LAUNCHER = {
    "6.0.0-tf2": "classification_tf2 efficientdet_tf2",
    "5.5.0-pyt": "bevfusion",
    "6.26.3-pyt": "action_recognition centerpose classification_pyt clip deformable_detr dino depth_net grounding_dino"
    " mask_grounding_dino mask2former mal mae ml_recog nvdinov2 ocdnet ocrnet optical_inspection oneformer pointpillars"
    " pose_classification re_identification rtdetr segformer stylegan_xl visual_changenet sparse4d nvpanoptix3d",
    "6.26.3-data-services": "augmentation annotations analytics",
}
UNLISTED = {"codetr", "dinov3", "radio", "segformer_old", "video_clip"}

# An action that has a spec of its own has a schema of its own: module below nvidia_tao_core.config, class.
OWN_SCHEMA = {
    ("bevfusion", "dataset_convert"): ("bevfusion.default_config", "BEVFusionDataConvertExpConfig"),
    ("depth_net", "convert"): ("depth_net.dataset", "DNDatasetConvertConfig"),
    ("stylegan_xl", "dataset_convert"): ("stylegan_xl.dataset", "DataConvertExpConfig"),
}
NOT_IN_CORE = {("sparse4d", "gen_trt_engine")}  # nvidia_tao_deploy.config.sparse4d; nvidia-tao-core 7.3.0 lacks it
NO_SCHEMA = {"radio", "video_clip"}  # their configuration is in nvidia-tao-pytorch, which needs torch

CASES = [(name, action) for name, actions in ACTIONS.items() for action in actions.split()]
EVERY = [networks.load(path) for path in sorted(networks.FOLDER.glob("*.yaml"))]


@pytest.fixture(scope="module")
def schema_folder():
    folder = os.environ.get("NGCRUN_TAO_SCHEMA", "")
    if not (Path(folder) / "nvidia_tao_core").is_dir():
        pytest.skip("NGCRUN_TAO_SCHEMA does not name a folder with nvidia_tao_core; `nox -s tests` provides it")
    sys.path.append(folder)
    yield folder
    sys.path.remove(folder)


def nested(flat):
    """{"a.b": 1} as {"a": {"b": 1}}."""
    tree = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        branch = tree
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = networks.fill(value, GIVEN) if isinstance(value, str) else value
    return tree


def schema_class(name, action):
    module, wanted = OWN_SCHEMA.get((name, action), (f"{networks.find(name).schema}.default_config", ""))
    loaded = importlib.import_module(f"nvidia_tao_core.config.{module}")
    return getattr(loaded, wanted or ("CLIPExperimentConfig" if name == "clip" else "ExperimentConfig"))


def test_every_yaml_network_is_in_the_table_and_has_its_actions():
    found = {n.name: sorted(n.actions) for n in EVERY if n.dialect == "yaml" and n.image != "tao-tf1"}
    assert found == {name: sorted(actions.split()) for name, actions in ACTIONS.items()}


def test_a_network_runs_in_the_image_that_the_launcher_names():
    rows = yaml.safe_load((ROOT / "containers" / "images.yaml").read_text())
    tags = {name: tag for tag, tasks in LAUNCHER.items() for name in tasks.split()}
    for network in (n for n in EVERY if n.dialect == "yaml" and n.image != "tao-tf1"):
        expected = tags.get(network.name, "6.26.3-pyt")
        assert rows[network.image]["tag"] == expected, network.name
    assert {n.name for n in EVERY if n.dialect == "yaml" and n.image != "tao-tf1"} - set(tags) == UNLISTED


def test_a_network_that_the_launcher_does_not_list_says_so():
    for name in UNLISTED:
        assert any("does not list" in source for source in networks.find(name).sources), name


def test_engines_are_built_in_the_deploy_image_and_nothing_else_is():
    found = {
        (n.name, a.name)
        for n in EVERY
        if n.dialect == "yaml" and n.image != "tao-tf1"
        for a in n.actions.values()
        if a.image
    }
    assert found == {case for case in CASES if case[1] == "gen_trt_engine"}
    assert {networks.find(name).action(action).image for name, action in found} == {"tao-deploy"}


EXPORTS_THAT_READ_THE_DATASET = {  # class names or characters; nvidia-tao-pytorch 7.3.0, model/pl_*.py, read
    "classification_pyt",
    "mask2former",
    "nvpanoptix3d",
    "ocrnet",
    "oneformer",
    "stylegan_xl",
}


def test_an_export_needs_the_dataset_only_where_tao_reads_it():
    exports = {name for name, action in CASES if action == "export"}
    found = {name for name in exports if "dataset" in networks.find(name).action("export").needs}
    assert found == EXPORTS_THAT_READ_THE_DATASET


@pytest.mark.parametrize(("name", "action"), CASES)
def test_what_an_action_needs_is_what_its_spec_uses(name, action):
    network = networks.find(name)
    fields = network.action(action)
    used = set().union(*(networks.placeholders(str(value)) for value in fields.set.values()), set())
    used |= networks.placeholders(fields.spec)
    assert set(fields.needs) <= {"dataset", "checkpoint"}
    assert ("checkpoint" in fields.needs) == ("checkpoint" in used)
    assert not used & {"dataset"} or "dataset" in fields.needs
    assert fields.writes
    assert not fields.runs or fields.runs in network.actions


def test_what_an_action_puts_below_the_results_is_not_looked_for_before_it_starts():
    seen = set()
    for network in EVERY:
        for action in network.actions.values():
            for key in (k for k, value in action.set.items() if str(value).startswith("${results}/")):
                assert spec_paths.is_written(tuple(key.split(".")), action.name), (network.name, action.name, key)
                seen.add(key)
    assert {"prune.pruned_file", "export.onnx_file", "inference.output_file"} <= seen


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_the_layout_reads_keys_that_the_spec_or_an_action_has(name):
    network = networks.find(name)
    text = yaml.safe_load(networks.fill(network.spec, GIVEN)) or {}
    assert not network.layout_paths or network.layout
    for part, dotted in network.layout_paths.items():
        assert dotted.split(".")[0] in {*text, "evaluate", "inference", "dataset"}, (part, dotted)


@pytest.mark.parametrize(("name", "action"), CASES)
def test_the_spec_of_an_action_is_accepted_by_the_schema_of_tao(schema_folder, name, action):
    from omegaconf import OmegaConf

    network = networks.find(name)
    if name in NO_SCHEMA or (name, action) in NOT_IN_CORE:
        pytest.skip("nvidia-tao-core 7.3.0 has no schema for it")
    fields = network.action(action)
    ours = OmegaConf.create(yaml.safe_load(networks.fill(fields.spec or network.spec, GIVEN)))
    kind = schema_class(name, action)
    merged = OmegaConf.merge(OmegaConf.structured(kind), ours, OmegaConf.create(nested(fields.set)))
    for key in fields.set:
        assert OmegaConf.select(merged, key, throw_on_missing=True) is not None, key


@pytest.mark.parametrize("name", sorted(set(ACTIONS) - NO_SCHEMA - {"segformer_old"}))
def test_the_layout_reads_keys_of_the_schema(schema_folder, name):
    from omegaconf import OmegaConf

    network = networks.find(name)
    ours = OmegaConf.create(yaml.safe_load(networks.fill(network.spec, GIVEN)))
    merged = OmegaConf.merge(OmegaConf.structured(schema_class(name, "train")), ours)
    for part, dotted in network.layout_paths.items():
        section, last = dotted.replace(".*", ".0").rpartition(".")[::2]
        if last == "0":
            section, last = section.rpartition(".")[::2]
        parent = OmegaConf.select(merged, section)
        assert parent is None or last in parent or "data_sources" in section, (part, dotted)


@pytest.mark.parametrize(
    ("name", "schema"), [("dino", "DINODatasetConvertConfig"), ("deformable_detr", "DDDatasetConvertConfig")]
)
def test_convert_of_two_detectors_fails_at_its_own_schema_so_we_do_not_offer_it(schema_folder, name, schema):
    from omegaconf import OmegaConf
    from omegaconf.errors import ValidationError

    module = importlib.import_module(f"nvidia_tao_core.config.{name}.dataset")
    with pytest.raises(ValidationError, match="Incompatible value 'None' for field of type 'str'"):
        OmegaConf.structured(getattr(module, schema))
    assert "convert" not in networks.find(name).actions


def test_every_action_of_every_network_has_a_component_in_its_image() -> None:
    """On AzureML the environment belongs to the component: a network of another image needs a spec of its own."""
    from runtime import catalog

    missing = set()
    for found in map(networks.find, networks.names()):
        for name in found.actions:
            action = found.action(name)
            component = catalog.components().get(f"tao_{action.name}")
            if component is not None and found.image_of(action) not in (component.image, *component.also):
                missing.add((action.name, found.image_of(action)))
    # `annotations convert` of the data services is tao_annotations, not tao_convert.
    assert missing == {("convert", "tao-ds")}
