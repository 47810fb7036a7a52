"""A value from a thread of its own."""

import pytest

from runtime.background import Background


def test_the_value_and_the_error_come_where_they_are_asked_for():
    assert Background(lambda: 6 * 7).result() == 42
    assert Background(lambda: None).result() is None
    failed = Background(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failed.result()
