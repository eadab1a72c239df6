"""How questions are put to a text: alone or several together, with or without a mark and instructions."""

from random import Random

ABSENT = "Not in the text."
"""The answer to a question that the text does not answer."""

# Before a question that stands behind or before the whole text.
LEADS = ("", "", "", "Question: ", "Question: ", "Q: ", "My question: ", "From the text: ")

INSTRUCTIONS = (
    "Quote the text word by word.",
    "Read the whole text with care before you write anything.",
    "Do not add remarks of your own.",
    "If you are not sure, look at the text once more.",
    "Answer with the sentence or the line that says it, and with nothing else.",
    "Keep the words, the numbers and their order as they are.",
    "I do not need a summary or an opinion.",
    "Take your time, and stop when the answer is complete.",
    "The answer goes into a form, so leave nothing out.",
    "Please do not translate or shorten anything.",
    "Say so if the text does not tell.",
    "Thank you very much for your help with this.",
)

_SHAPES = (
    lambda asked: " ".join(asked),
    lambda asked: "\n".join(asked),
    lambda asked: "\n".join(f"{number}. {one}" for number, one in enumerate(asked, 1)),
    lambda asked: " ".join(f"({number}) {one}" for number, one in enumerate(asked, 1)),
    lambda asked: "\n".join(f"- {one}" for one in asked),
    lambda asked: " Also: ".join(asked),
)


def several(questions: tuple[str, ...], rng: Random) -> str:
    """Put several questions at once, in the order in which they are to be answered."""
    return rng.choice(_SHAPES)(questions)
