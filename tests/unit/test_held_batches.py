"""The rows that XGBoost asks for several times, read once where they are few."""

import numpy as np

from runtime.rapids.boosting import _Held


class Reader:
    """Three batches of 10 rows of 2 features, 120 bytes each; counts how many were read."""

    def __init__(self):
        self.read = 0

    def __call__(self):
        for number in range(3):
            self.read += 1
            yield np.full((10, 2), number, np.float32), np.full(10, number, np.float32)


def _numbers(held):
    return [int(y[0]) for _, y in held()]


def test_few_rows_are_read_once():
    reader = Reader()
    held = _Held(reader, 360)
    assert [_numbers(held) for _ in range(3)] == [[0, 1, 2]] * 3
    assert reader.read == 3


def test_more_rows_than_the_limit_are_read_each_time_and_none_is_kept():
    reader = Reader()
    held = _Held(reader, 359)
    assert [_numbers(held) for _ in range(3)] == [[0, 1, 2]] * 3
    assert reader.read == 9
    assert not held._seen


def test_a_pass_that_is_given_up_leaves_nothing_behind():
    reader = Reader()
    held = _Held(reader, 360)
    next(held())
    assert [_numbers(held) for _ in range(2)] == [[0, 1, 2]] * 2
    assert reader.read == 4


def test_what_is_released_is_gone_also_for_an_iterator_on_its_way_and_can_be_read_again():
    reader = Reader()
    held = _Held(reader, 360)
    _numbers(held)
    rest = held()
    held.release()
    assert list(rest) == []
    assert _numbers(held) == [0, 1, 2]
    assert reader.read == 6
