"""The faults of files, Python code, native models and ensembles: a row each, with the exact words of our finding."""

from __future__ import annotations

from tests.fakes.triton_broken import (
    Fault,
    add,
    all_of,
    cut,
    edit,
    graph,
    move,
    onnx,
    remove,
    replace,
    scale_onnx,
    write,
)

# Tables: a row a line.
# fmt: off
CONFIG, VERSION, ONNX, CODE = "fare/config.pbtxt", "fare/1", "fare/1/model.onnx", "fare/1/model.py"
CORE, LOAD = "core model_config_utils.cc", "core model_lifecycle.cc"
FIL, QA = "fil_backend model_config.md", "server QA ensemble/"
MODEL = "import triton_python_backend_utils as pb_utils\nclass TritonPythonModel:\n"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"


def environment(path):
    return add(f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{path}" }} }}')


def warm_up(change):
    return edit(lambda c: change(c.model_warmup[0].inputs["input__0"]))


VERSIONS = (
    Fault("no version folder", "server QA common/no_version", "python", remove(VERSION), "fare", "has no version folder (found: none); name it by a whole number from 1 on, such as 1"),
    Fault("a version folder called v1", "core model_lifecycle.cc", "python", move(VERSION, "fare/v1"), "fare", "has no version folder (found: v1); name it by a whole number from 1 on, such as 1"),
    Fault("a version folder called 01", LOAD, "python", move(VERSION, "fare/01"), "fare", "has no version folder (found: 01); name it by a whole number from 1 on, such as 1"),
    Fault("a version folder called 0", LOAD, "python", move(VERSION, "fare/0"), "fare", "has no version folder (found: 0); name it by a whole number from 1 on, such as 1"),
    Fault("a version folder called 1abc", LOAD, "python", move(VERSION, "fare/1abc"), "fare", "has no version folder (found: 1abc); name it by a whole number from 1 on, such as 1"),
    Fault("a version in other digits", "core model_lifecycle.cc", "python", move(VERSION, "fare/\uff11"), "fare", "has no version folder (found: \uff11); name it by a whole number from 1 on, such as 1"),
    Fault("a version that is a file", LOAD, "python", all_of(remove(VERSION), write(VERSION, "x")), "fare", "has no version folder (found: none); name it by a whole number from 1 on, such as 1"),
    Fault("a policy for a version that is not there", LOAD, "python", add("version_policy { specific { versions: 3 } }"), CONFIG, "serves version 3 by its version_policy, there is 1; name versions that are there"),
    Fault("a policy for one more version", LOAD, "python", add("version_policy { specific { versions: [1, 3] } }"), CONFIG, "serves version 3 by its version_policy, there is 1; name versions that are there"),
    Fault("a policy for the newest 0 versions", LOAD, "python", add("version_policy { latest { num_versions: 0 } }"), CONFIG, "serves 0 versions by its version_policy; write num_versions: 1 or more"),
    Fault("a policy for no version", LOAD, "python", add("version_policy { specific {} }"), CONFIG, "serves no version by its version_policy; name the versions to serve"),
)
FILES = (
    Fault("no model.py", "python_backend pb_stub.cc", "python", remove(CODE), VERSION, "lacks model.py, which the python backend reads; package the model again, or name the file: found model.onnx"),
    Fault("model.py beside the version folder", "server#4957", "python", move(CODE, "fare/model.py"), VERSION, "lacks model.py, which the python backend reads; package the model again, or name the file: found model.onnx"),
    Fault("an empty model.py", "server#7410", "python", write(CODE, ""), CODE, "is empty; package the model again"),
    Fault("a model.py that is a folder", "core model_config_utils.cc", "python", all_of(remove(CODE), lambda r: (r / CODE).mkdir()), CODE, "is a folder, which the python backend cannot read; put the model's file in its place"),
    Fault("a model.py that does not compile", "python_backend pb_stub.cc", "python", write(CODE, MODEL + "    def execute(self, requests)\n        return []\n"), CODE, "is no Python that compiles (line 3: expected ':'); correct that line"),
    Fault("a model.py without the class", "python_backend README", "python", write(CODE, MODEL.replace("TritonPythonModel", "Model") + "    def execute(self, requests):\n        return []\n"), CODE, "has no class TritonPythonModel (found: Model); name the model's class so"),
    Fault("a class that answers nothing", "python_backend README", "python", write(CODE, MODEL + "    def initialize(self, args):\n        pass\n"), CODE, "has no method execute in TritonPythonModel; write it; it answers the requests"),
    Fault("a model.py in another encoding", "PEP 263", "python", write(CODE, ("# größe\n" + MODEL + "    def execute(self, requests):\n        return []\n").encode("latin-1")), CODE, "is no Python that compiles (invalid or missing encoding declaration for 'fare/1/model.py'); correct that line"),
    Fault("a module that the server lacks", "python_backend README", "python", write(CODE, "import no_such_module\n" + MODEL + "    def execute(self, requests):\n        return []\n"), "", "fare/1/model.py: its code is run by a server and not read here"),
    Fault("an initialize that fails", "python_backend README", "python", write(CODE, MODEL + "    def initialize(self, args):\n        raise ValueError('bad weights')\n    def execute(self, requests):\n        return []\n"), "", "fare/1/model.py: its code is run by a server and not read here"),
    Fault("a default file that is not there", CORE, "python", add('default_model_filename: "net.py"'), VERSION, "lacks net.py, which the python backend reads; package the model again, or name the file: found model.onnx, model.py"),
    Fault("a file for one GPU that is not there", "server#1105", "plan", add('cc_model_filenames { key: "9.0" value: "h100.plan" }'), VERSION, "lacks h100.plan, which the tensorrt backend reads for compute capability 9.0; package the model again, or name the file: found model.plan"),
    Fault("an environment that is not there", "python_backend README", "python", environment("/nope/env"), CONFIG, "has EXECUTION_ENV_PATH '/nope/env', which does not exist; pack it there, or write $$TRITON_MODEL_DIRECTORY/... for one beside the model"),
    Fault("an environment that is not beside the model", "python_backend README", "python", environment("$$TRITON_MODEL_DIRECTORY/env.tar.gz"), CONFIG, "has EXECUTION_ENV_PATH '$$TRITON_MODEL_DIRECTORY/env.tar.gz', which does not exist; pack it there, or write $$TRITON_MODEL_DIRECTORY/... for one beside the model"),
    Fault("no labels", "core label_provider.cc", "labels", remove("fare/probabilities_labels.txt"), "fare/probabilities_labels.txt", "is the labels file of 'probabilities' and does not exist; write one label a line"),
    Fault("labels too few", "core label_provider.cc", "labels", write("fare/probabilities_labels.txt", "short\n"), "fare/probabilities_labels.txt", "has 1 labels, 'probabilities' has 2 values; write one label for each value"),
    Fault("labels too many", "core label_provider.cc", "labels", write("fare/probabilities_labels.txt", "short\nlong\nother\n"), "fare/probabilities_labels.txt", "has 3 labels, 'probabilities' has 2 values; write one label for each value"),
    Fault("labels that are not UTF-8", "core label_provider.cc", "labels", write("fare/probabilities_labels.txt", "kurz\nüber\n".encode("latin-1")), "fare/probabilities_labels.txt", "is the labels file of 'probabilities' and not UTF-8; save it as UTF-8"),
    Fault("labels outside the model", "core model.cc", "labels", all_of(replace("probabilities_labels.txt", "../labels.txt"), write("labels.txt", "a\nb\n")), CONFIG, "has the labels file '../labels.txt', which is outside the model's folder; put it beside config.pbtxt"),
    Fault("no warm-up file", "core backend_model_instance.cc", "warm", remove("fare/warmup/input__0.bin"), "fare/warmup/input__0.bin", "is the warm-up of 'input__0' and does not exist; package the model again"),
    Fault("a warm-up file too short", "core backend_model_instance.cc", "warm", cut("fare/warmup/input__0.bin", 7), "fare/warmup/input__0.bin", "holds 7 bytes, FP32 [4] takes 16; package the model again"),
    Fault("a warm-up of other dims", "core backend_model_instance.cc", "python", add('model_warmup { name: "w" batch_size: 1 inputs { key: "input__0" value { data_type: TYPE_FP32 dims: 3 zero_data: true } } }'), CONFIG, "warms up 'input__0' with the dims [3], the config has [4]; package the model again"),
    Fault("a warm-up of free dims", "core backend_model_instance.cc", "python", add('model_warmup { name: "w" batch_size: 1 inputs { key: "input__0" value { data_type: TYPE_FP32 dims: -1 zero_data: true } } }'), CONFIG, "gives 'input__0' the dims [-1] in warm-up 'w'; write lengths; a warm-up has no free dims"),
    Fault("a warm-up of another input", "server#1795", "python", add('model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 dims: 4 zero_data: true } } }'), CONFIG, "has the input 'input' in warm-up 'w', which is not declared; declared: input__0"),
    Fault("a warm-up of one input of two", "server#1795", "two", add('model_warmup { name: "w" batch_size: 1 inputs { key: "grid" value { data_type: TYPE_FP32 dims: [2, 3] zero_data: true } } }'), CONFIG, "lacks the input 'größe' in warm-up 'w'; give a value for every input"),
    Fault("a warm-up of another type", "server#8110", "python", add('model_warmup { name: "w" batch_size: 1 inputs { key: "input__0" value { data_type: TYPE_FP64 dims: 4 zero_data: true } } }'), CONFIG, "gives 'input__0' another type in warm-up 'w' than its input has; write the input's type"),
    Fault("a warm-up without data", "core backend_model_instance.cc", "python", add('model_warmup { name: "w" batch_size: 1 inputs { key: "input__0" value { data_type: TYPE_FP32 dims: 4 } } }'), CONFIG, "gives 'input__0' no data in warm-up 'w'; write zero_data: true, random_data: true or input_data_file"),
    Fault("a warm-up above max_batch_size", "model_config.proto", "python", add('model_warmup { name: "w" batch_size: 9 inputs { key: "input__0" value { data_type: TYPE_FP32 dims: 4 zero_data: true } } }'), CONFIG, "has 9 rows in warm-up 'w', max_batch_size is 8; write a smaller batch_size"),
)
GRAPHS = (
    Fault("no model.onnx beside model.py", "python_backend/model.py of this project", "python", remove(ONNX), VERSION, "lacks model.onnx, which its model.py opens; package the model again"),
    Fault("an empty model.onnx", "server#4957", "python", write(ONNX, ""), ONNX, "is empty; package the model again"),
    Fault("a truncated model.onnx", "Morpheus#1197", "python", cut(ONNX, 200), ONNX, "cannot be read (Error parsing message with type 'onnx.ModelProto'); the file may be cut short; write it again"),
    Fault("a Git LFS pointer for model.onnx", "Morpheus#1197", "python", write(ONNX, LFS), ONNX, "is a Git LFS pointer and not the model; fetch the model: git lfs pull"),
    Fault("a pickle for model.onnx", "onnx", "python", write(ONNX, b"\x80\x04\x95\x10\x00\x00\x00"), ONNX, "cannot be read (Error parsing message with type 'onnx.ModelProto'); the file may be cut short; write it again"),
    Fault("weights outside that are missing", "mmdeploy#2315", "outside", remove("fare/1/w.bin"), ONNX, "keeps weights in w.bin, which is not beside it; copy it there"),
    Fault("weights outside that are cut short", "mmdeploy#2315", "outside", cut("fare/1/w.bin", 5), ONNX, "cannot be read (w.bin has 5 bytes, and 'w' lies at 0 to 16); the file may be cut short; write it again"),
    Fault("an ONNX file of the future", "server#8001", "python", graph(lambda m: setattr(m, "ir_version", 99)), ONNX, "has IR version 99, onnx 1.23.2 knows none above 14; export it with an older one"),
    Fault("operators of the future", "transformer-deploy#82", "python", graph(lambda m: [setattr(o, "version", 99) for o in m.opset_import]), ONNX, "has opset 99, onnx 1.23.2 knows none above 28; export it with an older one"),
)
NATIVE = (
    Fault("no model.onnx for onnxruntime", "server#4957", "onnx", remove(ONNX), VERSION, "lacks model.onnx, which the onnxruntime backend reads; package the model again, or name the file: found nothing"),
    Fault("a truncated model.onnx for onnxruntime", "Morpheus#1197", "onnx", cut(ONNX, 200), ONNX, "cannot be read (Error parsing message with type 'onnx.ModelProto'); the file may be cut short; write it again"),
    Fault("a folder for model.onnx that lacks the file", "onnxruntime_backend onnxruntime.cc", "onnx", all_of(remove(ONNX), lambda r: (r / ONNX).mkdir()), ONNX, "is a folder, which the onnxruntime backend cannot read; put the model's file in its place"),
    Fault("a free dim where the model's is fixed", "onnxruntime_backend onnxruntime_utils.cc", "onnx", replace("dims: 4", "dims: -1"), CONFIG, "gives input 'input__0' the dims [-1], the model has [4]; write the model's dims"),
    Fault("an output's free dim that is fixed", "onnxruntime_backend onnxruntime_utils.cc", "onnx", replace("dims: 1", "dims: -1"), CONFIG, "gives output 'output__0' the dims [-1], the model has [1]; write the model's dims"),
    Fault("a free dim for a single value", "onnxruntime_backend onnxruntime.cc", "single", replace("dims: 1", "dims: -1"), CONFIG, "gives 'largest' the dims [-1], the model has a single value; write dims: 1"),
    Fault("an optional input with batches", "onnxruntime_backend onnxruntime.cc", "onnx", edit(lambda c: setattr(c.input[0], "optional", True)), CONFIG, "has the optional input 'input__0' and batches, which onnxruntime does not take; remove optional, or write max_batch_size: 0"),
    Fault("the older platform with another file", "server#5602", "onnx", all_of(replace('backend: "onnxruntime"', 'platform: "onnxruntime_onnx"'), move(ONNX, "fare/1/net.onnx")), VERSION, "lacks model.onnx, which the onnxruntime backend reads; package the model again, or name the file: found net.onnx"),
    Fault("a truncated forest", FIL, "fil", cut("fare/1/checkpoint.tl", 500), "fare/1/checkpoint.tl", "cannot be read (treelite_checkpoint: newbuf: Could not expand buffer); the file may be cut short; write it again"),
    Fault("an empty forest", FIL, "fil", write("fare/1/checkpoint.tl", ""), "fare/1/checkpoint.tl", "is empty; package the model again"),
    Fault("a forest in another format", FIL, "fil", write("fare/1/checkpoint.tl", '{"learner": {"attributes": {}}}'), "fare/1/checkpoint.tl", "cannot be read (treelite_checkpoint: it does not begin with treelite's version); the file may be cut short; write it again"),
    Fault("a format of forests that nobody knows", FIL, "fil", replace("treelite_checkpoint", "treelite"), CONFIG, "has model_type 'treelite'; write one of xgboost_ubj, xgboost_json, xgboost, lightgbm, treelite_checkpoint"),
    Fault("no format of the forest", FIL, "fil", edit(lambda c: c.parameters.pop("model_type")), VERSION, "lacks xgboost.model, which the fil backend reads; package the model again, or name the file: found checkpoint.tl"),
    Fault("a forest with other features", FIL, "fil", replace("dims: 4", "dims: 5"), CONFIG, "gives input 'input__0' the dims [5], the model has [4]; write the model's dims"),
    Fault("another input name for a forest", FIL, "fil", replace("input__0", "features"), CONFIG, "has an input 'features' that the model lacks; known: input__0"),
    Fault("doubles for a forest", FIL, "fil", replace("TYPE_FP32", "TYPE_FP64"), CONFIG, "gives input 'input__0' the type FP64, the model has FP32; write the model's type"),
    Fault("a forest without batches", FIL, "fil", all_of(replace("max_batch_size: 8", "max_batch_size: 0"), replace("dynamic_batching {\n}\n", "")), CONFIG, "has max_batch_size 0, the fil backend always takes batches; write 1 or more"),
    Fault("an ONNX file as a plan", "TensorRT sampleEngines.cpp", "plan", lambda r: scale_onnx(r / "fare/1/model.plan"), "fare/1/model.plan", "does not begin as a TensorRT plan does; build it with trtexec --saveEngine, or tao_gen_trt_engine"),
    Fault("an empty plan", "TensorRT sampleEngines.cpp", "plan", write("fare/1/model.plan", ""), "fare/1/model.plan", "is empty; package the model again"),
    Fault("a plan cut in its header", "TensorRT sampleEngines.cpp", "plan", cut("fare/1/model.plan", 20), "fare/1/model.plan", "does not begin as a TensorRT plan does; build it with trtexec --saveEngine, or tao_gen_trt_engine"),
    Fault("an engine called otherwise", "server#2095", "plan", move("fare/1/model.plan", "fare/1/model.engine"), VERSION, "lacks model.plan, which the tensorrt backend reads; package the model again, or name the file: found model.engine"),
)
BOTH = "both/config.pbtxt"


def both(old, new):
    return replace(old, new, "both")


def step(change, number=0):
    return edit(lambda c: change(c.ensemble_scheduling.step[number]), "both")


def retyped(repository):
    """The first model gives doubles, and its config says so."""
    scale_onnx(repository / "scale/1/model.onnx", kind="float64")
    edit(lambda c: setattr(c.output[0], "data_type", 12), "scale")(repository)


def widened(repository):
    """The first model gives 5 numbers a row, and its config says so."""
    scale_onnx(repository / "scale/1/model.onnx", width=5)
    edit(lambda c: c.output[0].dims.__setitem__(0, 5), "scale")(repository)


def more_inputs(repository, model, first, outputs):
    """A model that adds two inputs, the second one called `b`."""
    free = [None, 4]
    onnx(repository / model / "1/model.onnx", {first: ("float32", free), "b": ("float32", free)},
         {outputs: ("float32", free)}, [("Add", [first, "b"], [outputs])])  # fmt: skip
    add('input { name: "b" data_type: TYPE_FP32 dims: 4 }', model)(repository)


def circle(repository):
    """Two more steps, each of which reads what the other one writes."""
    for one, other in (("p", "q"), ("q", "p")):
        text = f'input_map {{ key: "x" value: "{one}" }} output_map {{ key: "scaled" value: "{other}" }}'
        add(f'ensemble_scheduling {{ step {{ model_name: "scale" model_version: -1 {text} }} }}', "both")(repository)


def branches(repository):
    """Two steps of a decoupled model, and one that takes the answers of both."""
    add("model_transaction_policy { decoupled: true }", "scale")(repository)
    more_inputs(repository, "fare", "input__0", "output__0")
    replace("dims: 1", "dims: 4")(repository)
    text = '{ model_name: "scale" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "scaled" value: "s" } }'
    add(f"ensemble_scheduling {{ step {text} }}", "both")(repository)
    step(lambda s: s.input_map.update({"b": "s"}), 1)(repository)
    both("dims: 1", "dims: 4")(repository)


ITSELF = 'ensemble_scheduling { step { model_name: "both" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } }'
ENSEMBLES = (
    Fault("an ensemble without steps", QA + "no_step", "ensemble", edit(lambda c: c.ensemble_scheduling.ClearField("step"), "both"), BOTH, "is an ensemble without steps; write its steps"),
    Fault("an ensemble without scheduling", QA + "ensemble_scheduling_no_set", "ensemble", edit(lambda c: c.ClearField("ensemble_scheduling"), "both"), BOTH, "is an ensemble without ensemble_scheduling; write its steps"),
    Fault("scheduling without the platform", CORE, "ensemble", both('platform: "ensemble"', ""), BOTH, 'has ensemble_scheduling and no platform; write platform: "ensemble"'),
    Fault("an ensemble with a backend", QA + "has_backend", "ensemble", both('platform: "ensemble"', 'platform: "ensemble" backend: "python"'), BOTH, "is an ensemble with the backend 'python'; remove the backend"),
    Fault("instances of an ensemble", QA + "instance_group_set", "ensemble", add("instance_group { count: 1 }", "both"), BOTH, "is an ensemble with instance_group; remove it here and write it in the models that it calls"),
    Fault("optimization of an ensemble", QA + "optimization_set", "ensemble", add("optimization { priority: PRIORITY_MAX }", "both"), BOTH, "is an ensemble with optimization; remove it here and write it in the models that it calls"),
    Fault("a warm-up of an ensemble", "server#6326", "ensemble", add('model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: 4 zero_data: true } } }', "both"), BOTH, "is an ensemble with model_warmup; remove it here and write it in the models that it calls"),
    Fault("a step without a model", QA + "no_model_name", "ensemble", step(lambda s: s.ClearField("model_name")), BOTH, "has no model_name in step 1; name the model"),
    Fault("a step without inputs", QA + "no_input_map", "ensemble", step(lambda s: s.ClearField("input_map")), BOTH, "has no input_map in step 1 (scale); map the model's tensors"),
    Fault("a step without outputs", QA + "no_output_map", "ensemble", step(lambda s: s.ClearField("output_map")), BOTH, "has no output_map in step 1 (scale); map the model's tensors"),
    Fault("a model that is not there", QA + "non_existing_model", "ensemble", both('"scale"', '"scaler"'), BOTH, "calls the model 'scaler', which is not in the repository; did you mean 'scale'? known: both, fare, scale"),
    Fault("a version that is not there", QA + "no_required_version", "ensemble", step(lambda s: setattr(s, "model_version", 2)), BOTH, "calls version 2 of 'scale', which has 1; write -1 for the newest, or a version that is there"),
    Fault("batches above a model's", QA + "invalid_batch_size", "ensemble", both("max_batch_size: 8", "max_batch_size: 16"), BOTH, "allows 16 rows, its models fewer: scale 8, fare 8; lower the ensemble's max_batch_size, or raise the models'"),
    Fault("an input that is not mapped", QA + "unmapped_input", "ensemble", lambda r: more_inputs(r, "scale", "x", "scaled"), BOTH, "does not map the input 'b' of 'scale'; map it to a tensor"),
    Fault("a map of no input", QA + "invalid_input_map", "ensemble", both('key: "input__0"', 'key: "input"'), BOTH, "maps the input 'input' of 'fare', which has no such; did you mean 'input__0'? known: input__0"),
    Fault("a map of no output", QA + "invalid_output_map", "ensemble", both('key: "output__0"', 'key: "output"'), BOTH, "maps the output 'output' of 'fare', which has no such; did you mean 'output__0'? known: output__0"),
    Fault("an ensemble's input of another type", "server#2885", "ensemble", both("TYPE_FP32", "TYPE_STRING"), BOTH, "has the tensor 'x' as TYPE_STRING of ensemble 'both' and as TYPE_FP32 of model 'scale'; give both the same type"),
    Fault("an ensemble's input of other dims", QA + "inconsistent_shape", "ensemble", both("dims: 4", "dims: 5"), BOTH, "has the tensor 'x' as [5] of ensemble 'both' and as [4] of model 'scale'; give both the same dims"),
    Fault("an ensemble's output of another type", QA + "inconsistent_data_type", "ensemble", edit(lambda c: setattr(c.output[0], "data_type", 12), "both"), BOTH, "has the tensor 'y' as TYPE_FP64 of ensemble 'both' and as TYPE_FP32 of model 'fare'; give both the same type"),
    Fault("a step that gives another type than the next takes", QA + "inconsistent_data_type", "ensemble", retyped, BOTH, "has the tensor 'scaled' as TYPE_FP64 of model 'scale' and as TYPE_FP32 of model 'fare'; give both the same type"),
    Fault("a step that gives other dims than the next takes", QA + "inconsistent_shape", "ensemble", widened, BOTH, "has the tensor 'scaled' as [5] of model 'scale' and as [4] of model 'fare'; give both the same dims"),
    Fault("a tensor that two steps write", QA + "output_to_tensor_overmapped", "ensemble", add('ensemble_scheduling { step { model_name: "scale" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "scaled" value: "scaled" } } }', "both"), BOTH, "writes the tensor 'scaled' more than once; give each output its own tensor"),
    Fault("a tensor that nothing writes", "server#5742", "ensemble", both('key: "input__0" value: "scaled"', 'key: "input__0" value: "scale"'), BOTH, "reads 'scale' in the step of fare, which nothing writes; did you mean 'scaled'? known: scaled, x, y"),
    Fault("an output that nothing writes", QA + "unreachable_output", "ensemble", both('output { name: "y"', 'output { name: "price"'), BOTH, "has the output 'price', which no step writes; known: scaled, y"),
    Fault("an input that nothing reads", QA + "unreachable_input", "ensemble", add('input { name: "z" data_type: TYPE_FP32 dims: 1 }', "both"), BOTH, "has the input 'z', which no step reads; remove it, or map it to a model's input"),
    Fault("a tensor that nothing reads", QA + "redundant_tensor_as_output", "ensemble", add('ensemble_scheduling { step { model_name: "scale" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "scaled" value: "left" } } }', "both"), BOTH, "has the tensor 'left', which no step reads; remove it, or map it to a model's input"),
    Fault("steps that wait for each other", QA + "circular_dependency", "ensemble", circle, BOTH, "has steps that wait for each other: scale, scale; let one of them read an input"),
    Fault("an ensemble that calls itself", QA + "self_circular_dependency", "ensemble", add(ITSELF, "both", without="ensemble_scheduling"), BOTH, "calls itself, through both; take the step out"),
    Fault("an ensemble without a version folder", LOAD, "ensemble", remove("both/1"), "both", "has no version folder (found: none); name it by a whole number from 1 on, such as 1"),
    Fault("a model of an ensemble without its version", LOAD, "ensemble", move("scale/1", "scale/v1"), "scale", "has no version folder (found: v1); name it by a whole number from 1 on, such as 1"),
    Fault("a model of an ensemble whose config is broken", "server#6571", "ensemble", replace("TYPE_FP32", "FP32", "scale"), "scale/config.pbtxt", 'is no model configuration: 5:14 : \' data_type: FP32\': Enum type "inference.DataType" has no value named FP32.; correct that line'),
    Fault("answers of two decoupled models in one step", QA + "invalid_decoupled_branching", "ensemble", branches, BOTH, "gives the step of 'fare' inputs of different decoupled models; take all of its inputs from one of them"),
)
ROWS = (*VERSIONS, *FILES, *GRAPHS, *NATIVE, *ENSEMBLES)
