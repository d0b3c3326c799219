"""Run the notebooks of `examples/` from end to end and store what they show.

    python -m tests.run_notebooks [NAME ...]

(`make notebooks`), on a machine that does nothing else: their trainings take as long as they ask.
They run in an empty folder. Left out are times, bars that are done, and what goes to logs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "notebooks"


def is_bar(output: dict[str, Any]) -> bool:
    """Whether it is what a bar leaves behind: an output without a text."""
    return "data" in output and not any("".join(text) for text in output["data"].values())


def stored(notebook: Any) -> Any:
    """The notebook as it is kept."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if not is_bar(output) and output.get("name") != "stderr"
            ]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    for name in parser.parse_args().names or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        path = FOLDER / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as scratch:
            client = nbclient.NotebookClient(
                notebook, timeout=None, resources={"metadata": {"path": scratch}}
            )
            client.execute()
        path.write_text(nbformat.writes(stored(notebook)) + "\n", encoding="utf-8")
        print(f"{name}: {path.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
