"""`python -m triptych`, which torchrun needs."""

from triptych.cli import main

if __name__ == "__main__":
    main()
