"""The machine: what it has, what was picked on it and why, and how much memory was used."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from triptych.distributed import ALONE, Group, join, processes_here
from triptych.errors import InputError
from triptych.options import MachineOptions
from triptych.records import Note

if TYPE_CHECKING:
    import torch


MOST_THREADS = 64  # on fewer cores: enough to repeat a run from a larger machine exactly
# How long an OpenMP thread that waits keeps its core busy before it sleeps: the fewest spins that
# lose nothing on a quiet machine (benchmarks/busy.py). Beside a busy program no number helps as
# much as one thread does (training/threads.py).
SPINS = 10_000
WAITING = {"GOMP_SPINCOUNT": str(SPINS), "KMP_BLOCKTIME": "0"}  # GNU's; Intel's and LLVM's
# Seconds of a budget from which compiling is tried on a GPU: ten times what it took at most where
# it was measured (benchmarks/README.md).
COMPILED_FROM = 10 * 123
PROBED_SECONDS, PROBED_ROUNDS = 0.05, 2  # for each number of threads that is tried
WAIT_POLICY = "OMP_WAIT_POLICY"
TENSOR_CORES = (7, 0)  # from this compute capability on; before it float16 is slow, not fast
DEVICES = ("cpu", "cuda", "xpu", "mps")  # as PyTorch names them
APPLE_FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
# What PyTorch says of refused memory, in lower case: the system's, Apple's and CUDA's libraries'.
REFUSED_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")
_GPU_TROUBLE: list[str] = []  # kept, for PyTorch tells it once
_PEAK_BEFORE = [0]  # bytes that this process held at most, when that was last to be forgotten
MEND = f"set GOMP_SPINCOUNT={SPINS} before torch is imported"


def let_threads_sleep() -> None:
    """Make OpenMP's waiting threads sleep soon; call before torch is imported.

    Settings of the user in the environment stay as they are.
    """
    if not _waiting_set():
        os.environ.update(WAITING)


def let_processor_help() -> None:
    """Let it do what PyTorch cannot do on an Apple GPU; call before torch is imported."""
    os.environ.setdefault(APPLE_FALLBACK, "1")


def _waiting_set() -> list[str]:
    """The environment's settings of waiting threads, as `NAME=VALUE`."""
    return [f"{n}={os.environ[n]}" for n in (*WAITING, WAIT_POLICY) if n in os.environ]


def _describe_waiting() -> Note:
    """How OpenMP's threads wait; warns once where torch was loaded and they spin."""
    settings = _waiting_set()
    if settings == [f"{name}={value}" for name, value in WAITING.items()]:
        return Note("threads_sleep", {"n": SPINS})
    if settings:
        return Note("threads_as_set", {"settings": ", ".join(settings)})
    _warn_of_spinning()
    return Note("threads_spin", {"setting": f"GOMP_SPINCOUNT={SPINS}"})


@cache
def _warn_of_spinning() -> None:
    warnings.warn(
        f"torch's waiting threads spin: beside a busy program it is many times slower; {MEND}",
        RuntimeWarning,
        stacklevel=5,
    )


