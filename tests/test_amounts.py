"""Amounts: sizes and lengths of time that people write."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from checkpoint.amounts import bytes_of, seconds_of
from checkpoint.arguments import arguments_of
from checkpoint.cli import main
from checkpoint.store import Settings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5 h", 5400), ("500ms", 0.5), ("30d", 2_592_000), ("3 days", 259_200), ("1 Week", 604_800),
     (" 2min ", 120), ("1e3s", 1000), (".5y", 15_768_000), ("2.H", 7200)],
)  # fmt: skip
def test_a_time_is_read(text: str, seconds: float) -> None:
    """Numbers alone are seconds; case and spaces don't matter."""
    assert seconds == seconds_of(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("10", 10), ("10MB", 10**7), ("1.5gib", 3 * 2**29), ("5 GB", 5 * 10**9), ("2e3 kB", 2 * 10**6), ("1TiB", 2**40)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    """Numbers alone are bytes, and what comes out is a whole number."""
    assert (size, int) == (bytes_of(text), type(bytes_of(text)))


@pytest.mark.parametrize(("read", "told"), [(seconds_of, "is no time; write"), (bytes_of, "is no size; write")])
@pytest.mark.parametrize("text", ["", "x", "-1s", "-1B", "1.2.3", "1 x", "nan", "inf", "1e999", "9" * 400, ".", "٣d"])
def test_what_is_no_amount_is_refused(read: Callable[[str], object], told: str, text: str) -> None:
    """The error shows how to write one; what no number holds is none."""
    with pytest.raises(ValueError, match=told):
        read(text)


@given(st.text(max_size=8) | st.from_regex(r"[0-9.]{1,5}(e[0-9]{1,4})? ?[a-zA-Z]{0,4}", fullmatch=True))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    """There is no other outcome, and no amount is below zero or endless. [T5]"""
    for read in (seconds_of, bytes_of):
        try:
            found = read(text)
        except ValueError:
            continue
        assert 0 <= found < float("inf")


def waits(span: datetime.timedelta) -> None:
    """Take a length of time."""


def test_the_same_texts_are_read_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, variables and arguments take what conditions take."""
    for text in ("1.5 GiB", "2e9b", "1tb"):
        assert 0 == CliRunner().invoke(main, ["gc", "--max-size", text, "--larger-than", text]).exit_code
        monkeypatch.setenv("CP_CACHE_SIZE", text)
        assert bytes_of(text) == Settings.of().max_size
    for text in ("3 days", "1y", "500ms"):
        assert 0 == CliRunner().invoke(main, ["gc", "--older-than", text, "--grace", text]).exit_code
        assert ([], {"span": datetime.timedelta(seconds=seconds_of(text))}) == arguments_of(waits, [f"span={text}"])


def test_values_go_only_by_amounts_with_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`gc --older-than 30` might be meant as days, and a size of 10 as gigabytes: nothing goes by seconds or bytes."""
    for option, text in (("--older-than", "30"), ("--max-size", "10"), ("--larger-than", "1e3"), ("--grace", "1.")):
        result: Any = CliRunner().invoke(main, ["gc", option, text])
        assert (2, True) == (result.exit_code, f"'{text}' has no unit; write " in result.stderr)
    with monkeypatch.context() as patch:
        patch.setenv("CP_CACHE_SIZE", "10")
        with pytest.raises(ValueError, match=r"CP_CACHE_SIZE: '10' has no unit; write B, MB, GB or GiB after it"):
            Settings.of()
