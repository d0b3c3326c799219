"""The app of a Space of the Hub: sliders for a run's samples, beside the run's own files.

A Space with the SDK gradio shows `app.py` of its folder; `requirements.txt` is what it installs.
"""

from __future__ import annotations

from pathlib import Path

from triptych import files, hardware

APP, REQUIREMENTS = "app.py", "requirements.txt"
FILES = (APP, REQUIREMENTS)
GRADIO = "gradio>=5"
TEMPLATE = Path(__file__).parent / "templates" / "app.py.txt"


def write(out: Path) -> None:
    """The app and what it needs, into the folder of a run."""
    files.write_bytes(out / APP, TEMPLATE.read_bytes())
    needs = f"triptych=={hardware.own_version()}\n{GRADIO}\n"
    files.write_bytes(out / REQUIREMENTS, needs.encode())
