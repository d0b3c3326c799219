"""What of a machine is taken, and in what unit it is told."""

from __future__ import annotations

import os
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from tests.making import tf32, tf32_set
from triptych import distributed, hardware
from triptych.distributed import Group
from triptych.errors import InputError
from triptych.hardware import Machine
from triptych.records import Note
from triptych.words import english

GROUP = "/sys/fs/cgroup/memory."


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The lines of the system's own files, by their paths."""
    files: dict[str, list[str]] = {}
    monkeypatch.setattr(hardware, "_lines", lambda path: files.get(path, []))
    return files


def test_peaks_of_memory_are_in_bytes(system: dict[str, list[str]]) -> None:
    system["/proc/self/status"] = ["VmPeak:\t  99 kB", "VmHWM:\t    2000 kB"]
    assert hardware.peak_memory_bytes("cpu") == 2_048_000


def test_free_memory_is_the_least_of_machine_and_container_shared_by_processes(
    system: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8000))
    assert hardware.free_memory_bytes("cpu") == 8000
    system[f"{GROUP}max"], system[f"{GROUP}current"] = ["5000"], ["2000"]
    system[f"{GROUP}stat"] = ["anon 1500", "inactive_file 400"]
    assert hardware.free_memory_bytes("cpu") == 3400
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert hardware.free_memory_bytes("cpu") == 1700
    system[f"{GROUP}max"] = ["max"]
    assert hardware.free_memory_bytes("cpu") == 4000


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shape '[2]' is invalid for input of size 3"), False),
    ],
)
def test_refused_memory_is_known_by_its_messages(error: RuntimeError, refused: bool) -> None:
    assert hardware.out_of_memory(error) is refused


@pytest.mark.parametrize(
    ("lines", "cores"),
    [
        ({}, 8),
        ({"cpu.max": ["max 100000"]}, 8),
        ({"cpu.max": ["250000 100000"]}, 3),
        ({"cpu.max": ["10000 100000"]}, 1),
        ({"cpu.max": ["9900000 100000"]}, 8),
        ({"cpu/cpu.cfs_quota_us": ["200000"], "cpu/cpu.cfs_period_us": ["100000"]}, 2),
        ({"cpu/cpu.cfs_quota_us": ["-1"], "cpu/cpu.cfs_period_us": ["100000"]}, 8),
    ],
)
def test_a_container_may_use_its_share_of_the_cores(
    system: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    lines: dict[str, list[str]],
    cores: int,
) -> None:
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(cpu_affinity=lambda: range(8)))
    system |= {f"/sys/fs/cgroup/{name}": each for name, each in lines.items()}
    assert hardware.usable_cores() == cores


@pytest.mark.parametrize(("processes", "threads"), [("1", 8), ("2", 4), ("3", 2), ("16", 1)])
def test_processes_of_a_machine_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, processes: str, threads: int
) -> None:
    monkeypatch.setattr(hardware, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # nothing is warned of
    assert hardware.pick("cpu", "fp32").threads == threads


def test_threads_are_the_machine_s_inside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    with Machine(device="cpu", precision="fp32", threads=2, choices={}).own_threads():
        assert told == [2]
    assert told == [2, 5]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"precision": "fp16"}, "no precision 'fp16': choose bf16 or fp32"),
        ({"device": "tpu"}, "no device 'tpu': choose cpu, cuda, xpu or mps"),
        ({"device": "cuda:7"}, "no device 'cuda:7': use --device cuda with CUDA_VISIBLE_DEVICES=7"),
        ({"threads": 0}, "--threads 0 is too few"),
        ({"threads": 10**6}, "--threads 1000000 are too many"),
        ({"microbatch": 0}, "--microbatch 0 is too few: give 1 or more"),
    ],
)
def test_what_a_machine_has_not_is_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        hardware.pick(**({"device": "cpu", "precision": "fp32", "threads": 1} | options))


def test_half_precision_is_the_machine_s() -> None:
    types = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    for precision, expected in types.items():
        with Machine(device="cpu", precision=precision, threads=1, choices={}).autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.mark.parametrize("switch", [None, "all", "newer", "older"])
def test_tf32_is_off_inside_alone_whichever_switch_was_used(switch: str | None) -> None:
    with tf32_set("tf32", "none"):
        if switch == "all":
            torch.backends.fp32_precision = "tf32"
        elif switch == "newer":
            torch.backends.cuda.matmul.fp32_precision = "tf32"
        elif switch == "older":
            torch.backends.cuda.matmul.allow_tf32 = True
        before = tf32()
        assert before == ("tf32", "none" if switch is None else "tf32")
        with hardware.without_tf32():
            assert tf32() == ("ieee", "ieee")
        assert tf32() == before
        if switch == "older":
            assert torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.fp32_precision = "none"


