"""Data sets known by name: where their files are, how to know them, and how to read them.

MD5 is the publisher's where it publishes one; SHA-256 and sizes are those on which
tensorflow_datasets and others agree. Files are kept under `downloads` in the cache.

MNIST's format, IDX, is gzip around a big-endian header and bytes: a magic number (8 for uint8, then
the number of axes) and the length of each axis, four bytes each; images are (N,H,W), labels (N,).
CIFAR-10's binary version is a tar of six files of records, read without unpacking: one byte of
label and 3072 of pixels, 32x32 of red, then green, then blue (https://www.cs.toronto.edu/~kriz).
"""

from __future__ import annotations

import gzip
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from triptych.data.downloads import RemoteFile, fetch
from triptych.data.sources import NO_LABELS, Columns, Item, Origin, PartName, Progress, Source
from triptych.data.sources.matlab import DIGITS, read_matlab
from triptych.data.store import cache_folder
from triptych.errors import InputError

VERSION = 1  # raised when a reader changes what it gives
SVHN = "http://ufldl.stanford.edu/housenumbers"
CIFAR = "https://www.cs.toronto.edu/~kriz"
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
UINT8 = 8
BLOCK = 1024  # images read at a time
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
CLASSES = 10
CHUNK = 1 << 20  # bytes
BATCH = re.compile(r"data_batch_[1-5]\.bin|test_batch\.bin")


def remote(base: str, name: str, md5: str, sha256: str, size: int) -> RemoteFile:
    """A file below a common address."""
    return RemoteFile(name, f"{base}/{name}", md5, sha256, size)


