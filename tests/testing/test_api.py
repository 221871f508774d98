"""The names that users have."""

from __future__ import annotations

import pytest

from flowctl_aio import testing


def test_every_public_name_is_there_and_no_other():
    assert sorted(testing.__all__) == dir(testing)
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        testing.Nothing  # noqa: B018
