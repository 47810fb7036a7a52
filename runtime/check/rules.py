"""The rules of `ngcrun check`: what each looks for, how bad it is, and who says so.

[sdk] azure-ai-ml 1.35.2 refuses it, too (its marshmallow schemas and `_validate()`); [doc] a reference page of
MicrosoftDocs/azure-ai-docs; [measured] azure-ai-ml passes it and the job fails: 58 cases tried offline; [us] our own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One rule. `severity` is error (the file cannot work as it is), warning, or note (nothing is known to be wrong)."""

    id: str
    severity: str
    looks_for: str
    source: str


_TABLE = """
not-yaml             error   the file cannot be read as YAML | sdk
duplicate-key        error   a key that is there twice: the last one wins, without a word | us: YAML 1.2, 3.2.1.3
wrong-shape          error   text where a mapping is needed, a list where one value is | sdk
misspelled-key       error   a key that no such file has, close to one that it has | measured
unknown-key          warning a key that no such file has; AzureML leaves it out or refuses it | measured
missing-key          error   a key without which the file is refused | sdk
placeholder          error   a <placeholder> that nobody filled in | measured
binding-typo         error   ${inputs.x}, {{inputs.x}} or $(inputs.x) where ${{inputs.x}} is meant | us
bad-name             error   a name that AzureML refuses | sdk; doc: reference-yaml-component-command
bad-version          error   a version that YAML reads as another number: 1.10 is 1.1 | us: YAML 1.1, float
bad-port-name        error   a name of an input, output or step that is no identifier | sdk
reserved-port-name   error   a port with the name of a variable that the system needs | doc: reference-yaml-component-command
bad-port-type        error   a type that no port has | sdk
bad-constraint       error   min, max or enum that cannot be used | sdk
bad-default          error   a default of another type, outside enum, or outside min and max | measured
optional-output      error   an output that is optional | sdk
unknown-placeholder  error   a command with ${{...}} of a port that is not declared | sdk
optional-outside     error   an optional input outside $[[ ]]: the command breaks when it is not given | doc: reference-yaml-component-command
required-inside      error   a required input inside $[[ ]] | doc: reference-yaml-component-command
line-continuation    error   a backslash at the end of a line of the command | doc: reference-yaml-component-command
unused-input         warning an input that nothing reads | us
unused-output        warning an output that the command does not name | us
missing-code         error   a code folder that is not there | sdk
missing-script       error   a script that is not in the code folder | measured
unknown-argument     error   an argument that the script does not take | us: argparse, Hydra, click and typer, read and not run
missing-argument     error   an argument that the script requires and the command does not give | us: argparse
unknown-input        error   an input that the component or the pipeline does not have | measured
unknown-output       error   an output that the component or the pipeline does not have | measured
unknown-step         error   a step that the pipeline does not have | measured
unknown-binding      error   ${{...}} that means nothing where it stands | measured
missing-input        error   a required input that is not bound | measured
empty-value          error   an input that is bound to an empty text, which AzureML does not take | us
bad-literal          error   a literal of another type, outside enum, or outside min and max | measured
type-mismatch        error   an output or input of one type bound to an input of another | measured
file-or-folder       warning a file given to an input that takes a folder, or the other way round | us: AzureML takes it, and the program gets what it did not ask for
port-case            warning an input or output that differs in large and small letters only | us: azure-ai-ml refuses it for a local component, the service takes it
unwritten-output     error   an output of the pipeline that no step writes | measured
cycle                error   steps that wait for each other, or a pipeline that contains itself | measured
missing-component    error   a component file that is not there, or is no component | sdk
version-not-here     warning a component that is in the tree, but in another version | us
missing-path         error   a local file or folder that is not there | measured
retired-size         error   a VM size that Azure has retired | doc: runtime/azureml/conf/sizes.yaml
image-on-size        error   an image that the GPU of the size cannot run | doc: runtime/azureml/conf/gpus.yaml
unknown-rule         warning `# ngcrun: ignore[...]` of a rule that does not exist | us
not-looked-into      note    a part that this program does not know, and that may be right | us
"""


def _rule(line: str) -> Rule:
    text, _, source = line.rpartition(" | ")
    name, severity, looks_for = text.split(maxsplit=2)
    return Rule(name, severity, looks_for.strip(), source)


RULES = {rule.id: rule for rule in map(_rule, _TABLE.strip().splitlines())}
