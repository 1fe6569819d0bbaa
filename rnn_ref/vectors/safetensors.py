"""Arrays in a file: the format safetensors, as far as numbers of a case's dtypes need it.

A file is the length of a header (64 bits, little-endian), the header as JSON, and the numbers.
The header has, for each array, its dtype, its shape and where its numbers lie behind the header.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.dtypes import Floats

CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""How the format names the dtypes of cases."""

STORED: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # the upper half of a float32
}
"""By name in the format, what lies in the file."""

METADATA = "__metadata__"
"""The name in the header under which texts stand, by name."""


class Unreadable(Exception):
    """A file that is not of the format; the message is one sentence without the file's name."""


def write(file: Path, arrays: Mapping[str, tuple[str, Floats]], texts: Mapping[str, str]) -> None:
    """Write arrays, each with the name of its dtype, and texts.

    The header has no spaces but at least one at its end, which a program in C may overwrite to
    end the text; numbers lie at multiples of eight bytes if those of eight bytes come first.
    """
    header: dict[str, Any] = {METADATA: dict(texts)} if texts else {}
    parts, end = [], 0
    for name, (dtype, array) in arrays.items():
        numbers = to_bytes(array, dtype)
        place = [end, end := end + len(numbers)]
        header[name] = {"dtype": CODES[dtype], "shape": [*array.shape], "data_offsets": place}
        parts.append(numbers)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (8 - len(text) % 8)
    file.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *parts]))


def to_bytes(array: Floats, dtype: str) -> bytes:
    """Write the numbers of an array of the named dtype, in the order of its axes."""
    of_type: NDArray[Any] = np.ascontiguousarray(array)
    if dtype == "bfloat16":
        of_type = of_type.view(np.uint32) >> np.uint32(16)
    numbers: bytes = of_type.astype(STORED[CODES[dtype]], copy=False).tobytes()
    return numbers


def read(file: Path) -> tuple[dict[str, tuple[str, Floats]], dict[str, str]]:
    """Read arrays, each with the name of its dtype, and texts.

    bfloat16 comes in float32 arrays, as everywhere. Raises Unreadable for what is not of the
    format, or has numbers of other dtypes; OSError where the file can't be read.
    """
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise Unreadable(f"has {len(content):,} bytes, too few for a header and its length")
    try:
        header = json.loads(content[8 : 8 + length])
        texts = header.pop(METADATA, {})
        entries = {
            name: (
                entry["dtype"],
                tuple(map(int, entry["shape"])),
                *map(int, entry["data_offsets"]),
            )
            for name, entry in header.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable("has a header that is not that of safetensors") from error
    data = memoryview(content)[8 + length :]
    return {name: of_entry(name, data, *entry) for name, entry in entries.items()}, texts


def of_entry(
    name: str, data: memoryview, code: str, shape: tuple[int, ...], *place: int
) -> tuple[str, Floats]:
    """Read one array from where the header says that it lies."""
    dtypes = {each: dtype for dtype, each in CODES.items()}
    if code not in dtypes:
        raise Unreadable(f"has {name} as {code!r}, not as one of {', '.join(dtypes)}")
    start, end = place if len(place) == 2 else (0, -1)
    size = math.prod(shape) * STORED[code].itemsize
    if min(shape, default=0) < 0 or not 0 <= start <= end <= len(data) or end - start != size:
        raise Unreadable(
            f"has {name} at bytes {start} to {end} of {len(data):,}, where {code} of shape"
            f" {list(shape)} needs {size:,}"
        )
    numbers = np.frombuffer(data[start:end], STORED[code])
    if code == "BF16":
        return "bfloat16", (numbers.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return dtypes[code], numbers.astype(STORED[code].newbyteorder("=")).reshape(shape)
