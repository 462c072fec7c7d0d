"""Tell whether a text is mostly in another script than English, for which AWS tunes its prompt routers."""

from __future__ import annotations

import unicodedata

__all__ = ["other_script"]

_SAMPLE = 2_000
_LEAST_LETTERS = 40
_LATIN_END = 0x024F
"""Latin letters with all their accents stand below this code point."""


def other_script(text: str) -> str | None:
    """Return the script of a text of which more than half of the letters are not Latin, e.g. `CYRILLIC`.

    Looks at the first 2,000 characters; a text with fewer than 40 letters is not judged. Languages that are
    written in Latin letters are not told apart.
    """
    sample = text[:_SAMPLE]
    if sample.isascii():
        return None
    letters = [character for character in sample if character.isalpha()]
    other = [character for character in letters if ord(character) > _LATIN_END]
    if len(letters) < _LEAST_LETTERS or len(other) * 2 <= len(letters):
        return None
    name = unicodedata.name(other[0], "OTHER")
    return name.partition(" ")[0]
