"""Small words and endings that English wants around a name."""

from collections.abc import Sequence

from maskkv.reading import words


def ordinal(number: int) -> str:
    """Return the ending of a number that says a position: "st" for 21."""
    return "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def spelled(number: int) -> str:
    """Spell a number below 100."""
    if number < len(words.SMALL_NUMBERS):
        return words.SMALL_NUMBERS[number]
    if number < 20:
        return words.TEENS[number - 13]
    tens, ones = divmod(number, 10)
    return words.TENS[tens - 2] + (f"-{words.SMALL_NUMBERS[ones]}" if ones else "")


def article(phrase: str) -> str:
    """Return "a" or "an", as the phrase wants."""
    start = phrase.lower()
    vowel = start[0] in "aeiou" and not start.startswith(("us", "uni", "eu", "one"))
    return "an" if vowel or start.startswith(("hour", "honest")) else "a"


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a phrase."""
    return f"{article(phrase)} {phrase}"


def listed(items: Sequence[str]) -> str:
    """Join two or more items with commas and "and"."""
    return f"{', '.join(items[:-1])} and {items[-1]}"


def capitalised(text: str) -> str:
    """Return a text with its first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def possessive(phrase: str) -> str:
    """Return the phrase as an owner: "the gate's"."""
    return phrase + ("'" if phrase.endswith("s") else "'s")