# Processes


def test_a_mean_over_processes_is_their_sum_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two other processes held the same."""
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: tensor.mul_(3))
    own = torch.tensor([1.0, 5.0])
    assert Group(1, 3).mean(own).tolist() == own.tolist() == [1.0, 5.0]


def test_a_job_has_a_gpu_for_each_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "3")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", lambda number: None)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    with pytest.raises(InputError, match="3 processes, but 2 GPUs"):
        distributed.join("cuda")


def test_a_driver_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch warns of it; nothing of the warning's advice reaches the user."""

    calls: list[int] = []

    def warns() -> bool:
        calls.append(1)
        if len(calls) > 1:  # PyTorch tells it once
            return False
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old (found version "
            "11040). Please update your GPU driver by downloading and installing a new version.",
            stacklevel=1,
        )
        return False

    monkeypatch.setattr("torch.cuda.is_available", warns)
    monkeypatch.setattr(hardware, "_GPU_TROUBLE", [])
    why = "The NVIDIA driver on your system is too old (found version 11040)"
    machine = hardware.pick()
    assert machine.device == "cpu"
    assert machine.choices["device"] == Note("gpu_unusable", {"why": why})
    with pytest.raises(InputError) as caught:
        hardware.pick("cuda")
    assert str(caught.value) == f"the GPU cannot be used ({why}): use --device cpu"


@pytest.mark.parametrize(
    ("capability", "built", "usable"),
    [
        ((9, 0), ["sm_75", "sm_90", "compute_90"], True),
        ((8, 9), ["sm_75", "sm_86"], True),
        ((6, 1), ["sm_75", "sm_86", "compute_120"], False),
        ((8, 0), ["sm_75", "sm_86"], False),
        ((12, 0), ["sm_75", "sm_90"], False),
        ((12, 0), ["sm_75", "compute_90"], True),
        ((9, 0), ["sm_80", "sm_90a"], True),
        ((12, 1), ["sm_100f", "sm_120f"], True),
    ],
)
def test_a_gpu_without_kernels_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    built: list[str],
    usable: bool,
) -> None:
    """The first kernel would fail; the user is told in one line."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.version.hip", None, raising=False)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: built)
    monkeypatch.setattr(hardware, "_other_gpus", lambda: {"xpu": False, "mps": False})
    if usable:
        assert hardware.find_gpu() == (True, "")
        return
    why = "this PyTorch has no kernels for compute capability {}.{}".format(*capability)
    machine = hardware.pick(precision="fp32", threads=1)
    assert machine.device == "cpu"
    assert machine.choices["device"] == Note("gpu_unusable", {"why": why})
    with pytest.raises(InputError) as caught:
        hardware.pick("cuda")
    assert str(caught.value) == f"the GPU cannot be used ({why}): use --device cpu"


@pytest.mark.parametrize(
    ("has_bf16", "capability", "precision"),
    [(True, (9, 0), "bf16"), (False, (7, 5), "fp16"), (False, (6, 1), "fp32")],
    ids=["H100", "T4", "GTX 1080"],
)
def test_a_gpu_computes_in_the_half_precision_it_is_fast_in(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, capability: tuple[int, int], precision: str
) -> None:
    monkeypatch.setattr(hardware, "find_gpu", lambda: (True, ""))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    machine = hardware.pick()
    assert (machine.device, machine.precision) == ("cuda", precision)


@pytest.mark.parametrize(
    ("device", "asked", "maker"),
    [
        ("mps", "torch.backends.mps.is_available", "Apple"),
        ("xpu", "torch.xpu.is_available", "Intel"),
    ],
)
def test_gpus_of_other_makers_are_taken_where_they_are(
    monkeypatch: pytest.MonkeyPatch, device: str, asked: str, maker: str
) -> None:
    monkeypatch.setattr(hardware, "find_gpu", lambda: (False, ""))
    for name in ("torch.backends.mps.is_available", "torch.xpu.is_available"):
        monkeypatch.setattr(name, lambda: False)
    with pytest.raises(InputError, match=f"no {maker} GPU was found that PyTorch can use"):
        hardware.pick(device)
    monkeypatch.setattr(asked, lambda: True)
    machine = hardware.pick()
    assert machine.device == device == hardware.pick(device).device
    assert machine.choices["device"] == Note(f"{device}_found")
    assert (machine.precision, machine.captures) == ("fp32", False)
    with pytest.raises(InputError, match="choose bf16 or fp32"):
        hardware.pick(device, "fp16")


def test_memory_of_an_apple_gpu_is_a_part_of_the_machine_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.mps.recommended_max_memory", lambda: 1000)
    monkeypatch.setattr("torch.mps.driver_allocated_memory", lambda: 300)
    for free, expected in ((2000, 700), (500, 500)):
        memory = SimpleNamespace(available=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        assert hardware.free_memory_bytes("mps") == expected


def test_memory_of_a_gpu_inside_a_processor_is_the_machine_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Intel's do not tell how much of it is free."""

    def refuses() -> tuple[int, int]:
        raise RuntimeError("The device (Intel(R) Graphics) doesn't support querying free memory")

    monkeypatch.setattr("torch.xpu.memory_reserved", lambda: 300)
    monkeypatch.setattr("torch.xpu.memory_allocated", lambda: 100)
    monkeypatch.setattr("torch.xpu.mem_get_info", lambda: (900, 1000))
    assert hardware.free_memory_bytes("xpu") == 1100
    properties = SimpleNamespace(total_memory=1000)
    monkeypatch.setattr("torch.xpu.mem_get_info", refuses)
    monkeypatch.setattr("torch.xpu.get_device_properties", lambda: properties)
    for free, expected in ((5000, 900), (500, 700)):
        memory = SimpleNamespace(available=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        assert hardware.free_memory_bytes("xpu") == expected


def test_what_an_apple_gpu_lacks_the_processor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    hardware.let_processor_help()
    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "0")
    hardware.let_processor_help()
    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "0"


