"""Exit statuses: the words of every end, as numbers that scripts rely on."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from score import errors
from score.cli import exits
from score.client.outcome import Outcome, State
from score.errors import ScoreError
from score.transfer.retry import Damaged, Exhausted

STATUS = {
    errors.NotFound: 4,
    errors.AlreadyExists: 3,
    errors.Unauthenticated: 6,
    errors.Forbidden: 7,
    errors.Invalid: 2,
    errors.Conflict: 3,
    errors.NotReady: 3,
    errors.Expired: 5,
    errors.Integrity: 8,
    errors.Refused: 3,
    errors.NoSpace: 10,
    errors.Unavailable: 5,
    errors.Misconfigured: 2,
    errors.Cancelled: 130,
}


def kinds(base: type[ScoreError] = ScoreError) -> set[type[ScoreError]]:
    """All errors of the tree."""
    return {base}.union(*(kinds(kind) for kind in base.__subclasses__()))


def failed(error: ScoreError) -> Outcome:
    return Outcome("x", State.FAILED, error=error)


GOOD = Outcome("x", State.DOWNLOADED)


def of_outcomes(outcomes: Iterable[Outcome]) -> int:
    statuses = exits.Statuses()
    for outcome in outcomes:
        statuses.add(outcome)
    return statuses.status


@pytest.mark.parametrize("kind", sorted(STATUS, key=lambda kind: kind.__name__))
def test_each_error_has_its_status(kind: type[ScoreError]) -> None:
    assert exits.of_error(kind("x")) == STATUS[kind]
    assert of_outcomes([failed(kind("x"))]) == STATUS[kind]


def test_no_error_is_without_a_status() -> None:
    assert STATUS.keys() >= {kind for kind in kinds() if kind.__module__ == "score.errors"} - {ScoreError}
    assert all(exits.of_error(kind("x")) in exits.MEANINGS for kind in kinds())
    assert exits.of_error(Damaged("x")) == 8
    assert exits.of_error(Exhausted("x")) == 5


def test_a_failure_is_never_a_success() -> None:
    assert all(exits.of_error(kind("x")) != 0 for kind in kinds())
    assert all(of_outcomes([GOOD, failed(kind("x")), GOOD]) != 0 for kind in kinds())


def test_all_good_is_a_success() -> None:
    assert of_outcomes([]) == 0
    assert of_outcomes([Outcome("x", state) for state in State if Outcome("x", state).good]) == 0


def test_of_several_the_status_tells_that_some_failed() -> None:
    assert of_outcomes([GOOD, failed(errors.NotFound("x"))]) == 3
    assert of_outcomes([failed(errors.NotFound("x")), failed(errors.Integrity("x"))]) == 3


def test_of_several_the_same_command_later_may_succeed_where_every_failure_may_pass() -> None:
    away, late, gone = failed(Exhausted("x")), failed(errors.Expired("x")), failed(errors.NotFound("x"))
    assert of_outcomes([away, away]) == 5
    assert of_outcomes([GOOD, away, GOOD, late]) == 5
    assert of_outcomes([GOOD, away]) == 5
    assert of_outcomes([away, gone]) == of_outcomes([gone, away]) == 3
    assert of_outcomes([away, failed(errors.NoSpace("x"))]) == 10


@pytest.mark.parametrize(("error", "status"), [(errors.Unauthenticated("x"), 6), (errors.NoSpace("x"), 10)])
def test_what_ended_the_whole_command_is_told_as_such(error: ScoreError, status: int) -> None:
    assert of_outcomes([GOOD, failed(errors.NotFound("x")), failed(error), failed(error)]) == status
