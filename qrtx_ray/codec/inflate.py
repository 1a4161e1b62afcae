"""Base64 and zlib with a meter: what comes out is bounded before it exists."""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass
from typing import Any

from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import DecodeError, PayloadTooLarge

__all__ = ["InflationMeter", "decode_base64"]


def decode_base64(text: Any, *, field: str) -> bytes:
    """The bytes of standard base64 text.

    Raises:
        DecodeError: Not a string, or not base64.
    """
    if type(text) is not str:
        raise DecodeError(f"{field} must be a base64 string", field=field)
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise DecodeError(f"{field} is not valid base64", field=field) from None


@dataclass(slots=True)
class InflationMeter:
    """Inflates the compressed objects of one request and keeps the running total.

    Args:
        limits: `object_bytes` bounds each object, `inflated_bytes` their sum.
    """

    limits: Limits
    used_bytes: int = 0

    def inflate(self, data: bytes, *, field: str) -> bytes:
        """The inflated `data`.

        Raises:
            PayloadTooLarge: Beyond the object's or the request's limit; never more than the limit is produced.
            DecodeError: Not one complete zlib stream.
        """
        room = min(self.limits.object_bytes, self.limits.inflated_bytes - self.used_bytes)
        stream = zlib.decompressobj()
        try:
            out = stream.decompress(data, room + 1)
        except zlib.error:
            raise DecodeError(f"{field} is not valid zlib data", field=field) from None
        self.take(len(out), field=field)
        if not stream.eof or stream.unused_data:
            raise DecodeError(f"{field} is not one complete zlib stream", field=field)
        return out

    def take(self, size_bytes: int, *, field: str) -> None:
        """Count `size_bytes` of decoded data.

        Raises:
            PayloadTooLarge: Beyond the object's or the request's limit.
        """
        self.used_bytes += size_bytes
        if size_bytes > self.limits.object_bytes:
            bound, what = self.limits.object_bytes, "one object"
        elif self.used_bytes > self.limits.inflated_bytes:
            bound, what = self.limits.inflated_bytes, "one request"
        else:
            return
        raise PayloadTooLarge(
            f"{field} inflates beyond the {bound} bytes accepted of {what}", field=field, limit=f"{bound} bytes"
        )
