from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from score.storage.base import StoredPart, UploadId
from score.storage.s3.markers import Markers

ONE, TWO = UploadId("one"), UploadId("two")
numbers = st.integers(1, 10_000)


@given(st.lists(numbers), numbers)
def test_the_highest_known_part_before(known: list[int], number: int) -> None:
    markers = Markers()
    markers.add(ONE, [StoredPart(n, 1, "") for n in known])
    assert markers.before(ONE, number) == max((n for n in known if n < number), default=0)
    assert markers.before(TWO, number) == 0


def test_what_was_used_last_is_kept() -> None:
    markers = Markers(uploads=2)
    for upload in ("a", "b", "a", "c"):
        markers.add(UploadId(upload), [StoredPart(7, 1, "")])
    assert [markers.before(UploadId(upload), 9) for upload in "abc"] == [7, 0, 7]
    markers.forget(UploadId("a"))
    assert markers.before(UploadId("a"), 9) == 0
