"""Columns → rows as COPY reads them in PostgreSQL's binary form: of each field its length, then its bytes.

A moment is its microseconds: nothing is spelled out here to be read again there.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_EPOCH_US: Final = 946_684_800_000_000  # PostgreSQL counts from 2000
_DAY_US: Final = 86_400_000_000
_BINARY = pa.binary()
_NULL = pa.scalar(b"\xff\xff\xff\xff", _BINARY)
_NOTHING = pa.scalar(b"", _BINARY)
_FLAGS = pa.array([b"\xff\xff\xff\xff", b"\0\0\0\1\0", b"\0\0\0\1\1"], _BINARY)  # null, false, true

Part = Any
"""What all rows have at one place, as binary texts of arrow's."""


def rows(parts: Sequence[Part]) -> Any:
    """The rows: their parts one after the other."""
    return pc.binary_join_element_wise(*parts, _NOTHING, null_handling="replace", null_replacement="")


def start(fields: int, numbers: Sequence[NDArray[Any]]) -> Part:
    """How many fields a row has, and the first ones, which are numbers and never null."""
    kinds: list[tuple[str, Any]] = [("fields", ">i2")]
    for at, values in enumerate(numbers):
        kinds += [(f"length{at}", ">i4"), (f"value{at}", values.dtype.newbyteorder(">"))]
    raw = np.empty(len(numbers[0]), kinds)
    raw["fields"] = fields
    for at, values in enumerate(numbers):
        raw[f"length{at}"], raw[f"value{at}"] = values.dtype.itemsize, values
    return _of_one_length(raw)


def number(values: Any) -> Part:
    """Of 8 bytes, perhaps null."""
    if values.null_count == len(values):
        return _NULL
    found = values.fill_null(0).to_numpy(zero_copy_only=False)
    raw = np.empty(len(found), [("length", ">i4"), ("value", found.dtype.newbyteorder(">"))])
    raw["length"], raw["value"] = 8, found
    part = _of_one_length(raw)
    return pc.if_else(values.is_valid(), part, _NULL) if values.null_count else part


def moment(values: Any) -> Part:
    """Of arrow's microseconds, perhaps null."""
    return number(pc.subtract(pc.cast(values, pa.int64()), _EPOCH_US))


def moments_and_days(values: Any) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The same as numbers, and their days in UTC; what is null is any."""
    found = values.cast(pa.int64()).fill_null(_EPOCH_US).to_numpy(zero_copy_only=False) - _EPOCH_US
    return found, (found // _DAY_US).astype(np.int32)


def flag(values: Any) -> Part:
    """Of booleans, perhaps null."""
    if values.null_count == len(values):
        return _NULL
    return pc.take(_FLAGS, pc.add(pc.cast(values, pa.int8()), pa.scalar(1, pa.int8())).fill_null(0))


def text(values: Any) -> tuple[Part, ...]:
    """Of texts, perhaps null: their lengths, and they themselves."""
    if values.null_count == len(values):
        return (_NULL,)
    lengths = pc.binary_length(values).fill_null(-1).to_numpy(zero_copy_only=False)
    return _of_one_length(lengths.astype(">i4")), values.cast(_BINARY)


def _of_one_length(raw: NDArray[Any]) -> Part:
    width = raw.dtype.itemsize
    ends = np.arange(0, (len(raw) + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(_BINARY, len(raw), [None, pa.py_buffer(ends), pa.py_buffer(raw.tobytes())])
