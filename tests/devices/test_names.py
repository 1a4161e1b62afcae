from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.devices.names import EXECUTORS, DeviceName
from qrtx_ray.errors import ValidationError


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_name_is_what_it_was_parsed_from(executor):
    name = DeviceName.parse(f"fake_manila@{executor}")
    assert (name.metadata, name.executor) == ("fake_manila", executor)
    assert str(name) == f"fake_manila@{executor}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fake_manila",
        "@aer",
        "fake_manila@",
        "fake_manila@gpu",
        "a@aer@aer",
        "../etc@aer",
        "A@aer",
        "a/b@aer",
        "a\n@aer",
    ],
)
def test_anything_else_is_refused_by_field(text):
    with pytest.raises(ValidationError) as caught:
        DeviceName.parse(text)
    assert caught.value.field == "device"


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=80))
def test_any_text_is_either_refused_or_safe_as_a_folder_name(text):
    with contextlib.suppress(ValidationError):
        name = DeviceName.parse(text)
        assert name.metadata.replace("_", "").isalnum()
        assert str(name) == text
