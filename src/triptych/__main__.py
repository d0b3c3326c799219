"""The command: `triptych`, and `python -m triptych`, which torchrun needs."""

import signal
import sys

# From a source tree any Python gets here; pip refuses older ones by itself. So this file and
# `__init__.py` keep to what Python 3.8 can read.
if sys.version_info < (3, 11):  # noqa: UP036
    version = ".".join(map(str, sys.version_info[:3]))
    sys.stderr.write(
        f"triptych: Python {version} is too old: use Python 3.11 or newer "
        "(https://www.python.org/downloads/)\n"
    )
    sys.exit(2)

# Interrupted before `main` can answer, while modules are imported: end quietly, by the signal.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from triptych.cli.main import main

if __name__ == "__main__":
    main()
