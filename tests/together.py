"""What the processes of a torchrun do in test_distributed.py.

python -m tests.together steps OUT          20 rounds of each model in float64; losses and weights
                                            to files of the folder OUT
python -m tests.together killed STEP ...    as `triptych ...`, but the second process kills itself
                                            at that step of its first life
python -m tests.together turns ... then ... as `triptych ...`, one command after another
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file

from triptych import distributed, hardware
from triptych.cli.main import main
from triptych.config import ImageShape, override
from triptych.data.batches import Batches
from triptych.data.dataset import Part
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.seeding import generator
from triptych.training.plan import Plan
from triptych.training.state import TrainingState

BATCH, ROUNDS = 16, 20
SHAPE = ImageShape(channels=1, resolution=16)
SMALL = {
    "vae:sigma": ("widths=8,16", "latent=8"),
    "gan:hinge": ("width=8", "latent=8"),
    "diffusion:x0": ("widths=8,16,16",),
}


def steps(model: str, out: Path, microbatch: int | None = None) -> None:
    """Losses of every round, mean over processes, and the last weights, by the first process."""
    machine = hardware.pick("cpu", "fp32", threads=1, microbatch=microbatch)
    group = machine.group
    name = ModelName.parse(model)
    settings = override(
        registry.defaults(name, "tiny", SHAPE), (f"batch_size={BATCH}", *SMALL[model])
    )
    net = registry.build(name, settings, SHAPE, seed=0).double().train()
    state = TrainingState(net, settings, group)
    pixels = torch.randint(256, (200, *SHAPE.size), generator=generator(0, "x"), dtype=torch.uint8)
    batches = Batches(Part(pixels, None), BATCH, seed=0, rank=group.rank, ranks=group.size)
    losses = []
    for _ in range(ROUNDS):
        state.step(batches, 0, Plan.straight(ROUNDS * BATCH), machine)
        means, masked = state.tally.read(group)
        assert not any(masked.values())
        losses.append(torch.tensor(list(means.values()), dtype=torch.float64))
        state.tally.clear()
    if group.is_main:
        weights = {key: tensor.contiguous() for key, tensor in net.state_dict().items()}
        save_file({"losses": torch.stack(losses), **weights}, out)


def killed(step: int, arguments: list[str]) -> None:
    """The command line, with a death on the way."""
    first_life = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    plain, count = TrainingState.step, 0

    def round_or_die(state: TrainingState, *rest: Any) -> None:
        nonlocal count
        count += 1
        if first_life and os.environ["RANK"] == "1" and count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(state, *rest)

    TrainingState.step = round_or_die  # type: ignore[method-assign]
    sys.argv = ["triptych", *arguments]
    main()


def turns(words: list[str]) -> None:
    """Command lines, one after another; the processes start and meet once."""
    *first, last = ([*each] for then, each in groupby(words, "then".__eq__) if not then)
    for command in first:
        sys.argv = ["triptych", *command]
        with patch.object(distributed, "leave", lambda: None):
            try:
                main()
            except SystemExit as done:
                assert done.code == 0, command
    sys.argv = ["triptych", *last]
    main()


if __name__ == "__main__":
    if sys.argv[1] == "steps":
        for each in SMALL:
            steps(each, Path(sys.argv[2]) / each)
        distributed.leave()
    elif sys.argv[1] == "turns":
        turns(sys.argv[2:])
    else:
        killed(int(sys.argv[2]), sys.argv[3:])
