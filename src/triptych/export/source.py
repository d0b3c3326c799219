"""Weights in one file of safetensors, and beside it a plain Python module that computes with them.

The module is the text of the traced programs: calls of torch in their order, each under the line of
this package that it came from. It needs torch, and safetensors to read the weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from triptych import files
from triptych.console import Console
from triptych.export.description import shape_of, write_description
from triptych.export.programs import Program, programs_of, trace
from triptych.records import TensorRecord
from triptych.run import Run

WEIGHTS, MODULE = "model.safetensors", "model.py"
PREFIX = "model."  # of the model inside a traced module
FROM = re.compile(r"# File: .*?/(triptych/\S+):\d+ in (\w+), code: (.*)")
CHECKS = ("promote_types", "_assert_tensor_metadata")  # by the tracer, of what it saw
HEAD = '''"""{model}: programs that were traced, with the weights in {weights}.

Each function takes weights by their names and tensors, and draws nothing at random: README.md says
what goes in and what comes out. `Model` binds them to the weights.
"""

import torch
from safetensors.torch import load_file
from torch import device, inf, nan, nn


class Model(nn.Module):
    """The programs as methods. The weights are parameters: `.to("cuda")` moves them."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(each, requires_grad=False) for each in weights.values()
        )
        self.names = list(weights)

    @classmethod
    def load(cls, path):
        """The model with the weights in a file."""
        return cls(load_file(path))

    def named(self):
        """The weights by their names."""
        return dict(zip(self.names, self.weights))
'''
METHOD = '''
    def {name}(self, {inputs}):
        """{what}"""
        return {name}(self.named(), {inputs})
'''


def write(run: Run, out: Path, console: Console) -> None:
    """model.safetensors, model.py, export.json and README.md, into an empty folder."""
    made, records = programs_of(run), {}
    weights: dict[str, Tensor] = {}
    methods, functions = [], []
    with console.bar("  exporting", len(made.programs)) as bar, torch.no_grad():
        for number, program in enumerate(made.programs):
            bar.update(number, note=program.name)
            exported = trace(program)
            names = weight_names(program, exported)
            weights |= dict(names.values())
            inputs = ", ".join(argument_names(program))
            what = f"{listed(program.record.inputs)} -> {listed(program.record.outputs)}."
            methods.append(METHOD.format(name=program.name, inputs=inputs, what=what))
            functions.append(function(program, exported, names))
    head = HEAD.format(model=run.record.model, weights=WEIGHTS)
    source = "".join([head, *methods, *functions])
    (out / MODULE).write_text(source, encoding="utf-8")
    # Programs may hold one and the same constant, and a file takes no memory twice.
    own = {key: each.contiguous().clone() for key, each in weights.items()}
    files.write_bytes(out / WEIGHTS, save(own))
    functions_of_module: dict[str, Any] = {}
    exec(compile(source, MODULE, "exec"), functions_of_module)  # as a reader of the file will
    with torch.no_grad():
        for program in made.programs:
            outputs = functions_of_module[program.name](weights, *program.inputs)
            records[program.name] = program.compared(outputs)
    write_description(out, "safetensors", run, made, records, console)


def listed(tensors: Sequence[TensorRecord]) -> str:
    """Their names and shapes."""
    return ", ".join(f"{each.name} {shape_of(each)}" for each in tensors)


def weight_names(program: Program, exported: ExportedProgram) -> dict[str, tuple[str, Tensor]]:
    """What stands for a weight or a constant in the graph: its name in the file, and itself."""
    held = {**exported.constants, **exported.state_dict}
    named = {}
    for each in exported.graph_signature.input_specs:
        if each.kind is InputKind.USER_INPUT:
            continue
        assert each.target is not None
        own = each.target.startswith(PREFIX)
        key = each.target.removeprefix(PREFIX) if own else f"{program.name}.{each.target}"
        named[each.arg.name] = key, held[each.target].detach()
    return named


def argument_names(program: Program) -> list[str]:
    """The names of its inputs, as Python writes them."""
    names = (re.sub(r"\W", "_", each.name) for each in program.record.inputs)
    return [name if name.isidentifier() else f"_{name}" for name in names]


def function(
    program: Program, exported: ExportedProgram, names: dict[str, tuple[str, Tensor]]
) -> str:
    """The text of a program as a function of weights and inputs; one output comes as it is."""
    inputs = argument_names(program)
    code = exported.graph.python_code("self", verbose=True).src
    _, _, body = code[code.index("def forward(") :].partition("\n")
    for given, name in zip(exported.graph_signature.user_inputs, inputs, strict=True):
        body = re.sub(rf"\b{given}\b", name, body)
    lines = [f"\n\ndef {program.name}(weights, {', '.join(inputs)}):"]
    lines += [f'    {short} = weights["{key}"]' for short, (key, _) in names.items()]
    lines.append(f"    own_device = {inputs[0]}.device")
    for line in body.splitlines():
        source = FROM.search(line)
        if source is not None:
            lines.append(f"    # {source[1]}, {source[2]}: {source[3]}")
        elif line.strip() and not line.lstrip().startswith(("# File:", *CHECKS)):
            lines.append(line.replace("device(type='cpu')", "own_device"))
    if exported.call_spec.out_spec.is_leaf():
        lines[-1] = re.sub(r"return \((.*),\)", r"return \1", lines[-1])
    return "\n".join(lines) + "\n"
