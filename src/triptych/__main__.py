"""The command: `triptych`, and `python -m triptych`, which torchrun needs."""

import signal

# Interrupted before `main` can answer, while modules are imported: end quietly, by the signal.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from triptych.cli.main import main

if __name__ == "__main__":
    main()
