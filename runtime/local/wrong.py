"""What can be wrong with what a pipeline binds: what to say, what to do, and the rule of `ngcrun check`.

The engine, which unfolds a pipeline to run it, and `ngcrun check`, which takes each document as it stands, say these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.errors import nearest

Wrong = tuple[str, str, str]
NO_BINDING: Wrong = (
    "is not a binding that a pipeline has",
    "write ${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}",
    "unknown-binding",
)
ITSELF: Wrong = ("refers to itself", "bind a value", "cycle")
CIRCLE: Wrong = ("is a circle: each step waits for another", "unbind one", "cycle")


def choice(word: object, known: Iterable[object]) -> str:
    """What to write instead of an unknown `word`: the nearest, and all when they are few."""
    return (
        nearest(str(word), map(str, known))
        .replace(" see `ngcrun show`", "")
        .replace("see `ngcrun show`", "name another")
    )


def no_port(owner: str, side: str, port: object, known: Iterable[object]) -> Wrong:
    """A step binds a port (`side`: input or output) that its component does not have."""
    return f"{owner} has no such {side}", choice(port, known), f"unknown-{side}"


def not_of_pipeline(side: str, name: object, known: Iterable[object]) -> Wrong:
    """`${{parent.inputs.x}}` or `${{parent.outputs.x}}` of a pipeline without an x."""
    return f"the pipeline has no {side} {name!r}", choice(name, known), f"unknown-{side}"


def no_step(job: object, known: Iterable[object]) -> Wrong:
    """`${{parent.jobs.x...}}` of a pipeline without a step x."""
    return f"there is no step {job!r}", choice(job, known), "unknown-step"


def not_of_step(job: object, side: str, port: object, known: Iterable[object]) -> Wrong:
    """`${{parent.jobs.s.outputs.x}}` of a step without an x."""
    return f"step {job!r} has no {side} {port!r}", choice(port, known), f"unknown-{side}"


def unbound(port: object) -> Wrong:
    """A required input that a step is not given."""
    return "is required and not bound", f"add `{port}:` below `inputs:`", "missing-input"


def unwritten(name: object) -> Wrong:
    """An output of a pipeline that no step writes."""
    todo = "bind it below a step's `outputs:`, as ${{parent.outputs." + str(name) + "}}"
    return "is written by no step", todo, "unwritten-output"


def is_required(declared: Any) -> bool:
    """Whether an input so declared has to be bound."""
    port = declared if isinstance(declared, Mapping) else {}
    return not port.get("optional") and port.get("default") is None
