"""Run a command with the device: `python -m tests.imitated_gpu triptych train vae ...`."""

from __future__ import annotations

import os
import sys

from tests.imitated_gpu import compiled, environment

if __name__ == "__main__":
    os.execvpe(sys.argv[1], sys.argv[1:], environment(compiled()))
