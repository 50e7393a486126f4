"""Page tokens: opaque, and refused where they were changed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.errors import InvalidArgument

QUERY = fingerprint("read", "//")
TOKEN = Token(QUERY, 7, "/a/b", 3)
TEXT = write_token(TOKEN)


def test_a_token_comes_back() -> None:
    assert read_token(TEXT, QUERY) == TOKEN
    assert TEXT.isascii()
    assert "/a" not in TEXT


@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_a_changed_character_is_found(position: int, char: str) -> None:
    changed = TEXT[:position] + char + TEXT[position + 1 :]
    if changed != TEXT:
        with pytest.raises(InvalidArgument, match="page_token does not belong to this request") as caught:
            read_token(changed, QUERY)
        assert (caught.value.reason, caught.value.field) == ("PAGE_TOKEN_INVALID", "page_token")


@pytest.mark.parametrize(
    "text", ["x", TEXT[:-4], TEXT + "AAAA", TEXT + "\n", "\ud800", base64.b64encode(b"x" * 40).decode()]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        read_token(text, QUERY)


def test_a_token_of_another_query_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        read_token(TEXT, fingerprint("read", "/a"))


@pytest.mark.parametrize(("asked", "size"), [(0, 100), (1, 1), (1000, 1000), (2**31 - 1, 1000)])
def test_sizes_of_pages(asked: int, size: int) -> None:
    assert page_size(asked, 100, 1000) == size


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="page_size is -1"):
        page_size(-1, 100, 1000)
