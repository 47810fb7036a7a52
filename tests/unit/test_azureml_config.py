"""Which Azure is meant: each source, which one wins, and what is said of a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.azureml import config
from runtime.errors import BadInput


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def az(folder: Path) -> dict[str, str]:
    """What `az account set` and `az configure --defaults` leave."""
    write(folder / "config", "[defaults]\ngroup = az-group\nworkspace = az-ws\nlocation = westeurope\n")
    profile = {
        "subscriptions": [
            {"id": "other", "isDefault": False},
            {"id": "az-sub", "isDefault": True, "tenantId": "az-tenant"},
        ]
    }
    (folder / "azureProfile.json").write_text(json.dumps(profile), encoding="utf-8-sig")
    return {"AZURE_CONFIG_DIR": str(folder)}


def test_without_anything_the_defaults_stand(tmp_path: Path) -> None:
    found = config.read([], {"HOME": str(tmp_path)}, tmp_path)
    assert found.config == config.Config()
    assert set(found.sources.values()) == {"default"}


def test_each_source_beats_the_one_before_it(tmp_path: Path) -> None:
    environ = az(tmp_path / "az")
    found = config.read([], environ, tmp_path)
    assert (found.config.resource_group, found.sources["resource_group"]) == (
        "az-group",
        "az configure --defaults group=",
    )
    assert (found.config.subscription, found.config.tenant) == ("az-sub", "az-tenant")
    assert found.sources["subscription"] == "az account set"

    studio = {"subscription_id": "s", "resource_group": "studio-group", "workspace_name": "studio-ws"}
    write(tmp_path / "config.json", json.dumps(studio))
    found = config.read([], environ, tmp_path)
    assert (found.config.resource_group, found.sources["resource_group"]) == ("studio-group", "config.json")

    write(
        tmp_path / "azureml/config.yaml",
        "resource_group: file-group\nprices: {Standard_A: 1.5}\ninputs: {num_epochs: 3}\n",
    )
    write(tmp_path / "azureml/profile/prod.yaml", "resource_group: prod-group\n")
    found = config.read([], environ, tmp_path)
    assert (found.config.resource_group, found.sources["resource_group"]) == ("file-group", "azureml/config.yaml")
    assert found.config.prices == {"Standard_A": 1.5} and found.config.inputs == {"num_epochs": 3}
    found = config.read(["profile=prod"], environ, tmp_path)
    assert (found.config.resource_group, found.sources["resource_group"]) == ("prod-group", "azureml/profile/prod.yaml")
    assert config.read([], environ | {"NGCRUN_PROFILE": "prod"}, tmp_path).config.resource_group == "prod-group"

    environ |= {"AZURE_RESOURCE_GROUP": "env-group"}
    found = config.read(["profile=prod"], environ, tmp_path)
    assert (found.config.resource_group, found.sources["resource_group"]) == (
        "env-group",
        "environment, AZURE_RESOURCE_GROUP",
    )
    environ |= {"NGCRUN_AZUREML_RESOURCE_GROUP": "own-group"}
    assert config.read([], environ, tmp_path).config.resource_group == "own-group"

    found = config.read(["resource_group=word-group", "inputs.num_epochs=9", "prices.Standard_B=2"], environ, tmp_path)
    assert (found.config.resource_group, found.sources["resource_group"]) == ("word-group", "command line")
    assert found.config.inputs == {"num_epochs": 9} and found.config.prices == {"Standard_A": 1.5, "Standard_B": 2.0}


MISTAKES = [
    (["regoin=x"], {}, "config='regoin': is not a setting; did you mean 'region'?"),
    (["parallel=many"], {}, "Value 'many' of type 'str' could not be converted to Integer"),
    (["credential=ldap"], {}, "credential='ldap': is no way to sign in; known: auto, cli, device_code, managed_identity, service_principal"),
    (["profile=dev"], {}, "profile='dev': is not in azureml/profile/; write azureml/profile/dev.yaml"),
    ([], {"NGCRUN_AZUREML_PARALLEL": "x"}, "Value 'x' of type 'str' could not be converted to Integer"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "environ", "line"), MISTAKES)
def test_a_mistake_is_one_problem(tmp_path: Path, words: list[str], environ: dict[str, str], line: str) -> None:
    with pytest.raises(BadInput) as caught:
        config.read(words, {"HOME": str(tmp_path), **environ}, tmp_path)
    assert len(caught.value.problems) == 1
    assert line in caught.value.lines()[0]


def test_an_unknown_key_in_a_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "azureml/config.yaml", "resource_grop: x\n")
    with pytest.raises(BadInput, match="resource_grop"):
        config.read([], {"HOME": str(tmp_path)}, tmp_path)


def test_what_a_command_needs_and_nobody_said_is_told_at_once(tmp_path: Path) -> None:
    found = config.read([], {"HOME": str(tmp_path)}, tmp_path)
    with pytest.raises(BadInput) as caught:
        found.need("subscription", "workspace")
    assert caught.value.lines() == [
        "subscription=None: is not known; say subscription=VALUE, set NGCRUN_AZUREML_SUBSCRIPTION, or put it into azureml/config.yaml",
        "workspace=None: is not known; say workspace=VALUE, set NGCRUN_AZUREML_WORKSPACE, or put it into azureml/config.yaml",
    ]


def test_no_setting_holds_a_secret() -> None:
    words = ("secret", "password", "key", "token")
    assert not [name for name in config.FIELDS if any(word in name for word in words)]
