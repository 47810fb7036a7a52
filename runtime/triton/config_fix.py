"""A config.pbtxt that someone wrote, kept as it is where it is right and corrected where the model says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import BadInput
from runtime.triton import model_config
from runtime.triton.check_config import fit
from runtime.triton.config_text import Block, Editor, unknown_fields
from runtime.triton.model_config import FILE, TYPES, Plan, Tensor

PORT = "config"
# Two names of one thing. Source: triton-inference-server/server docs/user_guide/model_configuration.md.
PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
}


@dataclass(frozen=True)
class Fixed:
    """The text as it is to be, what it says as a message, and each correction as a line."""

    text: str
    config: Any
    corrections: tuple[str, ...]


def read(path: Path) -> tuple[str, Any]:
    """The text and the message of a config.pbtxt, or of a folder's; raises `BadInput` with all that is unknown."""
    path = path / FILE if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput.of(
            PORT, path, f"cannot be read ({error})", f"name a {FILE} or the folder that holds it"
        ) from error
    try:
        wrong = unknown_fields(text, path, PORT)
        if not wrong:
            return text, model_config.read(path)
    except ValueError as error:
        raise BadInput.of(PORT, path, f"is no model configuration: {error}", "correct that line") from error
    raise BadInput(wrong)


def fix(text: str, config: Any, plan: Plan, wanted: Any) -> Fixed:
    """Correct `text` to fit the model: `plan` has its signature, `wanted` is the message that we would write ourselves.

    What it says about serving (instances, batching, versions, cache, ...) is kept where the server would take it.
    """
    editor, notes = Editor(text), _Notes()
    _top(editor, config, plan, notes)
    _tensors(editor, config, plan, notes)
    _batching(editor, config, plan, notes)
    _parameters(editor, config, wanted, notes)
    _files(editor, config, wanted, notes)
    fixed = editor.done()
    return Fixed(fixed, model_config.parse(fixed), tuple(notes))


class _Notes(list[str]):
    def change(self, what: str, old: object, new: object, why: str) -> None:
        self.append(f"{what}: {old} -> {new} ({why})")


def _top(editor: Editor, config: Any, plan: Plan, notes: _Notes) -> None:
    if config.name and config.name != plan.name:
        notes.change("name", config.name, plan.name, "the model's folder")
        editor.set(editor.tree, "name", f'"{plan.name}"')
    runs = config.backend or PLATFORMS.get(config.platform, config.platform)
    if runs != plan.backend:
        notes.change("backend", runs or "none", plan.backend, "what the model file is packaged for")
        for entry in editor.tree.named("platform"):
            editor.remove(entry)
        editor.set(editor.tree, "backend", f'"{plan.backend}"')
    if config.default_model_filename:
        notes.change("default_model_filename", config.default_model_filename, "none", "the file has its default name")
        for entry in editor.tree.named("default_model_filename"):
            editor.remove(entry)
    if config.max_batch_size and not plan.signature.batched:
        notes.change("max_batch_size", config.max_batch_size, 0, "the model's first dimension is fixed")
        editor.set(editor.tree, "max_batch_size", "0")


def _tensors(editor: Editor, config: Any, plan: Plan, notes: _Notes) -> None:
    controls = {entry.name for entry in config.sequence_batching.control_input}
    inputs = [t for t in plan.signature.inputs if t.name not in controls]
    for what, entries, real in (
        ("input", config.input, inputs),
        ("output", config.output, list(plan.signature.outputs)),
    ):
        blocks, known = editor.tree.blocks(what), {t.name: t for t in real}
        strangers = [e.name for e in entries if e.name not in known]
        absent = [t for t in real if t.name not in {e.name for e in entries}]
        renamed = {strangers[0]: absent[0].name} if len(strangers) == len(absent) == 1 else {}
        for number, (entry, block) in enumerate(zip(entries, blocks, strict=True)):
            name = renamed.get(entry.name, entry.name)
            if name not in known:
                notes.change(f"{what} {entry.name!r}", "there", "removed", "the model has no such tensor")
                editor.remove_block(editor.tree, what, number)
                continue
            if name != entry.name:
                notes.change(f"{what} {entry.name!r}", "name", repr(name), "the model's name for it")
                editor.set(block, "name", f'"{name}"')
            _tensor(editor, block, entry, known[name], f"{what} {name!r}", notes)
        for tensor in [] if renamed else absent:
            notes.change(f"{what} {tensor.name!r}", "absent", "added", "the model has it")
            editor.add(editor.tree, f"{what} {{ {_tensor_text(tensor)} }}")


