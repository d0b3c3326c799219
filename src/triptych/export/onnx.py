"""The same programs in ONNX, for what runs them without torch. Files are `NAME.onnx`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triptych.console import Console
from triptych.errors import ANYTHING, InputError, first_line
from triptych.export.description import write_description
from triptych.export.programs import Program, programs_of, trace
from triptych.records import ProgramRecord
from triptych.run import Run

INSTALL = "pip install onnx onnxscript"


def searchsorted(
    ends: Any,
    values: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """`torch.searchsorted`, which torch's exporter lacks: how many of the ends are below each."""
    from onnxscript import INT64
    from onnxscript import opset18 as op

    rows = op.Unsqueeze(ends, op.Constant(value_ints=[-2]))
    columns = op.Unsqueeze(values, op.Constant(value_ints=[-1]))
    below = op.LessOrEqual(rows, columns) if right else op.Less(rows, columns)
    counted = op.Cast(below, to=INT64.dtype)
    return op.ReduceSum(counted, op.Constant(value_ints=[-1]), keepdims=0)


OURS: dict[Any, Any] = {torch.ops.aten.searchsorted.Tensor: searchsorted}


def write(run: Run, out: Path, console: Console) -> None:
    """The programs of a run, export.json and README.md, into an empty folder.

    InputError where the packages that write ONNX are missing.
    """
    require_packages()
    made, records = programs_of(run), {}
    with console.bar("  exporting", len(made.programs)) as bar, torch.no_grad():
        for number, program in enumerate(made.programs):
            bar.update(number, note=program.name)
            path = out / f"{program.name}.onnx"
            names = [[each.name for each in side] for side in sides(program)]
            with quiet_exporter():
                torch.onnx.export(
                    trace(program),
                    f=path,
                    input_names=names[0],
                    output_names=names[1],
                    dynamo=True,
                    custom_translation_table=OURS,
                    external_data=False,
                    verbose=False,
                )
            records[program.name] = compared(program, path)
    write_description(out, "onnx", run, made, records, console)


def sides(program: Program) -> tuple[Any, Any]:
    """The records of its inputs and outputs."""
    return program.record.inputs, program.record.outputs


def require_packages() -> None:
    """InputError with the command that installs what is missing."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ANYTHING as error:
        raise InputError(f"ONNX is written by packages ({first_line(error)})", INSTALL) from error


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Inside, torch's exporter says nothing of operators that it does not know at first."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that the exporter uses
            yield
    finally:
        logger.setLevel(level)


def compared(program: Program, path: Path) -> ProgramRecord:
    """The record with the difference that onnxruntime finds; without where it is not installed."""
    try:
        import onnxruntime
    except ANYTHING:
        return program.record
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    arrays = [each.numpy() for each in program.inputs]
    given = dict(zip(names, arrays, strict=True))
    return program.compared([torch.from_numpy(np.asarray(o)) for o in session.run(None, given)])
