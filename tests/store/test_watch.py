"""Who is silent: a table of what a worker sees at which time of its own clock, and whom it takes for lost."""

from __future__ import annotations

import pytest

from hpo.store import Watch

GRACE = 30.0
FORGET = "forget"
#: (time, leases seen as (id, token, beat), ids that have been silent for the grace period)
Look = tuple[float, list[tuple[int, int, int]] | str, list[int]]


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([(0, [(1, 1, 0)], []), (29.9, [(1, 1, 0)], []), (30, [(1, 1, 0)], [1])], id="silent"),
        pytest.param([(1000, [(1, 1, 0)], [])], id="never at first sight"),
        pytest.param([(0, [(1, 1, 0)], []), (29, [(1, 1, 1)], []), (58, [(1, 1, 1)], [])], id="a beat starts anew"),
        pytest.param([(0, [(1, 1, 5)], []), (29, [(1, 2, 5)], []), (58, [(1, 2, 5)], [])], id="so does a token"),
        pytest.param([(0, [(1, 1, 5)], []), (29, [(1, 2, 0)], []), (59, [(1, 2, 0)], [1])], id="and is then silent"),
        pytest.param([(0, [(1, 1, 9)], []), (29, [(1, 1, 3)], []), (58, [(1, 1, 3)], [])], id="a smaller beat, too"),
        pytest.param(
            [
                (0, [(1, 1, 0)], []),
                (20, FORGET, []),
                (40, [(1, 1, 0)], []),
                (69, [(1, 1, 0)], []),
                (70, [(1, 1, 0)], [1]),
            ],
            id="forget starts anew",
        ),
        pytest.param(
            [(0, [(1, 1, 0)], []), (20, [(1, 1, 0), (2, 1, 0)], []), (30, [(1, 1, 0), (2, 1, 0)], [1])],
            id="each since it was first seen",
        ),
        pytest.param(
            [(0, [(1, 1, 0)], []), (10, [], []), (40, [(1, 1, 0)], []), (70, [(1, 1, 0)], [1])], id="gone and back"
        ),
        pytest.param([(0, [(1, 1, 0)], []), (30, [(1, 1, 0)], [1]), (31, [(1, 1, 0)], [1])], id="until it is taken"),
        pytest.param([(-50, [(1, 1, 0)], []), (-20, [(1, 1, 0)], [1])], id="any clock will do"),
        pytest.param([(0, [(1, 1, 0), (2, 1, 0)], []), (30, [(2, 1, 0), (1, 1, 1)], [2])], id="in any order"),
    ],
)
def test_a_lease_is_silent_when_it_has_stood_still_for_the_grace_period(looks: list[Look]) -> None:
    now = [0.0]
    watch = Watch(GRACE, lambda: now[0])
    for time, seen, silent in looks:
        now[0] = time
        if isinstance(seen, str):
            watch.forget()
        else:
            assert [lease for lease, _, _ in watch.stale(seen)] == silent, f"at {time}"


def test_what_is_silent_is_named_as_it_was_seen() -> None:
    now = [0.0]
    watch = Watch(GRACE, lambda: now[0])
    watch.stale([(7, 3, 12)])
    now[0] = GRACE
    assert watch.stale([(7, 3, 12)]) == [(7, 3, 12)]  # the takeover is refused when this has changed
