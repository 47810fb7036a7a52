from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import BadInput
from runtime.tao import check_yaml, cli, commented, network, schema

SPECS = Path(__file__).parents[1] / "data" / "tao" / "specs"


def test_networks_are_listed_with_their_actions(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["networks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{len(network.names())} networks"
    assert any(line.split()[0] == "rtdetr" and "distill" in line for line in lines)
    assert cli.main(["networks", "segmentation"]) == 0
    assert "segformer" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in network.names()
        if network.find(n).spec and network.find(n).schema and network.find(n).dialect == "yaml"
    ],
)
def test_the_commented_spec_of_every_network_passes_the_check(name: str) -> None:
    found = network.find(name)
    for action in found.actions.values():
        if action.image:
            continue
        text = network.fill(commented.text_of(found, action), dict.fromkeys(network.PLACEHOLDERS, "/x"))
        findings = check_yaml.check(schema.read(found.schema), check_yaml.read(text), action.runs or action.name)
        assert [f.problem.line() for f in findings if not f.warning] == []


def test_a_check_tells_everything_at_once_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spec.yaml").write_text(
        "train:\n  num_epochs: three\n  optim:\n    lrr: 1e-4\n    lr: -1\nresults_dir: /r\n"
    )
    assert cli.main(["check", "rtdetr", str(tmp_path / "spec.yaml"), "model.backbone=resnet_51"]) == 2
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "error: train.num_epochs (line 2)='three': is not a whole number; write a whole number, such as 10",
        "error: train.optim.lrr (line 4)=0.0001: is not a key of this spec; did you mean 'train.optim.lr'?",
        "warning: train.optim.lr (line 5)=-1: is below TAO's minimum 0; give 0 or more",
    ]
    assert lines[3].startswith(
        "warning: model.backbone (line 8)='resnet_51': is none of TAO's options; did you mean 'resnet_50'? options: resnet_18, "
    )
    assert lines[4:] == ["warning: train.optim.lr (line 5)=-1: is not > 0; TAO's schema says > 0.0"]
    assert last == f"{tmp_path / 'spec.yaml'}: rtdetr train: 2 errors, 3 warnings"


def test_a_good_spec_is_said_to_be_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spec.yaml").write_text("train:\n  num_epochs: 3\n")
    assert cli.main(["check", "classification_pyt", str(tmp_path / "spec.yaml")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'spec.yaml'}: classification_pyt train: nothing is wrong with it\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fly"], "tao='fly': is neither a command nor an action; known: "),
        (["spec", "rtdetr"], "arguments='rtdetr': NETWORK and ACTION are needed; ngcrun tao spec rtdetr train"),
        (["spec", "rtdetr", "prune"], "action='prune': rtdetr cannot do it; rtdetr has: train, evaluate, inference, export, quantize, distill, gen_trt_engine"),
        (["check", "rtdetr"], "arguments='rtdetr': NETWORK and SPEC are needed; ngcrun tao check rtdetr spec.yaml train train.num_epochs=3"),
        (["check", "rt-detr", "x.yaml"], "network='rt-detr': is not a TAO network; did you mean 'rtdetr'? see `ngcrun tao networks`"),
        (["check", "rtdetr", "x.yaml", "dataset=/no/such"], "dataset='/no/such': does not exist; name a path that is there"),
        (["train", "rtdetr", "epochs"], "argument='epochs': is neither port=value nor a key=value of the spec; write key=value"),
        (["networks", "zzz"], "word='zzz': matches no network; ngcrun tao networks lists all"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words: list[str], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        cli.main(words)
    assert str(caught.value).startswith(told)


def test_an_action_takes_ports_and_keys_of_the_spec_alike() -> None:
    words = [
        "tao",
        "train",
        "rtdetr",
        "dataset=tests/data",
        "train.num_epochs=3",
        "dataset.classmap=/a b",
        "trained=out/x",
        "--dry-run",
    ]
    shown = subprocess.run([sys.executable, "-m", "runtime", *words], capture_output=True, text=True, check=True).stdout
    assert "-m runtime.tao.train network=rtdetr dataset=tests/data trained=out/x" in shown
    assert "'--spec_overrides=train.num_epochs=3 '\"'\"'dataset.classmap=/a b'\"'\"''" in shown


def test_an_old_spec_is_recognised_and_carried_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["migrate", str(SPECS / "detectnet_train.txt")]) == 2
    out, err = capsys.readouterr()
    assert "num_epochs:" in out
    assert "left: cost_function_config" in err
    assert "decide: " in err


def test_a_fraction_where_tao_5_counts_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    old = str(SPECS / "detectnet_retrain_qat.txt")
    assert cli.main(["migrate", old, "from=detectnet_v2", "to=5.0"]) == 2
    assert "dbscan_min_samples" in capsys.readouterr().err
    assert cli.main(["migrate", old, "from=detectnet_v2", "to=5.0", "dbscan_min_samples=1"]) == 0
    assert "dbscan_min_samples: 1" in capsys.readouterr().out


def test_an_old_command_line_is_brought_up_to_date_without_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["migrate", "dino train -e spec.yaml -r out -k sesame -g 2"]) == 0
    out, err = capsys.readouterr()
    assert "train.num_gpus=2" in out
    assert "sesame" not in out + err
