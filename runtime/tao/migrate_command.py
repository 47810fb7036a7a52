"""Rewrite a command line like `tao <network> <action> -k KEY -r FOLDER` for today's TAO. The key is never told.

Source: TAO 3.22's launcher took `tao <network> <action>`, nvidia-tao 6.26.3 takes `tao model|deploy|dataset <network>
<action>`; nvidia-tao-pytorch 7.3.0 has `-e` and `key=value` only, the TF1 image keeps its flags (TF1 source, 2ec95cb).
"""

from __future__ import annotations

import shlex

from runtime.errors import BadInput
from runtime.tao import network
from runtime.tao.key_launch import VARIABLE
from runtime.tao.migrate import Ask, Left, Migration

GROUPS = ("model", "deploy", "dataset", "run")
KEY_FLAGS = ("-k", "--key", "--enc_key")
GPU_FLAGS = ("--gpus", "-g", "--num_gpus")
CHECKPOINT_FLAGS = ("-m", "--model", "--model_path", "--checkpoint")
BY_SPEC = "TAO 7 takes it from the spec or as key=value"


def command_line(line: str) -> Migration:
    """The command for today, as text; raises `BadInput` for a line that starts no network that is known."""
    try:
        words = shlex.split(line)
    except ValueError:  # the line itself is not shown: it may hold the key
        raise BadInput.of("command", "...", "a quote is not closed", "close it") from None
    words = words[1:] if words[:1] == ["tao"] else words
    words = words[1:] if words[:1] and words[0] in GROUPS else words
    if len(words) < 2:
        raise BadInput.of("command", "...", "names no network and action", "write tao NETWORK ACTION -e SPEC ...")
    net = network.find(words[0])
    flags = _flags(words[2:])
    return _tf1(net, words[1], flags) if net.image == "tao-tf1" else _yaml(net, words[1], flags)


def _flags(words: list[str]) -> list[tuple[str, list[str]]]:
    """Each flag with its values, a key's flag with none; what stands before any flag has the name ''."""
    found: list[tuple[str, list[str]]] = []
    rest = iter(words)
    for word in rest:
        name, sign, value = word.partition("=")
        if name in KEY_FLAGS or (word.startswith("-k") and not word.startswith("--")):  # -k KEY, --key=KEY, -kKEY
            found.append((name if name in KEY_FLAGS else "-k", []))
            if word in KEY_FLAGS:
                next(rest, None)  # the key, whatever it looks like
        elif word.startswith("-") and not word.lstrip("-").replace(".", "").isdigit():
            found.append((name, [value] if sign else []))
        elif found and found[-1][0] not in ("", *KEY_FLAGS) and (not sign or word.startswith("/")):
            found[-1][1].append(word)
        else:
            found.append(("", [word]))
    return found


def _tf1(net: network.Network, action: str, flags: list[tuple[str, list[str]]]) -> Migration:
    """The TF1 image kept its flags: only the key moves to the environment."""
    new, carried, left = ["tao", "model", net.name, action], [], []
    for name, values in flags:
        if name in KEY_FLAGS:
            left.append(Left(name, f"a key on a command line is seen by all; put it into {VARIABLE}"))
            new += [name, VARIABLE]
        else:
            new += [*([name] if name else []), *values]
            carried.append(" ".join([name, *values]).strip())
    return Migration(shlex.join(new), tuple(carried), tuple(left))


def _yaml(net: network.Network, action: str, flags: list[tuple[str, list[str]]]) -> Migration:
    """`-e` stays, the rest becomes overrides of the spec; TAO 7 writes its models unencrypted and takes no key."""
    new, overrides, carried, left = ["tao", "model", net.name, action], [], [], []
    asks = []
    for name, values in flags:
        value = values[0] if values else ""
        told = " ".join([name, *values]).strip()
        if name in ("-e", "--experiment_spec", "--experiment_spec_file"):
            new += ["-e", value]
        elif name in ("-r", "--results_dir"):
            overrides.append(f"results_dir={value}")
        elif name in GPU_FLAGS and value.isdigit():
            overrides += [f"{action}.num_gpus={value}", f"{action}.gpu_ids=[{','.join(map(str, range(int(value))))}]"]
        elif name == "--gpu_index":
            overrides.append(f"{action}.gpu_ids=[{','.join(values)}]")
        elif name in CHECKPOINT_FLAGS:
            overrides.append(f"{action}.checkpoint={value}")
        elif not name and "=" in value:
            overrides.append(value)
        elif name in KEY_FLAGS:
            left.append(
                Left(name, "models of TAO 7 are not encrypted; an old one is decrypted once, with the old image")
            )
            continue
        else:
            left.append(Left(name or "...", BY_SPEC))
            continue
        carried.append(told)
    if "-e" not in new:
        asks.append(Ask("-e", "the spec, as YAML"))
    return Migration(shlex.join([*new, *overrides]), tuple(carried), tuple(left), tuple(asks))
