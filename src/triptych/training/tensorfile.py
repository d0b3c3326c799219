"""Safetensors files: the only form in which tensors of a run lie on disk.

A file may be a stranger's, so its header is looked at before a tensor is read. Nothing in such a
file can be executed, whatever its name ends in.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

MOST_HEADER = 4 * 2**20  # bytes; some 30,000 tensors
HEADER_ENTRY = 256  # bytes that a tensor's name and shape take at most, in files of ours
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

# What reading a damaged or hostile file may raise, here and in whoever takes in its tensors.
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    SafetensorError,
)


@dataclass(frozen=True)
class Entry:
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a file; OSError where the system refuses."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        match = re.search(r"os error (\d+)", str(error))
        number = int(match[1]) if match else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def size(tensors: dict[str, Tensor]) -> int:
    """Bytes that a file of these takes at most."""
    return sum(tensor.nbytes + HEADER_ENTRY for tensor in tensors.values()) + HEADER_ENTRY


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a file; ValueError or SafetensorError where it is none."""
    check_header(path)
    return load_file(path)


def look(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Names, dtypes and shapes of a file's tensors, and its metadata, without its data.

    ValueError or SafetensorError where it is no safetensors file or its data are not all there.
    """
    check_header(path)
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        entries = {n: Entry(s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
        return entries, file.metadata() or {}


def check_header(path: Path) -> None:
    """ValueError where a header is longer than any of ours, or than its file."""
    if not path.is_file():
        raise ValueError(f"{path.name} is no regular file")
    with path.open("rb") as file:
        first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > min(MOST_HEADER, path.stat().st_size - 8):
        raise ValueError(f"{path.name} has no header of ours")


def entries_of(tensors: dict[str, Tensor]) -> dict[str, Entry]:
    """What a header of these would say."""
    return {
        name: Entry(DTYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in tensors.items()
    }


def check_fit(entries: dict[str, Entry], wanted: dict[str, Entry]) -> None:
    """ValueError unless a file holds exactly these names, with these dtypes and shapes."""
    for name in sorted(entries.keys() ^ wanted.keys()):
        raise ValueError(f"{name} is in the {'file' if name in entries else 'model'} only")
    for name, ours in wanted.items():
        theirs = entries[name]
        if theirs != ours:
            raise ValueError(f"{name} is {theirs}, not {ours}")


@contextmanager
def building_within(entries: dict[str, Entry]) -> Iterator[None]:
    """Modules made in here may have hardly more parameters than a file has, and no empty ones.

    ValueError beyond, before the parameter's memory is touched: settings from strangers may ask
    for widths and depths without end. Twice is allowed, as some layers register theirs again.
    """
    most = 2 * sum(torch.Size(entry.shape).numel() for entry in entries.values())
    left = {"tensors": 2 * len(entries), "elements": most}

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        left["tensors"] -= 1
        left["elements"] -= parameter.numel()
        if min(left.values()) < 0 or not parameter.numel():
            raise ValueError("the settings describe another network than the file holds")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def reason(error: BaseException, most: int = 200) -> str:
    """What an error says, on one line and printable, whatever names a file brought."""
    message = " ".join(str(error).split()) or type(error).__name__
    message = "".join(letter for letter in message if letter.isprintable())
    return message if len(message) <= most else message[:most] + "..."
