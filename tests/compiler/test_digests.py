"""Content hashes of circuits as they arrived."""

from __future__ import annotations

import orjson
import pytest

from qrtx_ray.compiler.digests import circuit_digests
from qrtx_ray.errors import DecodeError
from qrtx_ray.model import PayloadFormat


def native(*circuits):
    return orjson.dumps({"circuits": list(circuits)})


def test_a_format_that_is_left_out_is_the_one_it_stands_for():
    plain, said, other = circuit_digests(
        native({"source": "x"}, {"format": "qasm3", "source": "x"}, {"format": "qasm2", "source": "x"}),
        PayloadFormat.NATIVE,
    )
    assert plain == said != other


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", native({}), native(7), b'{"circuits": 7}'])
def test_another_shape_is_refused(payload):
    with pytest.raises(DecodeError):
        circuit_digests(payload, PayloadFormat.NATIVE)
