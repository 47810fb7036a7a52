"""`ngcrun azureml publish` with the unmodified SDK, over TLS, against the stand-in: plan, order, faults, repetition."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.azureml.support import REGISTRY, Checkout

TO = ("publish", "--to", f"registry:{REGISTRY}")
SCOPE = f"registries/{REGISTRY}"
ALL = {("environments", "small"), ("components", "first"), ("components", "second"), ("components", "both")}


def created(checkout: Checkout) -> list[tuple[str, str]]:
    """Each creation, in order; one that happened twice is there twice."""
    return [(kind, name) for scope, kind, name, _ in checkout.azure.state.created if scope == SCOPE]


def properties(checkout: Checkout, kind: str, name: str, version: str = "1") -> dict[str, Any]:
    return checkout.azure.state.assets[(SCOPE, kind, name, version)].properties


def test_what_is_needed_is_made_first_and_refers_to_the_registry(checkout: Checkout) -> None:
    before = checkout.files()
    done = checkout.ngcrun(*TO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"registry:{REGISTRY}: 4 to create"
    assert done.stdout.splitlines()[-1].startswith(f"registry:{REGISTRY}: 4 created, 0 unchanged, 0 failed in ")
    order = created(checkout)
    assert set(order) == ALL and len(order) == 4
    assert order[0] == ("environments", "small") and order[-1] == ("components", "both")
    spec = properties(checkout, "components", "first")["componentSpec"]
    assert spec["environment"] == f"azureml://registries/{REGISTRY}/environments/small/versions/1"
    jobs = properties(checkout, "components", "both")["componentSpec"]["jobs"]
    assert jobs["a"]["componentId"] == f"azureml://registries/{REGISTRY}/components/first/versions/1"
    assert checkout.files() == before


def test_a_second_time_nothing_is_sent(checkout: Checkout) -> None:
    checkout.ngcrun(*TO)
    sent = len(checkout.azure.requests)
    done = checkout.ngcrun(*TO)
    assert done.stdout.splitlines()[0] == f"registry:{REGISTRY}: 4 unchanged"
    methods = {r.method for r in checkout.azure.requests[sent:] if r.host != "login.microsoftonline.com"}
    assert methods == {"GET"}
    assert len(created(checkout)) == 4


def test_a_dry_run_asks_and_changes_nothing(checkout: Checkout) -> None:
    done = checkout.ngcrun(*TO, "--dry-run")
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["create", "component", "first", "1"],
        ["create", "component", "second", "1"],
        ["create", "component", "both", "1"],
        ["create", "environment", "small", "1"],
    ]
    assert created(checkout) == []


def test_changed_content_under_a_published_version_is_refused_before_anything_is_made(checkout: Checkout) -> None:
    checkout.ngcrun(*TO)
    checkout.edit("component_specs/area/first.yaml", "default: hello", "default: bye")
    checkout.write(
        "component_specs/area/third.yaml",
        (checkout.root / "component_specs/area/second.yaml").read_text().replace("second", "third"),
    )
    done = checkout.ngcrun(*TO)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "component='first:1': changed; this version is there with other content; run `ngcrun specs bump`"
    ]
    assert len(created(checkout)) == 4


def test_a_changed_build_context_is_seen(checkout: Checkout) -> None:
    checkout.ngcrun(*TO, "first")
    checkout.write("containers/small/Dockerfile", "FROM scratch\nLABEL a=b\n")
    done = checkout.ngcrun(*TO, "first")
    assert done.returncode == 2
    assert "environment='small:1': changed" in done.stderr


def test_only_what_is_named_and_what_it_needs_is_published(checkout: Checkout) -> None:
    done = checkout.ngcrun(*TO, "first")
    assert done.returncode == 0
    assert created(checkout) == [("environments", "small"), ("components", "first")]


def test_a_workspace_takes_short_references(checkout: Checkout) -> None:
    done = checkout.ngcrun("publish", "--to", "workspace:ml-dev-ws")
    assert done.returncode == 0, done.stderr
    scope = "workspaces/ml-dev-ws"
    spec = checkout.azure.state.assets[(scope, "components", "first", "1")].properties["componentSpec"]
    assert spec["environment"].endswith("/workspaces/ml-dev-ws/environments/small/versions/1")


STUMBLES = [
    ("429", {"retry_after_s": 1, "times": 3}),
    ("500", {"times": 2}),
    ("502", {"times": 2}),
    ("503", {"times": 2, "retry_after_s": 0}),
    ("reset", {"times": 2}),
    ("reset-after", {"times": 1}),
    ("409", {"times": 1}),
    ("412", {"times": 1}),
    ("401", {"times": 1}),
]


@pytest.mark.parametrize(("kind", "more"), STUMBLES, ids=[kind for kind, _ in STUMBLES])
def test_a_stumble_of_the_service_loses_nothing_and_makes_nothing_twice(
    checkout: Checkout, kind: str, more: dict[str, Any]
) -> None:
    fault = checkout.azure.faults.add(kind, "PUT", "/components/first/versions/1", **more)
    done = checkout.ngcrun(*TO)
    assert fault.hits == more["times"]
    assert done.returncode == 0, done.stderr
    assert sorted(created(checkout)) == sorted(ALL)


def test_an_operation_that_fails_late_is_told_and_the_next_run_goes_on(checkout: Checkout) -> None:
    checkout.azure.options.fail_late["first"] = "The quota of component versions is exhausted."
    done = checkout.ngcrun(*TO)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].startswith(f"registry:{REGISTRY}: 2 created, 0 unchanged, 2 failed")
    lines = done.stderr.splitlines()
    assert lines[0] == "publish: 2 of 4 were not created; run the same command again, it goes on"
    assert "component/first:1" in lines[1] and "The quota of component versions is exhausted" in lines[1]
    assert lines[2] == "  | component/both:1: not tried: it needs component/first:1"
    again = checkout.ngcrun(*TO)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1].startswith(f"registry:{REGISTRY}: 2 created, 2 unchanged, 0 failed")
    assert sorted(created(checkout)) == sorted(ALL)


def test_a_new_asset_that_is_not_seen_at_once_is_waited_for(checkout: Checkout) -> None:
    checkout.azure.options.consistency_s = 3.0
    done = checkout.ngcrun(*TO, "first")
    assert done.returncode == 0, done.stderr
    assert created(checkout) == [("environments", "small"), ("components", "first")]


def test_a_version_that_ngcrun_did_not_make_is_refused(checkout: Checkout) -> None:
    checkout.ngcrun(*TO, "first")
    properties(checkout, "components", "first")["tags"].clear()
    properties(checkout, "components", "first")["componentSpec"]["tags"].clear()
    done = checkout.ngcrun(*TO, "first")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "component='first:1': refused; this version is there, but not from ngcrun, so it cannot be compared"
    ]


def test_a_service_that_stays_down_is_one_line_in_time(checkout: Checkout) -> None:
    checkout.azure.faults.add("503", ".*", "/registrymanagement/", times=1000, retry_after_s=0)
    done = checkout.ngcrun(*TO)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        f"registry:{REGISTRY}: Azure answered 503 ((ServiceUnavailable) The service is unavailable); run the same command again, it goes on"
    ]


def test_a_wrong_secret_is_one_line(checkout: Checkout) -> None:
    done = checkout.ngcrun(*TO, AZURE_CLIENT_SECRET="wrong-secret")  # noqa: S106 - made up
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "AADSTS7000215" in done.stderr and "sign in again" in done.stderr
    assert "wrong-secret" not in done.stderr


def test_a_lock_promotes_exactly_what_was_published(checkout: Checkout) -> None:
    lock = checkout.root / "dev.lock.json"
    assert checkout.ngcrun(*TO, "--lock", str(lock)).returncode == 0
    rows = json.loads(lock.read_text())["assets"]
    assert [(r["kind"], r["name"], r["version"]) for r in rows] == [
        ("component", "both", "1"), ("component", "first", "1"), ("component", "second", "1"), ("environment", "small", "1"),
    ]  # fmt: skip
    prod = "registry:ml-prod-registry"
    done = checkout.ngcrun("promote", str(lock), "--from", f"registry:{REGISTRY}", "--to", prod)
    assert done.returncode == 0, done.stderr
    made = {k for k in checkout.azure.state.assets if k[0] == "registries/ml-prod-registry"}
    assert {(kind, name) for _, kind, name, _ in made} == ALL
    checkout.edit("component_specs/area/first.yaml", "default: hello", "default: bye")
    refused = checkout.ngcrun("promote", str(lock), "--to", prod)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[0] == (
        "lock='component/first:1': has other content in this checkout; check out the revision that the lock was written at"
    )


def test_a_lock_whose_assets_are_not_in_the_source_is_refused(checkout: Checkout) -> None:
    lock = checkout.root / "dev.lock.json"
    checkout.ngcrun(*TO, "--lock", str(lock))
    done = checkout.ngcrun("promote", str(lock), "--from", "registry:ml-prod-registry", "--to", f"registry:{REGISTRY}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 4
    assert "is not in registry:ml-prod-registry as the lock has it" in done.stderr


BAD = [
    (("publish", "--to", "nowhere"), "--to='nowhere': is no target; write registry:NAME or workspace:NAME"),
    (("publish", "--to", "registry:nope"), "azure='registry:nope': does not exist ((UserError) Registry nope does not exist); look at the name; `ngcrun azureml whoami` shows where"),
    ((*TO, "frist"), "asset='frist': is none that can be published; did you mean 'first'? known: both, first, second, small"),
    ((*TO, "resource_groop=x"), "config='resource_groop': is not a setting; did you mean 'resource_group'? known: "),
    ((*TO, "parallel=many"), "Value 'many' of type 'str' could not be converted to Integer"),
    ((*TO, "credential=ldap"), "credential='ldap': is no way to sign in; known: auto, cli, device_code, managed_identity, service_principal"),
    ((*TO, "profile=dev"), "profile='dev': is not in azureml/profile/; write azureml/profile/dev.yaml"),
    (("promote", "none.json", "--to", "registry:x"), "lock='none.json': no such file or directory; write one: ngcrun azureml publish --lock FILE"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "line"), BAD, ids=[" ".join(words)[:40] for words, _ in BAD])
def test_a_mistake_is_one_line(checkout: Checkout, words: tuple[str, ...], line: str) -> None:
    done = checkout.ngcrun(*words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr


def test_a_broken_component_is_found_before_azure_is_asked(checkout: Checkout) -> None:
    checkout.edit("component_specs/area/first.yaml", "inputs.text", "inputs.txt")
    done = checkout.ngcrun(*TO)
    assert done.returncode == 2
    assert "inputs has no 'txt'; did you mean 'text'?" in done.stderr
    assert checkout.azure.requests == []


def test_files_of_ones_own_are_published_from_anywhere(checkout: Checkout) -> None:
    """Somebody who has a component and no checkout of ngcrun."""
    (checkout.root / "containers" / "images.yaml").unlink()
    words = ("containers/small/environment.yaml", "component_specs/pipelines/both.yaml")
    done = checkout.ngcrun("publish", "--to", "workspace:ml-dev-ws", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("workspace:ml-dev-ws: 4 created")
    checkout.write("other.yaml", "a: 1\n")
    refused = checkout.ngcrun("publish", "--to", "workspace:ml-dev-ws", "other.yaml")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "asset='other.yaml': is no component, environment, data or model; add its $schema, as `az ml` wants it"
    ]


def test_data_and_models_are_published_with_their_files_once(checkout: Checkout) -> None:
    checkout.write("component_specs/data_assets/rows/a.csv", "x\n1\n")
    checkout.write("component_specs/data_assets/repo/m/config.pbtxt", "name: 'm'\n")
    schemas = "https://azuremlschemas.azureedge.net/latest"
    checkout.write(
        "component_specs/data_assets/rows.yaml",
        f'$schema: {schemas}/data.schema.json\nname: rows\nversion: "1"\ntype: uri_folder\npath: ./rows\n',
    )
    checkout.write(
        "component_specs/data_assets/fare.yaml",
        f'$schema: {schemas}/model.schema.json\nname: fare\nversion: "1"\ntype: triton_model\npath: ./repo\n',
    )
    words = ("publish", "--to", "workspace:ml-dev-ws", "rows", "fare")
    done = checkout.ngcrun(*words)
    assert done.returncode == 0, done.stderr
    made = {(kind, name) for _, kind, name, _ in checkout.azure.state.created}
    assert made == {("data", "rows"), ("models", "fare")}
    names = {name.rpartition("/")[2] for _, name in checkout.azure.state.blobs}
    assert names == {"a.csv", "config.pbtxt"}
    assert checkout.ngcrun(*words).stdout.splitlines()[0] == "workspace:ml-dev-ws: 2 unchanged"
    checkout.write("component_specs/data_assets/rows/a.csv", "x\n2\n")
    refused = checkout.ngcrun(*words)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "data='rows:1': changed; this version is there with other content; run `ngcrun specs bump`"
    ]
