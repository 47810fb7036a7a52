"""The faults of configs and schedulers: a row each, with the exact words of our finding."""

from __future__ import annotations

import unicodedata

from tests.fakes.triton_broken import Fault, add, all_of, edit, remove, replace, write

# Tables: a row a line.
# fmt: off
CONFIG = "fare/config.pbtxt"
CORE = "core model_config_utils.cc"
DYNAMIC, SEQUENCE = "dynamic_batching {\n}\n", "dynamic_batching"


def sequence(text):
    return add(f"sequence_batching {{ {text} }}", without=SEQUENCE)


def control(text, name="START"):
    return sequence(f'control_input {{ name: "{name}" control {{ {text} }} }}')


START = "kind: CONTROL_SEQUENCE_START"
PARSED = (
    Fault("a type without TYPE_", "server#2502", "python", replace("TYPE_FP32", "FP32"), CONFIG, 'is no model configuration: 5:14 : \' data_type: FP32\': Enum type "inference.DataType" has no value named FP32.; correct that line'),
    Fault("a field that is spelled wrong", "server#6571", "python", replace("max_batch_size", "max_batchsize"), CONFIG, 'is no model configuration: 2:1 : Message type "inference.ModelConfig" has no field named "max_batchsize".; correct that line'),
    Fault("a word where a number belongs", "text format", "python", replace("size: 8", "size: eight"), CONFIG, "is no model configuration: 2:17 : 'max_batch_size: eight': Couldn't parse integer: eight; correct that line"),
    Fault("a placeholder that nobody filled in", "tensorrtllm_backend#250", "python", replace("size: 8", "size: ${max_batch_size}"), CONFIG, "is no model configuration: 2:17 : 'max_batch_size: ${max_batch_size}': Couldn't parse integer: $; correct that line"),
    Fault("dynamic and sequence batching", CORE, "python", replace(DYNAMIC, DYNAMIC + "sequence_batching {\n}\n"), CONFIG, 'is no model configuration: 19:1 : Field "sequence_batching" is specified along with field "dynamic_batching", another member of oneof "scheduling_choice" for message type "inference.ModelConfig".; correct that line'),
    Fault("a field twice", "text format", "python", replace("max_batch_size: 8", "max_batch_size: 8 max_batch_size: 8"), CONFIG, 'is no model configuration: 2:35 : Message type "inference.ModelConfig" should not have multiple "max_batch_size" fields.; correct that line'),
    Fault("a brace that is missing", "server#6571", "python", replace("dynamic_batching {\n}", "dynamic_batching {"), CONFIG, 'is no model configuration: 18:1 : Message type "inference.ModelDynamicBatching" has no field named "parameters".; correct that line'),
    Fault("a comma too many", "server#2688", "python", replace("dims: 4", "dims: [4,]"), CONFIG, "is no model configuration: 6:12 : ' dims: [4,]': Couldn't parse integer: ]; correct that line"),
    Fault("a comment of C++", "text format", "python", replace("max_batch_size", "// rows\nmax_batch_size"), CONFIG, "is no model configuration: 2:1 : '// rows': Expected identifier or number, got /.; correct that line"),
    Fault("a byte order mark", "text format", "python", lambda r: (r / CONFIG).write_bytes(b"\xef\xbb\xbf" + (r / CONFIG).read_bytes()), CONFIG, "is no model configuration: it begins with a byte order mark; save it as UTF-8 without one"),
    Fault("a config that is not UTF-8", "text format", "python", lambda r: (r / CONFIG).write_bytes("# größe\n".encode("latin-1") + (r / CONFIG).read_bytes()), CONFIG, "is no model configuration: 'utf-8' codec can't decode byte 0xf6 in position 4: invalid start byte; correct that line"),
    Fault("an empty config", "server QA onnx/empty_config", "python", write(CONFIG, ""), CONFIG, "names no backend and holds model.onnx, model.py, of which the server takes model.onnx; write backend: one of onnxruntime, python"),
    Fault("no config", "core model_repository_manager.cc", "python", remove(CONFIG), "fare", "has no config.pbtxt; write it with triton_package"),
    Fault("the config in the version folder", "server#4957", "python", lambda r: (r / CONFIG).rename(r / "fare/1/config.pbtxt"), "fare", "has no config.pbtxt; write it with triton_package"),
)
NAMED = (
    Fault("a name that is not the folder's", "core model_repository_manager.cc", "python", replace('name: "fare"', 'name: "taxi"'), CONFIG, "names the model 'taxi', its folder is 'fare'; make the two the same"),
    Fault("no backend beside two kinds of files", "core model_config_utils.cc", "python", replace('backend: "python"', ""), CONFIG, "names no backend and holds model.onnx, model.py, of which the server takes model.onnx; write backend: one of onnxruntime, python"),
    Fault("a platform that nobody has", CORE, "python", replace('backend: "python"', 'platform: "onnx"'), CONFIG, "has the platform 'onnx', which no server knows; write backend: one of fil, onnxruntime, openvino, python, pytorch, tensorflow, tensorrt"),
    Fault("a platform of another backend", CORE, "python", replace('"python"', '"onnxruntime" platform: "tensorrt_plan"'), CONFIG, "has backend 'onnxruntime' and platform 'tensorrt_plan', which is of tensorrt; remove one of the two"),
    Fault("a platform as the backend", "core backend_model.cc", "python", replace('"python"', '"onnxruntime_onnx"'), CONFIG, "has the backend 'onnxruntime_onnx', which no server has; write backend: 'onnxruntime'"),
    Fault("a backend that is spelled wrong", "core backend_model.cc", "python", replace('"python"', '"pyhton"'), CONFIG, "has the backend 'pyhton', which no server has; write backend: 'python'"),
)
BATCHED = (
    Fault("a negative max_batch_size", CORE, "python", replace("max_batch_size: 8", "max_batch_size: -1"), CONFIG, "has max_batch_size -1; write 0 for no batches, or the most rows"),
    Fault("dynamic batching without batches", CORE, "fixed", add("dynamic_batching {}"), CONFIG, "has dynamic_batching without batches; remove it, or give a max_batch_size above 0"),
    Fault("preferred batches above the maximum", CORE, "python", add("dynamic_batching { preferred_batch_size: 16 }"), CONFIG, "prefers batches of 16, max_batch_size is 8; prefer smaller batches"),
    Fault("a preferred batch of 0", CORE, "python", add("dynamic_batching { preferred_batch_size: 0 }"), CONFIG, "prefers batches of 0; prefer 1 row or more"),
    Fault("batches for a model without them", "server#7462", "fixed", replace("max_batch_size: 0", "max_batch_size: 2"), CONFIG, "allows batches, the model's first dimension is fixed; write max_batch_size: 0"),
    Fault("no max_batch_size", "server#7056", "python", all_of(replace("max_batch_size: 8", ""), replace(DYNAMIC, "")), CONFIG, "has max_batch_size 0 and dims without the batch dimension; give a max_batch_size above 0, or write -1 first"),
    Fault("the batch dimension among the dims", "server#7056", "python", all_of(replace("dims: 4", "dims: [-1, 4]"), replace("dims: 1", "dims: [-1, 1]")), CONFIG, "counts the batch dimension among the dims of every tensor; take it out of the dims"),
    Fault("a default priority of 0", CORE, "python", add("dynamic_batching { priority_levels: 2 }"), CONFIG, "has default_priority_level 0 of 2 priority_levels; write one from 1 to 2"),
    Fault("a default priority above the levels", CORE, "python", add("dynamic_batching { priority_levels: 2 default_priority_level: 3 }"), CONFIG, "has default_priority_level 3 of 2 priority_levels; write one from 1 to 2"),
    Fault("a policy for a priority that is not there", CORE, "python", add("dynamic_batching { priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value { max_queue_size: 1 } } }"), CONFIG, "has a queue policy for priority 3 of 2; write one from 1 to 2"),
    Fault("priorities in a preserved order", CORE, "python", add("dynamic_batching { priority_levels: 2 default_priority_level: 1 preserve_ordering: true }"), CONFIG, "preserves the order and has 2 priority_levels; remove one of the two"),
    Fault("delays in a preserved order", CORE, "python", add("dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 9 } }"), CONFIG, "preserves the order and delays requests that time out; write timeout_action: REJECT"),
    Fault("a sequence control without a name", CORE, "python", control(START + " fp32_false_true: [0, 1]", ""), CONFIG, "has a sequence control without a name; write the name of the model's input"),
    Fault("a sequence control twice", CORE, "python", sequence(f'control_input {{ name: "A" control {{ {START} fp32_false_true: [0, 1] }} }} control_input {{ name: "A" control {{ kind: CONTROL_SEQUENCE_END fp32_false_true: [0, 1] }} }}'), CONFIG, "has 2 sequence controls called 'A'; give each its own name"),
    Fault("two inputs for one sequence control", CORE, "python", sequence(f'control_input {{ name: "A" control {{ {START} fp32_false_true: [0, 1] }} }} control_input {{ name: "B" control {{ {START} fp32_false_true: [0, 1] }} }}'), CONFIG, "has 2 sequence controls of CONTROL_SEQUENCE_START; keep one of them"),
    Fault("a sequence control without values", "server#842", "python", control(START), CONFIG, "gives CONTROL_SEQUENCE_START no values; write one of int32_false_true, fp32_false_true, bool_false_true, such as fp32_false_true: [0, 1]"),
    Fault("a sequence control of two types", CORE, "python", control(START + " fp32_false_true: [0, 1] int32_false_true: [0, 1]"), CONFIG, "gives CONTROL_SEQUENCE_START the values of int32_false_true, fp32_false_true; write one of int32_false_true, fp32_false_true, bool_false_true, such as fp32_false_true: [0, 1]"),
    Fault("a sequence control of three values", CORE, "python", control(START + " fp32_false_true: [0, 1, 2]"), CONFIG, "gives CONTROL_SEQUENCE_START 3 values, it takes 2; write that for no and that for yes"),
    Fault("values for the sequence's number", CORE, "python", control("kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_INT32 int32_false_true: [0, 1]"), CONFIG, "gives CONTROL_SEQUENCE_CORRID the values of int32_false_true; remove them; it takes the number of the sequence"),
    Fault("a sequence's number in floating point", "server#8110", "python", control("kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32"), CONFIG, "gives CONTROL_SEQUENCE_CORRID the data_type TYPE_FP32; write one of TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32, TYPE_STRING"),
    Fault("preferred batches of sequences above the maximum", CORE, "python", sequence("oldest { preferred_batch_size: 16 max_candidate_sequences: 4 }"), CONFIG, "prefers batches of sequences of 16, max_batch_size is 8; prefer smaller batches"),
    Fault("a share of slots above 1", CORE, "python", sequence("direct { minimum_slot_utilization: 2 }"), CONFIG, "has minimum_slot_utilization 2; write a share from 0 to 1"),
    Fault("a cache for sequences", CORE, "python", all_of(sequence("max_sequence_idle_microseconds: 9"), add("response_cache { enable: true }")), CONFIG, "has a response_cache and sequence_batching, which exclude each other; remove one of the two"),
    Fault("a cache for decoupled answers", CORE, "python", add("response_cache { enable: true } model_transaction_policy { decoupled: true }"), CONFIG, "has a response_cache and is decoupled, which exclude each other; remove one of the two"),
)
TENSORS = (
    Fault("an input of other dims", "server#2278", "python", replace("dims: 4", "dims: 5"), CONFIG, "gives input 'input__0' the dims [5], the model has [4]; write the model's dims"),
    Fault("an output of other dims", "server QA onnx/bad_output_dims", "python", replace("dims: 1", "dims: 2"), CONFIG, "gives output 'output__0' the dims [2], the model has [1]; write the model's dims"),
    Fault("an input with the batch dimension", "server#1889", "two", replace("dims: 2\n  dims: 3", "dims: -1\n  dims: 2\n  dims: 3"), CONFIG, "gives input 'grid' the dims [-1, 2, 3], the model has [2, 3]; write the model's dims; the batch dimension is not among them"),
    Fault("transposed dims", "server#998", "two", replace("dims: 2\n  dims: 3", "dims: 3\n  dims: 2"), CONFIG, "gives input 'grid' the dims [3, 2], the model has [2, 3]; write the model's dims in their order"),
    Fault("a dim of 0", CORE, "python", replace("dims: 4", "dims: 0"), CONFIG, "gives input 'input__0' the dims [0]; write positive dims, or -1 for any length"),
    Fault("a dim of -2", CORE, "python", replace("dims: 4", "dims: -2"), CONFIG, "gives input 'input__0' the dims [-2]; write positive dims, or -1 for any length"),
    Fault("no dims", "server QA python/input_missing_dims", "python", replace("dims: 4", ""), CONFIG, "gives input 'input__0' the dims []; write positive dims, or -1 for any length"),
    Fault("an input of another type", "server QA tensorrt/bad_input_type", "python", replace("TYPE_FP32", "TYPE_FP64"), CONFIG, "gives input 'input__0' the type FP64, the model has FP32; write the model's type"),
    Fault("an output of another type", "server QA tensorrt/bad_output_type", "python", edit(lambda c: setattr(c.output[0], "data_type", 8)), CONFIG, "gives output 'output__0' the type INT32, the model has FP32; write the model's type"),
    Fault("no type", "server QA python/input_missing_datatype", "python", replace("data_type: TYPE_FP32", ""), CONFIG, "gives input 'input__0' no data_type; write it, such as data_type: TYPE_FP32"),
    Fault("no name for an input", "server QA python/input_missing_name", "two", replace('name: "grid"', ""), CONFIG, "has no name for input 1; write the model's name for it"),
    Fault("an input that is spelled wrong", "server QA onnx/unknown_input", "python", replace("input__0", "input_0"), CONFIG, "has an input 'input_0' that the model lacks; did you mean 'input__0'? known: input__0"),
    Fault("an output of another name", "tutorials#137", "python", replace("output__0", "price"), CONFIG, "has an output 'price' that the model lacks; known: output__0"),
    Fault("a name with a blank at its end", "text format", "python", replace("input__0", "input__0 "), CONFIG, "has an input 'input__0 ' that the model lacks; copy the model's 'input__0': this one only looks like it ('input__0 ')"),
    Fault("a name in other Unicode characters", "UAX 15", "two", replace("größe", unicodedata.normalize("NFD", "größe")), CONFIG, "has an input 'größe' that the model lacks; copy the model's 'gr\\xf6\\xdfe': this one only looks like it ('gro\\u0308\\xdfe')"),
    Fault("names that are swapped", "server QA onnx/unknown_input", "two", all_of(replace("grid", "?"), replace("größe", "grid"), replace('"?"', '"größe"')), CONFIG, "gives the inputs 'größe' and 'grid' each other's name; exchange the two names"),
    Fault("an input twice", CORE, "two", edit(lambda c: c.input.add().CopyFrom(c.input[0])), CONFIG, "has 2 inputs called 'grid'; give each its own name"),
    Fault("an input too few", "server QA onnx/too_few_inputs", "two", edit(lambda c: c.input.pop()), CONFIG, "lacks the inputs ['größe'] that the model needs; add them"),
    Fault("an input too many", "server QA onnx/too_many_inputs", "python", add('input { name: "extra" data_type: TYPE_FP32 dims: 1 }'), CONFIG, "has an input 'extra' that the model lacks; known: input__0"),
    Fault("a reshape to another size", "server#7355", "two", edit(lambda c: c.input[0].reshape.shape.extend([2, 2])), CONFIG, "gives input 'grid' the dims [2, 3] and the reshape [2, 2] of another size; make the two hold as many values"),
    Fault("a reshape with a 0", CORE, "two", edit(lambda c: c.input[0].reshape.shape.extend([6, 0])), CONFIG, "gives input 'grid' the reshape [6, 0]; write positive dims, or -1 for any length"),
    Fault("a reshape to nothing without batches", CORE, "fixed", edit(lambda c: (c.output[0].dims.__setitem__(0, 1), c.output[0].reshape.SetInParent())), CONFIG, "gives output 'total' a reshape to nothing without batches; remove the reshape, or give a max_batch_size"),
    Fault("an image format for a row of numbers", CORE, "python", edit(lambda c: setattr(c.input[0], "format", 2)), CONFIG, "gives input 'input__0' the format FORMAT_NCHW and 1 dims, it takes 3; remove the format, or write 3 dims"),
    Fault("a shape tensor without TensorRT", "server QA tensorrt/bad_input_shape_tensor", "python", edit(lambda c: setattr(c.input[0], "is_shape_tensor", True)), CONFIG, "gives input 'input__0' is_shape_tensor, which only TensorRT has; remove it"),
    Fault("a non-linear format without TensorRT", CORE, "python", edit(lambda c: setattr(c.input[0], "is_non_linear_format_io", True)), CONFIG, "gives input 'input__0' is_non_linear_format_io, which only TensorRT has; remove it"),
    Fault("a batch_input of no input", CORE, "python", add('batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "no" }'), CONFIG, "has a batch_input of the input 'no', which is not declared; name a declared input"),
    Fault("a batch_input of text", CORE, "python", add('batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_STRING source_input: "input__0" }'), CONFIG, "has a batch_input that is neither TYPE_INT32 nor TYPE_FP32; write one of these"),
    Fault("a batch_output of no output", CORE, "python", add('batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "no" source_input: "input__0" }'), CONFIG, "has a batch_output for 'no', which is not declared; name a declared output"),
)
INSTANCES = (
    Fault("GPUs for instances on the CPU", CORE, "python", edit(lambda c: c.instance_group[0].gpus.append(0)), CONFIG, "lists gpus [0] for the KIND_CPU of instance_group 1; remove gpus, or write KIND_GPU"),
    Fault("GPUs for instances that the model places", CORE, "python", edit(lambda c: (c.instance_group[0].gpus.append(0), setattr(c.instance_group[0], "kind", 3))), CONFIG, "lists gpus [0] for the KIND_MODEL of instance_group 1; remove gpus, or write KIND_GPU"),
    Fault("a negative GPU", "server#2584", "python", edit(lambda c: (c.instance_group[0].gpus.append(-1), setattr(c.instance_group[0], "kind", 1))), CONFIG, "lists gpus [-1] for instance_group 1; number them from 0"),
    Fault("a negative count of instances", CORE, "python", replace("count: 1", "count: -1"), CONFIG, "gives instance_group 1 the count -1; write 1 or more"),
    Fault("a profile without TensorRT", CORE, "python", edit(lambda c: c.instance_group[0].profile.append("0")), CONFIG, "gives instance_group 1 a profile, which only TensorRT has; remove it"),
    Fault("a GPU where there is none", "server#3912", "python", replace("KIND_CPU", "KIND_GPU"), "", "fare/config.pbtxt: asks for KIND_GPU, which a server without a GPU refuses"),
    Fault("a field of newer servers", "common model_config.proto", "python", add('model_metrics { metric_control { metric_identifier { family: "f" } } }'), "", "fare/config.pbtxt: has model_metrics, which tritonserver 2.51.0 refuses as an unknown field; use a newer one, or remove it"),
    Fault("another field of newer servers", "common model_config.proto", "ensemble", add("ensemble_scheduling { max_inflight_requests: 2 }", "both"), "", "both/config.pbtxt: has ensemble_scheduling.max_inflight_requests, which tritonserver 2.51.0 refuses as an unknown field; use a newer one, or remove it"),
)
ROWS = (*PARSED, *NAMED, *BATCHED, *TENSORS, *INSTANCES)
