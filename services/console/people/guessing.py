"""How much of a password nobody would guess who knows whom it is of. Pure.

A password is cut into what is tried first: words that are known, rows of keys, counting, one character again and
again, digits. What is left over is what has to be guessed. Words that nobody thinks of are all left over.
"""

import re
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import Final

_ROWS: Final = (
    "1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm",  # English
    "qwertzuiop", "yxcvbnm",  # German
    "azertyuiop", "qsdfghjklm", "wxcvbn",  # French
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "qazwsxedcrfvtgbyhnujmikolp", "1q2w3e4r5t6y7u8i9o0p",
)  # fmt: skip
_KEYS: Final = frozenset(line[at : at + 4] for row in _ROWS for line in (row, row[::-1]) for at in range(len(row) - 3))
_LETTERS_OF: Final = str.maketrans("013457@$!", "oieastasi")
_LEAST_WORD: Final = 3
_LEAST_RUN: Final = 3


def left_over(text: str, words: Collection[str]) -> int:
    """How many characters are none of what is tried first, with digits read as letters where that explains more."""
    bare = "".join(char for char in text if char.isalnum() or char in "@$!")
    plain = "".join(char for char in bare if char.isalnum())
    return min(_left_over(plain, words), _left_over(bare.translate(_LETTERS_OF), words))


def words_in(*texts: str) -> set[str]:
    """The words of names and addresses, and each name as one word."""
    found: set[str] = set()
    for text in texts:
        parts = [part for part in re.split(r"[^\w]+|_", text.casefold()) if part]
        found |= {*parts, "".join(parts)}
    return {one for one in found if len(one) >= _LEAST_WORD}


def pattern(text: str) -> str:
    """What is repeated, where the text is one thing again and again; else the text."""
    for length in range(1, len(text) // 2 + 1):
        if (text[:length] * (len(text) // length + 1))[: len(text)] == text:
            return text[:length]
    return text


def _left_over(text: str, words: Collection[str]) -> int:
    best = [0, *[len(text)] * len(text)]
    for at in range(len(text)):
        best[at + 1] = min(best[at + 1], best[at] + (not text[at].isdigit()))
        for end in _ends(text, at, words):
            best[end] = min(best[end], best[at])
    return best[len(text)]


def _ends(text: str, at: int, words: Collection[str]) -> Iterable[int]:
    yield from (end for end in range(at + _LEAST_WORD, len(text) + 1) if text[at:end] in words)
    end = at + 4
    while end <= len(text) and text[end - 4 : end] in _KEYS:
        yield end
        end += 1
    step: int | None = None
    for end, (one, after) in enumerate(pairwise(text[at:]), start=at + 2):
        step = ord(after) - ord(one) if step is None else step
        if ord(after) - ord(one) != step or abs(step) > 1:
            return
        if end - at >= _LEAST_RUN:
            yield end