def keep_memory() -> None:
    """Tell glibc to keep the pages it frees; call before torch is imported.

    Giving them back costs a third of a U-Net's training step on a CPU. Other C
    libraries have no such call and are left alone.
    """
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # from glibc's malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)  # a C int: 2 GiB would overflow
        libc.mallopt(m_top_pad, 2**26)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The device, precision and threads in use, each with the reason it was picked.

    compile:    whether networks go through torch.compile
    microbatch: most images in a network at once; larger batches are split
    graphs:     whether rounds of training become CUDA graphs, where they can
    group:      the processes that work together
    """

    device: str
    precision: str  # "bf16", "fp16" or "fp32"
    threads: int
    choices: dict[str, Note]
    compile: bool = False
    microbatch: int | None = None
    graphs: bool = True
    group: Group = ALONE

    def __post_init__(self) -> None:
        if self.microbatch is not None and self.microbatch < 1:
            raise InputError(f"--microbatch {self.microbatch} is too few", "give 1 or more")

    @property
    def captures(self) -> bool:
        """Whether rounds of training become CUDA graphs: on one GPU, where nobody has to agree."""
        return self.graphs and self.device == "cuda" and self.group.size == 1

    def autocast(self) -> torch.autocast:
        """The context in which networks run."""
        import torch

        half = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device, half, enabled=self.precision != "fp32")

    @contextlib.contextmanager
    def own_threads(self) -> Iterator[None]:
        """Inside, torch computes with this machine's threads."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @contextlib.contextmanager
    def fastest_threads(self) -> Iterator[None]:
        """Inside, torch computes with the number of threads that is fastest now.

        A number that the user chose stays. Only for work whose results may differ in rounding:
        beside a busy program two threads that wait for each other can be slower than one.
        """
        import torch

        with self.own_threads():
            if "threads" in self.choices and self.group.size == 1 and self.device == "cpu":
                torch.set_num_threads(find_fastest_threads(self.threads))
            yield

    def finish(self) -> None:
        """Wait until the device has finished all work; call it before reading a clock."""
        if self.device != "cpu":
            import torch

            torch.accelerator.synchronize()


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Inside, NVIDIA's GPUs compute in float32 as it is, not in TF32, which has 10 bits.

    They convolve in TF32 by default, and multiply matrices in it where a user's program asks for
    that. These are PyTorch's newer switches, which hold whichever were used; once both the newer
    and the older ones were, reading the older ones raises.
    """
    import torch

    cudnn: Any = torch.backends.cudnn  # its types lack these switches
    switches = cudnn.conv, torch.backends.cuda.matmul
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "ieee"
    try:
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def pick(
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    compile: bool | None = None,
    microbatch: int | None = None,
) -> Machine:
    """Choose what the user left open, set torch's threads and join the processes of a torchrun.

    InputError on a device, precision or number of threads that is not available.
    """
    import torch

    choices: dict[str, Note] = {}
    if device is None:
        device, choices["device"] = _best_device()
    else:
        _check_device(device)
    if precision is None:
        precision, choices["precision"] = _best_precision(device)
    elif precision not in precisions(device):
        *others, last = precisions(device)
        raise InputError(f"no precision '{precision}'", f"choose {', '.join(others)} or {last}")
    if threads is None:
        neighbours = processes_here()
        threads = max(1, usable_cores() // neighbours)
        values: dict[str, str | int | float] = {"n": threads, "processes": neighbours}
        choices["threads"] = Note("shared_cores" if neighbours > 1 else "own_cores", values)
        if is_busy():
            load = round(psutil.getloadavg()[0], 1)
            choices["load"] = Note("busy_cores", {"load": load, "cores": usable_cores()})
    elif threads < 1:
        raise InputError(f"--threads {threads} is too few", "give 1 or more")
    elif threads > max(MOST_THREADS, usable_cores()):
        raise InputError(f"--threads {threads} are too many", f"there are {usable_cores()} cores")
    if compile is None:
        compile = False
        by_trial = Note("compiling_tried", {"minutes": math.ceil(COMPILED_FROM / 60)})
        choices["compile"] = by_trial if device == "cuda" else Note("not_compiled")
    elif compile and device == "cpu" and compiler() is None:
        raise InputError("--compile needs a C++ compiler", "install one, or leave it out")
    elif compile and device == "cuda" and sys.platform == "linux" and c_compiler() is None:
        raise InputError("--compile needs a C compiler", "install gcc, or leave it out")
    if threads > 1:
        choices["waiting threads"] = _describe_waiting()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # tiny numbers cost hundreds of cycles each
    group = join(device)
    if group.broadcast(lambda: precision) != precision:
        raise InputError(
            f"process {group.rank} would use {precision}, the first one another precision",
            "choose one with --precision",
        )
    return Machine(
        device=device,
        precision=precision,
        threads=threads,
        choices=choices,
        compile=compile,
        microbatch=microbatch,
        group=group,
    )


def pick_for(options: MachineOptions) -> Machine:
    """The machine as options ask for it."""
    return pick(
        options.device,
        options.precision,
        options.threads,
        options.compile or None,
        options.microbatch,
    )


def counts_to_try(most: int) -> list[int]:
    """Numbers of threads that can make sense: one, half and all, where they differ.

    >>> counts_to_try(1), counts_to_try(2), counts_to_try(16)
    ([1], [1, 2], [1, 8, 16])
    """
    return sorted({1, max(1, most // 2), most})


def find_fastest_threads(most: int) -> int:
    """The fastest number of threads up to `most`, measured now, in a fifth of a second."""
    seconds = time_threads(most)
    return min(seconds, key=lambda count: seconds[count])


def time_threads(most: int) -> dict[int, float]:
    """Seconds that a few layers of a small network take now, by the number of threads."""
    import torch
    from torch.nn import functional as F

    images, weights = torch.ones(16, 32, 16, 16), torch.ones(32, 32, 3, 3)

    def layers() -> None:
        x = images
        for _ in range(3):
            x = F.silu(F.conv2d(x, weights, padding=1))

    seconds = {}
    for count in counts_to_try(most):
        torch.set_num_threads(count)
        layers()
        started, rounds = time.perf_counter(), 0
        while rounds < PROBED_ROUNDS or time.perf_counter() - started < PROBED_SECONDS:
            layers()
            rounds += 1
        seconds[count] = (time.perf_counter() - started) / rounds
    return seconds


def compiler() -> str | None:
    """The path of the C++ compiler that torch.compile would call; None if there is none."""
    usual = "cl" if sys.platform == "win32" else "g++"
    return shutil.which(os.environ.get("CXX", usual))


def c_compiler() -> str | None:
    """The path of the C compiler that Triton would call for a GPU's kernels; None without one."""
    named = os.environ.get("CC")
    return named or shutil.which("gcc") or shutil.which("clang")


