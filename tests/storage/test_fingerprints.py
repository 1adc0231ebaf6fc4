from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppd_lightning.storage.fingerprints import file_sha256, fingerprint

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@dataclasses.dataclass
class Point:
    x: int
    y: float


def test_it_is_the_start_of_the_sha256_of_the_canonical_json() -> None:
    expected = hashlib.sha256(b'{"a":[1,2.5,null],"b":"\\u00fc"}').hexdigest()[:12]
    assert fingerprint({"b": "ü", "a": (1, 2.5, None)}) == expected


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_the_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@settings(max_examples=40, deadline=None)
@given(PLAIN, PLAIN)
def test_different_values_differ(one: object, other: object) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (repr(_sorted(one)) == repr(_sorted(other)))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_a_dataclass_counts_as_its_fields() -> None:
    assert fingerprint([Point(1, 2.0)]) == fingerprint([{"y": 2.0, "x": 1}])


@pytest.mark.parametrize("value", [np.float32(1), {1: "a"}, {1, 2}, object()])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        fingerprint({"value": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(value)


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"some bytes")
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"some bytes").hexdigest()
