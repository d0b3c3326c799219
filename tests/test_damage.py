"""What array and table files say of themselves: each in one line, and what the system refuses."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.making import make_images, write_npz, write_parquet
from triptych.data.sources import Columns, as_input_error
from triptych.data.sources.arrays import read_arrays
from triptych.data.sources.matlab import read_matlab
from triptych.data.sources.parquet import read_parquet
from triptych.errors import InputError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EACCES, "a long story"), "cannot read a\\nb (Permission denied): check it"),
        (OSError(errno.EIO, "a long story"), "cannot read a\\nb (Input/output error): check it"),
        (OSError(errno.EINVAL, "sought"), "a\\nb is spoilt ([Errno 22] sought): mend it"),
        (OSError("no\n more"), "a\\nb is spoilt (no more): mend it"),
        (ValueError("x" * 999), f"a\\nb is spoilt ({'x' * 200}): mend it"),
        (KeyError(), "a\\nb is spoilt (KeyError): mend it"),
        (InputError("of its own", "do so"), "of its own: do so"),
    ],
)
def test_one_line(error: Exception, line: str) -> None:
    with pytest.raises(InputError) as caught, as_input_error(Path("a\nb"), "is spoilt", "mend it"):
        raise error
    assert str(caught.value) == line


def test_items_have_names_of_one_line(tmp_path: Path) -> None:
    images, _ = make_images(2)
    write_npz(tmp_path / "a\nb.npz", images)
    write_parquet(tmp_path / "a\nb.parquet", images, None)
    savemat(tmp_path / "a\nb.mat", {"X": np.moveaxis(images, 0, -1)})
    for suffix, read in (("npz", read_arrays), ("parquet", read_parquet), ("mat", read_matlab)):
        first = next(iter(read(tmp_path / f"a\nb.{suffix}", Columns()).items()))
        assert first.name == f"a\\nb.{suffix}[0]"
