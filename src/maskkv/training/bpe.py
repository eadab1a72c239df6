"""Train the bundled model's tokenizer: `python -m maskkv.training.bpe --corpus FILE --out FOLDER`.

Byte-level BPE: any text has tokens and comes back as it was. A digit is a token each, and words are cut where
an identifier's parts meet (at underscores, and before a capital), so that a name has the same tokens wherever
it stands.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from maskkv.reading.compose import KINDS, make
from maskkv.reading.values import Values
from maskkv.training.corpus import read
from maskkv.training.record_lines import lines

SIZE = 8192
EOS, MASK = "<|endoftext|>", "<|mdm_mask|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{{ '\\n\\n' }}"
    "{% elif message['role'] == 'system' or not loop.last %}{{ '\\n\\n' }}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{% if loop.last and add_generation_prompt %}{{ '\\n\\nAnswer:\\n' }}"
    "{% elif not loop.last and loop.nextitem['role'] == 'assistant' %}{{ 'Answer:\\n' }}{% endif %}"
    "{% endif %}{% endfor %}"
)
"""Messages one after the other; an answer ends with the token that ends a text."""

# In this order: what an apostrophe adds to a word; a word with the space before it; a digit; other characters;
# the ends of lines; spaces but for the one that belongs to the word after them.
_PIECES = (
    r"'(?:[sdmt]|ll|ve|re)(?!\p{L})"
    r"| ?(?:\p{Lu}?[\p{Ll}\p{M}]+|\p{Lu}+(?!\p{Ll})|[\p{L}\p{M}]+)"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+"
    r"|[\r\n]+"
    r"|[^\S\r\n]+(?!\S)"
    r"|\s+"
)
_LONGEST = 16
# Lines of records, and documents of facts of each kind.
_RECORDS, _DOCUMENTS = 40_000, 1_000


def main() -> None:
    """Train on the corpus and on made-up records, and write the tokenizer's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="what maskkv.training.corpus wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for tokenizer.json and tokenizer_config.json")
    parser.add_argument("--length", type=int, default=2048, help="tokens that the model is trained on")
    arguments = parser.parse_args()
    write(trained(texts(arguments.corpus)), arguments.length, arguments.out)


def texts(corpus: Path) -> Iterator[str]:
    """Yield what the tokenizer is trained on: the training part of the corpus, records, and facts with questions."""
    return chain(read(corpus, "train"), lines(Random("tokenizer"), _RECORDS), facts(_DOCUMENTS))


def facts(count: int) -> Iterator[str]:
    """Yield the texts and the questions of `count` documents of each kind, in phrasings meant for training."""
    for number in range(count):
        for kind in KINDS:
            for block in make(kind, Values(Random(f"tokenizer/{kind}/{number}")), 8, unseen=False):
                yield block.text
                yield from (fact.question for fact in block.facts)


def trained(training_texts: Iterable[str], size: int = SIZE) -> Tokenizer:
    """Train a tokenizer of `size` tokens: the special ones, every byte, then the commonest pieces."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(_PIECES), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=[EOS, MASK],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        max_token_length=_LONGEST,
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_texts, trainer)
    return tokenizer


def write(tokenizer: Tokenizer, length: int, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, as the Hugging Face libraries read them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = json.dumps(configuration(length), indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(described, encoding="utf-8")


def configuration(length: int) -> dict[str, object]:
    """Give the fields of tokenizer_config.json."""
    return {
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "mask_token": MASK,
        "model_max_length": length,
        "pad_token": EOS,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


if __name__ == "__main__":
    main()
