"""What a word is: any Unicode, and always the same for the index and for a query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.storage.archive.search.words import MAX_WORD, asked, filed, holds_phrase, indexed, sought, units


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, WORLD!", ["hello", "world"]),
        ("/song/tempo Cube_001", ["song", "tempo", "cube", "001"]),
        ("-12.5 dB at 3,000 Hz", ["12", "5", "db", "at", "3", "000", "hz"]),
        ("Straße ﬁn Ⅷ x²", ["strasse", "fin", "viii", "x2"]),
        ("café cafe\u0301", ["café", "café"]),
        ("٣٤ ４２ ३", ["34", "42", "3"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어 문서", ["한국어", "문서"]),
        ("a\u200db\u200ec", ["abc"]),
        ("東京 abc東京", ["東", "京", "abc", "東", "京"]),
        ("カラー・ゲーム", ["カ", "ラ", "ー", "ゲ", "ー", "ム"]),
        ("🎛 \ud800 … —", []),
        ("", []),
    ],
)
def test_units(text: str, found: list[str]) -> None:
    assert units(text) == found


def test_scripts_without_spaces_are_found_by_their_pairs() -> None:
    assert {"東", "京", "都", "東京", "京都"} == indexed("東京都")
    assert asked("東京都") == ["東京", "京都"]
    assert asked("都") == ["都"]
    assert holds_phrase(units("京都"), "東京都")
    assert not holds_phrase(units("東都"), "東京都")


def test_long_words_are_told_apart() -> None:
    one, other = "x" * 500 + "1", "x" * 500 + "2"
    assert indexed(one) != indexed(other)
    assert all(len(word) <= MAX_WORD for word in indexed(one) | indexed("ä" * 500))
    assert asked(one) == list(indexed(one)) == units(one)
    assert asked("ä" * 500) == list(indexed("ä" * 500)) == units("ä" * 500)


@given(st.text() | st.text(alphabet="aB1 -", max_size=200))
def test_whatever_is_indexed_can_be_asked_for(text: str) -> None:
    assert set(asked(text)) <= indexed(text)
    assert indexed(text.swapcase()) == indexed(text) or text.casefold() != text.swapcase().casefold()
    assert holds_phrase(units(text), text)
    assert set(filed(text)) == {word.encode(errors="surrogatepass") for word in indexed(text)}
    assert sought(text) == [word.encode(errors="surrogatepass") for word in asked(text)]


@given(st.text(), st.text())
def test_a_phrase_stands_in_what_it_was_taken_from(one: str, other: str) -> None:
    whole = f"{one} | {other}"
    assert holds_phrase(units(one), whole)
    assert holds_phrase(units(other), whole)
    assert indexed(one) | indexed(other) <= indexed(whole)


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab", max_size=4))
def test_a_phrase_is_a_run_of_units(content: str, query: str) -> None:
    content, query = " ".join(content), " ".join(query)
    assert holds_phrase(units(query), content) == (query in content)