def lacks_cuda_build() -> bool:
    """Whether this machine has NVIDIA's driver, and this PyTorch is built for processors alone."""
    import torch

    built_for = (torch.version.cuda, torch.version.hip, torch.version.xpu)
    return not any(built_for) and has_nvidia_driver()


def has_nvidia_driver() -> bool:
    """Whether NVIDIA's driver is there: loaded, or with its program."""
    return bool(_lines("/proc/driver/nvidia/version")) or shutil.which("nvidia-smi") is not None


def build_advice(device: str) -> Note | None:
    """What another build of PyTorch would do better on this machine; None where it fits."""
    import torch

    if device == "cpu" and torch.version.cuda and not has_nvidia_driver():
        return Note("cuda_build_unused")
    return None


def find_gpu() -> tuple[bool, str]:
    """Whether CUDA has a GPU, and why one that is there cannot be used, such as an old driver."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        if available and (why := lacks_kernels()):
            return False, why
    if caught and not available:
        warning = str(caught[0].message).removeprefix("CUDA initialization: ")
        _GPU_TROUBLE.append(warning.split(". ")[0].strip().rstrip("."))
    return available, "" if available or not _GPU_TROUBLE else _GPU_TROUBLE[0]


def lacks_kernels() -> str:
    """Why this build of PyTorch computes nothing on NVIDIA's GPU; empty where it does.

    A build holds machine code (sm_86), which later cards of the same first digit run too, and
    perhaps code that is translated for any later card (compute_90).
    """
    import torch

    if torch.version.hip:  # its cards have other names
        return ""
    major, minor = torch.cuda.get_device_capability()
    own, built = 10 * major + minor, torch.cuda.get_arch_list()
    for name in built:
        kind, _, version = name.rstrip("af").partition("_")
        if int(version) <= own and (kind == "compute" or int(version) // 10 == major):
            return ""
    return f"this PyTorch has no kernels for compute capability {major}.{minor}" if built else ""


def _check_device(device: str) -> None:
    if device.startswith("cuda:"):
        number = device.removeprefix("cuda:")
        raise InputError(
            f"no device '{device}'", f"use --device cuda with CUDA_VISIBLE_DEVICES={number} set"
        )
    if device not in DEVICES:
        *others, last = DEVICES
        raise InputError(f"no device '{device}'", f"choose {', '.join(others)} or {last}")
    if device == "cuda":
        available, why = find_gpu()
        if not available and lacks_cuda_build():
            raise InputError(
                "this PyTorch is built for processors alone",
                "install its build for CUDA (https://pytorch.org/get-started/locally/)",
            )
        if not available:
            wrong = f"the GPU cannot be used ({why})" if why else "no CUDA GPU was found"
            raise InputError(wrong, "use --device cpu")
    elif device != "cpu" and not _other_gpus()[device]:
        kind = {"xpu": "Intel", "mps": "Apple"}[device]
        raise InputError(f"no {kind} GPU was found that PyTorch can use", "use --device cpu")


def _other_gpus() -> dict[str, bool]:
    """Whether there are GPUs of other makers, by what PyTorch calls such devices."""
    import torch

    return {"xpu": torch.xpu.is_available(), "mps": torch.backends.mps.is_available()}


def precisions(device: str) -> tuple[str, ...]:
    """In which networks can be computed; float16, whose losses are scaled, on CUDA alone."""
    return ("bf16", "fp16", "fp32") if device == "cuda" else ("bf16", "fp32")


def _best_device() -> tuple[str, Note]:
    available, why = find_gpu()
    if available:
        return "cuda", Note("gpu_found")
    notes = {"xpu": Note("xpu_found"), "mps": Note("mps_found")}
    for device, there in _other_gpus().items():
        if there:
            return device, notes[device]
    if lacks_cuda_build():
        return "cpu", Note("cuda_build_missing")
    return "cpu", Note("gpu_unusable", {"why": why}) if why else Note("no_gpu")


def _best_precision(device: str) -> tuple[str, Note]:
    import torch

    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", Note("gpu_has_bf16")
        if torch.cuda.get_device_capability() >= TENSOR_CORES:
            return "fp16", Note("gpu_has_fp16")
        return "fp32", Note("gpu_lacks_bf16")
    if device != "cpu":
        return "fp32", Note("gpu_not_tried")
    if cpu_has("avx512_bf16") or cpu_has("amx_bf16"):
        return "bf16", Note("processor_has_bf16")
    return "fp32", Note("processor_lacks_bf16")


def is_fast(device: str | None = None, precision: str | None = None) -> bool:
    """Whether networks are computed by a GPU, or in bfloat16 by a processor that is made for it.

    None for either is what would be picked.
    """
    if (device or _best_device()[0]) != "cpu":
        return True
    return precision != "fp32" and _best_precision("cpu")[0] == "bf16"


def cpu_has(flag: str) -> bool:
    """Whether Linux lists the instruction set among the processor's flags."""
    return any(flag in line.split() for line in _lines("/proc/cpuinfo"))