NVIDIA = "/proc/driver/nvidia/version"
CUDA, CPU, ROCM = ("12.8", None, None), (None, None, None), (None, "6.4", None)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, system: dict[str, list[str]]) -> Any:
    """A machine without a GPU that PyTorch can use, whose PyTorch is built for this and that."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(hardware, "_other_gpus", lambda: {"xpu": False, "mps": False})
    monkeypatch.setattr(hardware, "_GPU_TROUBLE", [])

    def build(parts: tuple[str | None, str | None, str | None], driver: str = "") -> None:
        for name, version in zip(("cuda", "hip", "xpu"), parts, strict=True):
            monkeypatch.setattr(f"torch.version.{name}", version, raising=False)
        if driver == "loaded":
            system[NVIDIA] = ["NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.133"]
        program = "/usr/bin/nvidia-smi" if driver == "program" else None
        monkeypatch.setattr("shutil.which", lambda name: program)

    return build


@pytest.mark.parametrize(
    ("parts", "driver", "device", "advice"),
    [
        (CPU, "", "no_gpu", None),
        (CPU, "loaded", "cuda_build_missing", None),
        (CPU, "program", "cuda_build_missing", None),
        (CUDA, "", "no_gpu", "cuda_build_unused"),
        (CUDA, "loaded", "no_gpu", None),
        (ROCM, "loaded", "no_gpu", None),
    ],
)
def test_a_build_of_pytorch_that_does_not_fit_is_told_with_the_mend(
    built: Any, parts: tuple[str | None, ...], driver: str, device: str, advice: str | None
) -> None:
    built(parts, driver)
    machine = hardware.pick(precision="fp32", threads=1)
    assert machine.choices["device"] == Note(device)
    assert hardware.build_advice("cpu") == (Note(advice) if advice else None)
    told = english(hardware.build_advice("cpu") or machine.choices["device"])
    assert len(told.splitlines()) == 1
    if device == "cuda_build_missing":
        assert "https://pytorch.org/get-started/locally/" in told
        with pytest.raises(InputError, match="built for processors alone: install its build"):
            hardware.pick("cuda")
    else:
        with pytest.raises(InputError, match="no CUDA GPU was found: use --device cpu"):
            hardware.pick("cuda")
    if advice:
        assert "pip install" in told and told.endswith("https://download.pytorch.org/whl/cpu")


@pytest.mark.parametrize(
    ("device", "line"),
    [("cpu", "--compile needs a C.. compiler: "), ("cuda", "--compile needs a C compiler: ")],
)
def test_without_a_compiler_compile_is_refused_before_the_training(
    monkeypatch: pytest.MonkeyPatch, device: str, line: str
) -> None:
    monkeypatch.setattr(hardware, "find_gpu", lambda: (True, ""))
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InputError, match=line):
        hardware.pick(device, "fp32", 1, compile=True)
