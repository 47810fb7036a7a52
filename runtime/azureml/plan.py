"""What publishing would do, decided before anything is changed: a pure function of what is here and what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.azureml.assets import Asset

CREATE, UNCHANGED, CHANGED, REFUSED = "create", "unchanged", "changed", "refused"


@dataclass(frozen=True)
class Remote:
    """A version that is there: the fingerprint that it was published with (None: not by ngcrun), whether archived."""

    fingerprint: str | None
    archived: bool = False


@dataclass(frozen=True)
class Action:
    """What is to be done with one asset, and why."""

    asset: Asset
    what: str
    why: str = ""


def decide(
    assets: Mapping[str, Asset], there: Mapping[str, Remote | None], wrong: Mapping[str, str]
) -> dict[str, Action]:
    """The action for each asset, in the order given.

    Args:
        assets: what is to be published, by key.
        there: what the target has under each key.
        wrong: what keeps an asset from being published at all, by key.
    """
    actions: dict[str, Action] = {}
    for key, asset in assets.items():
        remote = there.get(key)
        if key in wrong:
            actions[key] = Action(asset, REFUSED, wrong[key])
        elif remote is None:
            actions[key] = Action(asset, CREATE)
        elif remote.archived:
            actions[key] = Action(asset, REFUSED, "this version is archived there; `ngcrun specs bump` makes a new one")
        elif remote.fingerprint == asset.fingerprint:
            actions[key] = Action(asset, UNCHANGED)
        elif remote.fingerprint is None:
            actions[key] = Action(
                asset, REFUSED, "this version is there, but not from ngcrun, so it cannot be compared"
            )
        else:
            actions[key] = Action(asset, CHANGED, "this version is there with other content; run `ngcrun specs bump`")
    return actions


def text(actions: Mapping[str, Action], target: str) -> str:
    """The plan as a table; what is unchanged is only counted."""
    counts = {w: sum(a.what == w for a in actions.values()) for w in (CREATE, UNCHANGED, CHANGED, REFUSED)}
    words = {CREATE: "to create", UNCHANGED: "unchanged", CHANGED: "changed", REFUSED: "refused"}
    head = ", ".join(f"{n} {words[w]}" for w, n in counts.items() if n) or "nothing to publish"
    rows = [
        (a.what, a.asset.kind, a.asset.name, a.asset.version, a.why) for a in actions.values() if a.what != UNCHANGED
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    lines = [
        "  " + "  ".join([*(f"{c:<{w}}" for c, w in zip(row, widths, strict=False)), row[4]]).rstrip() for row in rows
    ]
    return "\n".join([f"{target}: {head}", *lines])
