"""A batch is cut into equal micro-batches whatever the numbers are, or refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppd_lightning.errors import UserError
from ppd_lightning.training.accumulation import ends_step, micro_batches

SIZES = st.integers(1, 200)


@given(share=SIZES, devices=st.integers(1, 16), largest=st.none() | st.integers(1, 300))
@settings(deadline=None)
def test_micro_batches_are_equal_no_larger_than_allowed_and_as_few_as_possible(
    share: int, devices: int, largest: int | None
) -> None:
    count = micro_batches(share * devices, largest, devices)
    allowed = largest or share
    assert share % count == 0
    assert share // count <= allowed
    assert not any(share % fewer == 0 and share // fewer <= allowed for fewer in range(1, count))


@given(batch=SIZES, devices=st.integers(2, 16))
@settings(deadline=None)
def test_a_batch_that_devices_cannot_share_equally_is_refused(batch: int, devices: int) -> None:
    if batch % devices == 0:
        assert micro_batches(batch, None, devices) == 1
        return
    with pytest.raises(UserError, match=rf"^trainer\.batch_size: {batch} pairs cannot be shared equally by {devices} "):
        micro_batches(batch, None, devices)


def test_the_papers_batch() -> None:
    """768 pairs on 8 GPUs that take 16 at once: 6 micro-batches."""
    assert micro_batches(768, 16, 8) == 6


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_a_step_ends_with_its_last_micro_batch(parts: int) -> None:
    lightning = SimpleNamespace(accumulate_grad_batches=parts)
    ends = [ends_step(lightning, index) for index in range(3 * parts)]
    assert ends == ([False] * (parts - 1) + [True]) * 3