def is_busy() -> bool:
    """Whether more threads want to run than there are cores; they then wait for each other.

    Windows counts none: psutil does, from the first question on, so the first answer is no.
    """
    return bool(psutil.getloadavg()[0] > usable_cores())


def usable_cores() -> int:
    """The number of cores that this process may use, also in a container with a share of them."""
    process = psutil.Process()
    of_process = hasattr(process, "cpu_affinity")  # not on a Mac, whose processes may use all
    cores = len(process.cpu_affinity()) if of_process else os.cpu_count() or 1
    # Microseconds of work in a period of so many, by control groups of either version.
    share = " ".join(_lines("/sys/fs/cgroup/cpu.max")).split()
    if not share:
        old = (f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us" for name in ("quota", "period"))
        share = [line for path in old for line in _lines(path)]
    if len(share) == 2 and all(map(str.isdigit, share)) and int(share[1]) > 0:
        cores = min(cores, max(1, math.ceil(int(share[0]) / int(share[1]))))
    return cores


def describe() -> dict[str, str | int | None]:
    """The processor, its usable cores, the memory in bytes and the GPU, for run.json."""
    import torch

    gpu = None
    if find_gpu()[0]:
        gpu = torch.cuda.get_device_name()
    elif _other_gpus()["xpu"]:
        gpu = torch.xpu.get_device_name()
    elif _other_gpus()["mps"]:
        gpu = "Apple"
    return {
        "processor": _processor_name(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": gpu,
    }


def own_version() -> str:
    """The version of Triptych.

    The package is loaded when one of its files is, and no file below the top imports it.
    """
    return str(vars(sys.modules["triptych"])["__version__"])


def versions() -> dict[str, str]:
    """The versions of Python and the libraries, and the platform, for run.json."""

    import numpy
    import torch

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "platform": sys.platform,
    }


def _processor_name() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def free_memory_bytes(device: str) -> int:
    """Free bytes: of the GPU's memory, or this process's share of the machine's.

    A container's limit counts where it is smaller.
    """
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    if device == "xpu":
        import torch

        reserved = torch.xpu.memory_reserved()
        try:
            free, _ = torch.xpu.mem_get_info()
        except RuntimeError:  # GPUs inside a processor do not tell: theirs is the machine's
            total = torch.xpu.get_device_properties().total_memory
            free = min(total - reserved, psutil.virtual_memory().available)
        return free + reserved - torch.xpu.memory_allocated()
    if device == "mps":  # a part of the machine's own
        import torch

        most, taken = torch.mps.recommended_max_memory(), torch.mps.driver_allocated_memory()
        return min(most - taken, psutil.virtual_memory().available)
    free = psutil.virtual_memory().available
    group = {n: _lines(f"/sys/fs/cgroup/memory.{n}") for n in ("max", "current", "stat")}
    if group["max"] and group["current"] and group["max"][0].isdigit():
        # Pages of files that were read count as used there, and are given up when asked for.
        files = [int(line.split()[1]) for line in group["stat"] if line.startswith("inactive_file")]
        free = min(free, int(group["max"][0]) - int(group["current"][0]) + sum(files))
    return free // processes_here()


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory was refused, by a GPU or by the system."""
    import torch

    message = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(t in message for t in REFUSED_MEMORY)


def of_the_machine(error: BaseException) -> bool:
    """Whether an error is of memory or of the accelerator, and tells nothing of what was read."""
    import torch

    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and out_of_memory(error)


def _lines(path: str) -> list[str]:
    """The lines of one of the system's own files; none where there is no such file."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def forget_peak_memory() -> None:
    """Start a new measurement of peak memory, where the system allows."""
    import torch

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # pages kept by `keep_memory` are not ours
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with contextlib.suppress(OSError):
        # proc(5): resets VmHWM to what is used now
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    _PEAK_BEFORE[0] = _peak_of_process()
    if find_gpu()[0]:
        torch.cuda.reset_peak_memory_stats()
    if torch.xpu.is_available():
        torch.xpu.reset_peak_memory_stats()


def peak_memory_bytes(device: str) -> int | None:
    """Largest memory since the last `forget_peak_memory`: the GPU's, or this process's.

    An Apple GPU shares the machine's memory, so there it is the process's. None where the system
    cannot forget, as Linux alone can, and more memory was used before than since.
    """
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    if device == "xpu":
        import torch

        return torch.xpu.max_memory_allocated()
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = _peak_of_process()
    return peak if peak > _PEAK_BEFORE[0] else None


def _peak_of_process() -> int:
    """The most bytes of memory that this process ever held, as its system counts them."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # which Windows has not

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on a Mac, else kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
