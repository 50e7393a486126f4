"""Keys of AI services are hidden wherever they show, also those that are not ours."""

from __future__ import annotations

import pytest

from lightfast.core.redaction import hide

KEYS = (
    "sk-proj-1234567890abcdefGHIJ",
    "sk-ant-api03-AAAABBBBCCCCDDDD-eeee_ffff",
    "AIzaSyA1234567890abcdefghijklmnopqrstu",
    "r8_0123456789abcdefghijABCDEFGHIJ01234567",
    "Bearer abcdefghijklmnopqrst0123456789",
)


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_a_key_in_what_a_service_says_is_hidden(number: int) -> None:
    said = hide(f'401: "{KEYS[number]}" is no key, find yours')
    assert KEYS[number].rpartition(" ")[2] not in said
    assert said.startswith('401: "***" is no key')


@pytest.mark.parametrize(
    "text",
    ["ask-me-anything-about-the-lighthouse-now", "task-1234567890123456789", "a bearer of news", "sk-short", "AIza"],
)
def test_words_are_left_alone(text: str) -> None:
    assert hide(text) == text
