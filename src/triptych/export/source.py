"""Weights in one file of safetensors, and beside it a plain Python module that computes with them.

The module is the text of the traced programs: calls of torch in their order, each under the line of
this package that it came from. It needs torch, and safetensors to read the weights.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from triptych.console import Console
from triptych.export.description import write_description
from triptych.export.programs import Program, programs_of, trace
from triptych.run import Run

WEIGHTS, MODULE = "model.safetensors", "model.py"
PREFIX = "model."  # of the model inside a traced module
FROM = re.compile(r"# File: .*?/(triptych/\S+):\d+ in (\w+), code: (.*)")
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
        for number, program in enumerate(made.programs, start=1):
            exported = trace(program)
            names = weight_names(program, exported)
            weights |= {key: tensor for key, tensor in names.values()}
            inputs = ", ".join(user_inputs(exported))
            what = f"{listed(program.record.inputs)} -> {listed(program.record.outputs)}."
            methods.append(METHOD.format(name=program.name, inputs=inputs, what=what))
            functions.append(function(program.name, exported, names))
            bar.update(number)
    head = HEAD.format(model=run.record.model, weights=WEIGHTS)
    source = "".join([head, *methods, *functions])
    (out / MODULE).write_text(source, encoding="utf-8")
    save_file({key: each.contiguous() for key, each in weights.items()}, out / WEIGHTS)
    space: dict[str, object] = {}
    exec(compile(source, MODULE, "exec"), space)
    with torch.no_grad():
        for program in made.programs:
            outputs = space[program.name](weights, *program.inputs)
            records[program.name] = program.compared(outputs)
    write_description(out, "safetensors", run, made, records, console)


def listed(tensors: object) -> str:
    """Their names and shapes."""
    return ", ".join(
        f"{each.name} [{','.join(['N', *map(str, each.shape[1:])])}]" for each in tensors
    )


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


def user_inputs(exported: ExportedProgram) -> list[str]:
    """The names of its inputs."""
    return list(exported.graph_signature.user_inputs)


def function(name: str, exported: ExportedProgram, names: dict[str, tuple[str, Tensor]]) -> str:
    """The text of a program as a function of weights and inputs."""
    inputs = user_inputs(exported)
    code = exported.graph.python_code("self", verbose=True).src
    _, _, body = code[code.index("def forward("):].partition("\n")
    lines = [f"\n\ndef {name}(weights, {', '.join(inputs)}):", f"    where = {inputs[0]}.device"]
    lines += [f'    {short} = weights["{key}"]' for short, (key, _) in names.items()]
    for line in body.splitlines():
        source = FROM.search(line)
        if source is not None:
            lines.append(f"    # {source[1]}, {source[2]}: {source[3]}")
        elif not line.lstrip().startswith("# File:") and line.strip():
            lines.append(line.replace("device(type='cpu')", "where"))
    return "\n".join(lines) + "\n"
