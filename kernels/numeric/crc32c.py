"""CRC-32C (Castagnoli), the checksum of TFRecord files.

Sixteen bytes are folded at a time, each through a table of its own, so that their look-ups don't
wait for each other.

Source: RFC 3720, section 12.1 (polynomial 0x1EDC6F41, reflected; check value 0xE3069283); M. E.
Kounavis and F. L. Berry, "A Systematic Approach to Building High Performance Software-Based CRC
Generators", 2005 (slicing); the mask is that of the TFRecord and LevelDB formats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nprep.kernels.jit import Integer, kernel

_POLYNOMIAL = 0x82F63B78
_SLICES = 16


def _tables() -> NDArray[np.uint32]:
    """(16 * 256,) uint32: entry 256 k + b is the effect of byte b followed by k zero bytes."""
    tables = np.zeros((_SLICES, 256), np.uint32)
    entries = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        entries = (entries >> np.uint32(1)) ^ np.where(entries & 1, _POLYNOMIAL, 0).astype(
            np.uint32
        )
    tables[0] = entries
    for k in range(1, _SLICES):
        tables[k] = (tables[k - 1] >> np.uint32(8)) ^ entries[tables[k - 1] & np.uint32(0xFF)]
    return tables.reshape(-1)


_TABLES = _tables()


@kernel
def crc32c(data: NDArray[np.uint8], start: Integer, stop: Integer) -> Integer:
    """The CRC-32C of ``data[start:stop]``, a uint32.

    Args:
        data: Bytes, C-contiguous.
        start: First byte.
        stop: One past the last byte; not less than ``start``.
    """
    crc = np.uint32(0xFFFFFFFF)
    low = np.uint32(0xFF)
    i = np.int64(start)
    end = np.int64(stop)
    while i + 16 <= end:
        folded = _TABLES[3840 + ((crc & low) ^ data[i])]
        folded ^= _TABLES[3584 + (((crc >> np.uint32(8)) & low) ^ data[i + 1])]
        folded ^= _TABLES[3328 + (((crc >> np.uint32(16)) & low) ^ data[i + 2])]
        folded ^= _TABLES[3072 + ((crc >> np.uint32(24)) ^ data[i + 3])]
        for k in range(4, 16):
            folded ^= _TABLES[(15 - k) * 256 + np.int64(data[i + k])]
        crc = folded
        i += 16
    while i < end:
        crc = (crc >> np.uint32(8)) ^ _TABLES[(crc & low) ^ data[i]]
        i += 1
    return crc ^ np.uint32(0xFFFFFFFF)


@kernel
def masked_crc32c(data: NDArray[np.uint8], start: Integer, stop: Integer) -> Integer:
    """The CRC-32C of ``data[start:stop]`` as TFRecord files store it: rotated and offset.

    Args:
        data: Bytes, C-contiguous.
        start: First byte.
        stop: One past the last byte.

    Returns:
        A uint32.
    """
    crc = np.uint64(crc32c(data, start, stop))
    rotated = ((crc >> np.uint64(15)) | (crc << np.uint64(17))) & np.uint64(0xFFFFFFFF)
    return np.uint32((rotated + np.uint64(0xA282EAD8)) & np.uint64(0xFFFFFFFF))
