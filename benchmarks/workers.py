"""What a killed worker does to the others, and to what is trained.

    python benchmarks/workers.py --out benchmarks/results/workers.json

Two gloo workers under torchrun train a small VAE. At a random step the second one kills itself
with SIGKILL, which no process can catch. Measured are the seconds from there until the other
one has gone, and whether torchrun's one restart brings the job to an end with the weights of a
run that was never killed, byte for byte. `--agents 2` gives each worker a torchrun of its own, as
on two machines: the other worker must then find out by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS, BATCH = 100, 32  # a checkpoint every five rounds
LIMIT = 180  # seconds for one job, which takes a tenth of that
WANTED = 10  # seconds within which the other worker must be gone


def work(step: int, notes: Path, arguments: list[str]) -> None:
    """The command line in a process that notes that it lives, and dies at that step, if it must."""
    from triptych.cli import main
    from triptych.training.state import TrainingState

    rank, first_life = os.environ["RANK"], not (notes / "killed.json").exists()
    if first_life:
        (notes / f"process-{rank}").write_text(str(os.getpid()))
    plain, count = TrainingState.step, 0

    def round_or_die(state: TrainingState, *rest: Any) -> None:
        nonlocal count
        count += 1
        if first_life and rank == "1" and count == step:
            # Renamed into place, so that it is never read half-written.
            (notes / "killed.part").write_text(json.dumps({"at": time.monotonic()}))
            (notes / "killed.part").rename(notes / "killed.json")
            os.kill(os.getpid(), signal.SIGKILL)
        plain(state, *rest)

    TrainingState.step = round_or_die  # type: ignore[assignment, method-assign]
    sys.argv = ["triptych", *arguments]
    main.main()


def start(agents: int, step: int, notes: Path, training: list[str]) -> list[subprocess.Popen[str]]:
    """One torchrun with two workers, or two with one each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    place = ["--nnodes", str(agents), "--nproc-per-node", str(2 // agents), "--max-restarts", "1"]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "1"]
    command = [sys.executable, "-m", "torch.distributed.run", *place, *meeting, __file__]
    # Torchruns of several machines would else meet again under the addresses of the first life.
    own = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return [
        subprocess.Popen(
            [*command, "--work", str(step), str(notes), *training],
            env=os.environ | own | {"TRIPTYCH_CACHE": str(notes.parent / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(agents)
    ]


def gone(process: int) -> bool:
    """Whether a process has ended; one that is only not yet waited for has."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def seconds_until_gone(notes: Path, until: float) -> float | None:
    """From the second worker's death to the other one's end; None where one does not come."""
    while time.monotonic() < until:
        if (notes / "killed.json").exists():
            other = int((notes / "process-0").read_text())
            while time.monotonic() < until:
                if gone(other):
                    died: float = json.loads((notes / "killed.json").read_text())["at"]
                    return round(time.monotonic() - died, 2)
                time.sleep(0.01)
        time.sleep(0.01)
    return None


def job(folder: Path, agents: int, step: int) -> dict[str, Any]:
    """One run, whose second worker dies at that step; at step 0 nobody does."""
    from triptych import files

    notes, run = folder / f"notes-{agents}-{step}", folder / f"run-{agents}-{step}"
    notes.mkdir()
    small = ["--resolution", "16", "--set", f"batch_size={BATCH}", "--set", "widths=8,8"]
    budget = ["--budget", f"{ROUNDS * BATCH / 1000}kimg", "--threads", "1"]
    data = ["--data", str(folder / "noise.npz")]
    training = ["train", "vae", *data, *budget, *small, "--out", str(run)]
    began = time.monotonic()
    processes = start(agents, step, notes, training)
    found: dict[str, Any] = {"step": step}
    try:
        if step:
            found["other_gone_s"] = seconds_until_gone(notes, began + LIMIT)
        said = [p.communicate(timeout=began + LIMIT - time.monotonic())[1] for p in processes]
        found["exit_codes"] = [process.returncode for process in processes]
        if any(found["exit_codes"]):
            found["said"] = [lines[-2000:] for lines in said]
    except subprocess.TimeoutExpired:
        found["exit_codes"] = None
    finally:
        for process in processes:
            process.terminate()  # torchrun ends its workers
    found["job_s"] = round(time.monotonic() - began, 1)
    weights = run / "model.safetensors"
    found["sha256"] = files.sha256(weights) if weights.exists() else None
    log = run / "log.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    found["resumed_at_step"] = [e["images"] // BATCH for e in events if e["event"] == "resume"]
    return found


def measure(kills: int, agents: int, seed: int) -> dict[str, Any]:
    """The run that is left alone, then those that are not."""
    from triptych import hardware

    steps = sorted(random.Random(seed).sample(range(1, ROUNDS + 1), kills))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pixels = np.random.default_rng(0).integers(256, size=(200, 16, 16, 3), dtype=np.uint8)
        np.savez(folder / "noise.npz", images=pixels)
        whole = job(folder, agents, 0)
        print(f"never killed: {whole['job_s']} s", file=sys.stderr)
        found = []
        for step in steps:
            found.append(job(folder, agents, step))
            digest = found[-1].pop("sha256")
            same = found[-1]["same_weights"] = digest is not None and digest == whole["sha256"]
            print(f"step {step}: gone after {found[-1]['other_gone_s']}, {same=}", file=sys.stderr)
    times = [one["other_gone_s"] for one in found]
    return {
        "hardware": hardware.describe(),
        "versions": hardware.versions(),
        "agents": agents,
        "rounds": ROUNDS,
        "never_killed": whole,
        "killed": found,
        "kills": len(found),
        "others_gone_in_time": sum(t is not None and t <= WANTED for t in times),
        "slowest_s": None if None in times else max(times),
        "finished_with_the_same_weights": sum(one["same_weights"] for one in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--agents", type=int, default=1, choices=(1, 2))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    if sys.argv[1:2] == ["--work"]:  # what follows is a command line of its own
        work(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
        return
    arguments = parser.parse_args()
    result = measure(arguments.kills, arguments.agents, arguments.seed)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    sys.exit(result["finished_with_the_same_weights"] < result["kills"])


if __name__ == "__main__":
    main()
