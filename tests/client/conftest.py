"""One real daemon for the tests of the SDK, with an application that carries everything out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.mistakes import Desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        yield found
    finally:
        found.close()
