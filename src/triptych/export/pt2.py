"""Programs of `torch.export`: what runs them needs torch alone.

A program holds the weights that it uses and every step that it takes. Files are `NAME.pt2`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from triptych.console import Console
from triptych.export.description import write_description
from triptych.export.programs import programs_of, trace
from triptych.run import Run


def write(run: Run, out: Path, console: Console) -> None:
    """The programs of a run, export.json and README.md, into an empty folder."""
    made, records = programs_of(run), {}
    with console.bar("  exporting", len(made.programs)) as bar, torch.no_grad():
        for number, program in enumerate(made.programs, start=1):
            exported = trace(program)
            torch.export.save(exported, out / f"{program.name}.pt2")
            records[program.name] = program.compared(exported.module()(*program.inputs))
            bar.update(number)
    write_description(out, "pt2", run, made, records, console)