SVHN_FILES = (
    remote(SVHN, "train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373",
           "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", 182_040_794),
    remote(SVHN, "test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3",
           "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", 64_275_384),
    remote(SVHN, "extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7",
           "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3", 1_329_278_602),
)  # fmt: skip
CIFAR_FILE = remote(
    CIFAR, "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170_052_171,
)  # fmt: skip
MNIST_FILES = (
    remote(MNIST, IDX_NAMES[0], "f68b3c2dcbeaaa9fbdd348bbdeb94873",
           "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
    remote(MNIST, IDX_NAMES[1], "d53e105ee54ea40749a09fcbcd1e9432",
           "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
    remote(MNIST, IDX_NAMES[2], "9fb629c4189551a2d022fa330f9573f3",
           "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
    remote(MNIST, IDX_NAMES[3], "ec29112dd5afa0611ce80d1b7f02629c",
           "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
)  # fmt: skip
FASHION_FILES = (
    remote(FASHION, IDX_NAMES[0], "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
           "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880),
    remote(FASHION, IDX_NAMES[1], "25c81989df183df01b3e8a0aad5dffbe",
           "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
    remote(FASHION, IDX_NAMES[2], "bef4ecab320f06d8554ea6380940ec79",
           "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102),
    remote(FASHION, IDX_NAMES[3], "bb300cfdad3c16e7a12a480ee83cd310",
           "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
)  # fmt: skip
CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class NamedSet:
    """A data set of fixed files.

    folder: below `downloads` in the cache; sets that share files share it
    read:   (files in their order, whether labels are wanted) -> what to read, one after another
    """

    folder: str
    files: tuple[RemoteFile, ...]
    classes: tuple[str, ...]
    read: Callable[[list[Path], bool], list[Source]]


def read_svhn(paths: list[Path], labeled: bool) -> list[Source]:
    """train, test and perhaps extra, which is more to train on."""
    columns = Columns(image="X", label="y" if labeled else NO_LABELS)
    parts: tuple[PartName, ...] = ("train", "test", "train")
    return [
        in_part(read_matlab(path, columns, digits=True), part)
        for path, part in zip(paths, parts, strict=False)  # extra may be missing
    ]


def read_mnist(paths: list[Path], labeled: bool) -> list[Source]:
    """Images and labels to train on, then to test on."""
    train, train_labels, test, test_labels = paths
    return [
        in_part(read_idx(train, train_labels if labeled else None), "train"),
        in_part(read_idx(test, test_labels if labeled else None), "test"),
    ]


def read_cifar10(paths: list[Path], labeled: bool) -> list[Source]:
    """One archive of both parts."""
    return [read_cifar(path, labeled) for path in paths]


SETS = {
    "svhn": NamedSet("svhn", SVHN_FILES[:2], DIGITS, read_svhn),
    "svhn+extra": NamedSet("svhn", SVHN_FILES, DIGITS, read_svhn),
    "cifar10": NamedSet("cifar10", (CIFAR_FILE,), CIFAR_CLASSES, read_cifar10),
    "mnist": NamedSet("mnist", MNIST_FILES, DIGITS, read_mnist),
    "fashion-mnist": NamedSet("fashion-mnist", FASHION_FILES, FASHION_CLASSES, read_mnist),
}
NAMES = tuple(SETS)


def find(name: str, columns: Columns) -> Origin:
    """The set of that name, without touching network or disk; reading it fetches its files.

    InputError when columns are named: these sets have none to choose from.
    """
    if columns.image is not None or columns.label not in (None, NO_LABELS):
        raise InputError(
            f"{name} has no columns to choose from",
            f"leave out --image-column; --label-column can only be {NO_LABELS}",
        )
    chosen = SETS[name]
    identity = {
        "set": name,
        "reader": VERSION,
        "files": {file.name: file.sha256 or file.md5 for file in chosen.files},
        "labelled": columns.labeled,
    }

    def read(progress: Progress) -> Source:
        paths = fetch_all(chosen.files, cache_folder() / "downloads" / chosen.folder, progress)
        sources = chosen.read(paths, columns.labeled)

        def items() -> Iterator[Item]:
            for source in sources:
                yield from source.items()

        count = sum(source.count for source in sources)
        return Source(items, count, chosen.classes if columns.labeled else None)

    return Origin(name, identity, read)


def fetch_all(files: tuple[RemoteFile, ...], folder: Path, progress: Progress) -> list[Path]:
    """Every file, with one progress in bytes over all of them."""
    total = sum(file.size or 0 for file in files)
    before, paths = 0, []
    for file in files:
        paths.append(fetch(file, folder, shifted(progress, before, total)))
        before += file.size or 0
        progress(before, total)
    return paths


def shifted(progress: Progress, before: int, total: int) -> Progress:
    """The progress of one file as a piece of several."""
    return lambda done, _: progress(before + done, total)


def in_part(source: Source, part: PartName) -> Source:
    """The same items, all in one part."""

    def items() -> Iterator[Item]:
        for item in source.items():
            yield replace(item, part=part)

    return replace(source, items=items)


def read_idx(images: Path, labels: Path | None) -> Source:
    """The images of one file with the labels of another; InputError when one is damaged."""
    with open_gzip(images) as file:
        count, height, width = header(file, 3, images)
    if 0 in (count, height, width):
        raise InputError(f"no images in {images}", "name a file that holds some")
    numbers = None if labels is None else read_labels(labels)
    if numbers is not None and len(numbers) != count:
        raise InputError(
            f"{images} has {count} images and {labels} {len(numbers)} labels",
            "name two files that belong together",
        )

    def items() -> Iterator[Item]:
        with open_gzip(images) as file:
            header(file, 3, images)
            for start in range(0, count, BLOCK):
                held = min(BLOCK, count - start)
                block = read_exactly(file, held * height * width, images)
                for offset, pixels in enumerate(block.reshape(held, height, width)):
                    index = start + offset
                    label = None if numbers is None else int(numbers[index])
                    yield Item(f"{images.name}[{index}]", pixels, label, None)
            check_end(file, images)

    return Source(items, count)


def read_labels(path: Path) -> np.ndarray:
    """uint8 (N,)."""
    with open_gzip(path) as file:
        (count,) = header(file, 1, path)
        labels = read_exactly(file, count, path)
        check_end(file, path)
    return labels


def header(file: gzip.GzipFile, axes: int, path: Path) -> tuple[int, ...]:
    """The lengths of the axes."""
    start = file.read(4 + 4 * axes)
    if len(start) < 4 + 4 * axes or start[:4] != bytes((0, 0, UINT8, axes)):
        raise InputError(f"{path} is no IDX file of {axes} axes", "fetch it again")
    return struct.unpack(f">{axes}I", start[4:])


def read_exactly(file: gzip.GzipFile, count: int, path: Path) -> np.ndarray:
    """uint8 (count,), writable."""
    data = bytearray(file.read(count))
    if len(data) != count:
        raise InputError(f"{path} is shorter than its header says", "fetch it again")
    return np.frombuffer(data, np.uint8)


def check_end(file: gzip.GzipFile, path: Path) -> None:
    """Reading past the last byte verifies gzip's own checksum, too."""
    if file.read(1):
        raise InputError(f"{path} is longer than its header says", "fetch it again")


@contextmanager
def open_gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """The unpacked bytes; whatever gzip raises becomes an InputError."""
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error})", "fetch it again") from error


def read_cifar(path: Path, labeled: bool) -> Source:
    """Both parts, in the archive's order; InputError when it is damaged."""
    with open_tar(path) as archive:
        count = sum(member.size // RECORD for member in batches(archive, path))
    if count == 0:
        raise InputError(f"no images in {path}", "fetch it again")

    def items() -> Iterator[Item]:
        with open_tar(path) as archive:
            for member in batches(archive, path):
                name = PurePosixPath(member.name).name
                part: PartName = "test" if name.startswith("test") else "train"
                for index, (label, pixels) in enumerate(records(archive, member, path)):
                    yield Item(f"{name}[{index}]", pixels, label if labeled else None, part)

    return Source(items, count)


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive as a stream; whatever tarfile or gzip raises becomes an InputError."""
    try:
        # Unpacked by gzip, since tarfile's own streams ignore the checksum at the end.
        with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            yield archive
            while file.read(CHUNK):
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise damaged(path, str(error)) from error


def batches(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """The members that hold images, each to be read before the next is asked for."""
    for member in archive:
        if member.isreg() and BATCH.fullmatch(PurePosixPath(member.name).name):
            if member.size % RECORD:
                raise damaged(path, f"{member.name} has half a record")
            yield member


def records(
    archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path
) -> Iterator[tuple[int, np.ndarray]]:
    """Labels and pixels uint8 (H,W,3) of one member."""
    file = archive.extractfile(member)
    data = file.read() if file is not None else b""
    if len(data) != member.size:
        raise damaged(path, f"{member.name} is cut")
    table = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if table.size and table[:, 0].max() >= CLASSES:
        raise damaged(path, f"{member.name} has a label above {CLASSES - 1}")
    planes = table[:, 1:].reshape(-1, 3, SIDE, SIDE)
    for label, image in zip(table[:, 0].tolist(), planes, strict=True):
        yield label, np.ascontiguousarray(image.transpose(1, 2, 0))


def damaged(path: Path, why: str) -> InputError:
    """The InputError for a damaged file."""
    return InputError(f"{path} is damaged ({why})", "fetch it again")