def _tensor(  # noqa: PLR0913, PLR0917 - where, from what, to what, and for whom
    editor: Editor, block: Block, entry: Any, real: Tensor, where: str, notes: _Notes
) -> None:
    ours, dims = model_config.tensor_of(entry), real.dims
    if ours.dtype != real.dtype:
        notes.change(f"{where} data_type", f"TYPE_{ours.dtype}", TYPES[real.dtype].config, "the model's type")
        editor.set(block, "data_type", TYPES[real.dtype].config)
    if not fit(ours.dims, dims) and not (dims == () and tuple(entry.dims) == (1,)):
        notes.change(f"{where} dims", list(ours.dims), list(dims or (1,)), "the model's dims")
        editor.set(block, "dims", str(list(dims or (1,))))
        for reshape in block.named("reshape"):
            editor.remove(reshape)
        if not dims:
            editor.add(block, "reshape: { shape: [ ] }")


def _tensor_text(tensor: Tensor) -> str:
    reshape = "" if tensor.dims else " reshape: { shape: [ ] }"
    return f'name: "{tensor.name}" data_type: {TYPES[tensor.dtype].config} dims: {list(tensor.dims or (1,))}{reshape}'


def _batching(editor: Editor, config: Any, plan: Plan, notes: _Notes) -> None:
    most = config.max_batch_size if plan.signature.batched else 0
    for entry in editor.tree.named("dynamic_batching"):
        if most == 0:
            notes.change("dynamic_batching", "there", "removed", "there are no batches")
            editor.remove(entry)
            continue
        kept = [size for size in config.dynamic_batching.preferred_batch_size if 0 < size <= most]
        if kept != list(config.dynamic_batching.preferred_batch_size):
            old = list(config.dynamic_batching.preferred_batch_size)
            notes.change("preferred_batch_size", old, kept, f"max_batch_size is {most}")
            if kept:
                editor.set(entry.blocks[0], "preferred_batch_size", str(kept))
            else:
                for size in entry.blocks[0].named("preferred_batch_size"):
                    editor.remove(size)


def _parameters(editor: Editor, config: Any, wanted: Any, notes: _Notes) -> None:
    """The backend's own settings, without which it would not load or would load something else."""
    for key, value in sorted(wanted.parameters.items()):
        if key not in config.parameters:
            notes.change(f"parameter {key!r}", "absent", "added", "the backend or triton_infer reads it")
            text = model_config.quoted(value.string_value)
            editor.add(editor.tree, f'parameters {{ key: "{key}" value {{ string_value: {text} }} }}')


def _files(editor: Editor, config: Any, wanted: Any, notes: _Notes) -> None:
    """Warm-up and labels name files: those of this package take the place of another's."""
    from google.protobuf import text_format

    for entry in editor.tree.named("model_warmup"):
        notes.change("model_warmup", "there", "replaced", "its files belong to another package")
        editor.remove(entry)
    for warmup in wanted.model_warmup if not config.HasField("sequence_batching") else ():
        inner = "".join(f"  {line}\n" for line in text_format.MessageToString(warmup).splitlines())
        editor.add(editor.tree, f"model_warmup {{\n{inner}}}")
    labels = {output.name: output.label_filename for output in wanted.output}
    for block, output in zip(editor.tree.blocks("output"), config.output, strict=True):
        ours = labels.get(output.name, "")
        if output.label_filename == ours:
            continue
        notes.change(
            f"output {output.name!r} label_filename",
            output.label_filename or "none",
            ours or "none",
            "the labels of this model",
        )
        if ours:
            editor.set(block, "label_filename", model_config.quoted(ours))
        for entry in block.named("label_filename") if not ours else ():
            editor.remove(entry)
