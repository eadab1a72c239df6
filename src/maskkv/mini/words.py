"""The closed vocabulary of the bundled model, by the part each word plays.

The lists do not overlap, so a word tells what it is for: names own facts, things and digits are what facts
say, members belong to categories, the rest is scenery. `VOCABULARY` fixes the token ids; appending is safe,
reordering is not.
"""

MASK = "<|mdm_mask|>"
EOS = "<|endoftext|>"
UNKNOWN = "<|unk|>"
SPECIAL = (EOS, MASK, UNKNOWN)

PUNCTUATION = (".", ":", "?", ",")
DIGITS = tuple("0123456789")
ORDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
RELATIONS = ("holds", "carries", "likes", "also", "finally", "trusts", "counts", "as", "passage", "says")
ASKING = ("question", "answer", "what", "who", "which")

NAMES = tuple(
    """anna bruno clara david elena felix greta henry irene jonas karla leon maria nadia oscar paula
    quinn rosa simon tilda ursula victor wanda xenia yusuf zelda adele boris celia dario edith fabio
    gina hugo ingrid jasper kirsten lars mona nils olga pedro rita sven tara ulrich vera walter
    yvonne zoran agnes bela cora dirk emil flora gustav hanna ivan judith kasper lydia milan nora
    otto petra ralf selma theo uma viola wilma arthur bianca conrad daphne ernst frieda george helga
    iris jakob klaus linda marta norbert olivia philip ramona stefan teresa valentin werner""".split()
)

THINGS = tuple(
    """apple arrow axe bag ball basket bead bell belt bench blanket bone book boot bottle bowl box brick
    broom brush bucket button cable cage cake candle cane card carpet chain chair chalk chest clock cloth
    coat coin comb cork cradle crown cup curtain dagger desk dish doll drum egg fan feather fence flag
    flute fork frame glass glove goblet hammer harp hat helmet hook horn jar jug kettle key kite knife
    knot ladder lamp lantern latch leaf lens lid lock loom map marble mask medal mirror mug nail necklace
    needle nest net oar paddle pan paper pear pearl pen pencil pillow pin pipe plate plum pot purse quill
    rake razor ribbon ring rope ruler saddle sail salt scarf shell shield shoe shovel skirt sock spoon
    stamp stick stool string sword tent thimble thread ticket tile torch towel tray umbrella vase violin
    wagon wallet wheel whistle wire wool""".split()
)

CATEGORIES = (
    tuple("wolf bear lion tiger fox horse goat sheep rabbit camel".split()),
    tuple("eagle sparrow raven swan owl robin heron pigeon falcon stork".split()),
    tuple("trout salmon carp herring pike shark eel cod tuna perch".split()),
    tuple("oak birch maple willow pine cedar elm ash poplar larch".split()),
    tuple("rose tulip daisy lily orchid poppy violet lotus peony pansy".split()),
    tuple("iron copper silver gold zinc nickel lead tin cobalt titanium".split()),
)
LABELS = tuple("blick dax fep gorp jolo kiv lum mib nuz pava rell toma".split())

ADJECTIVES = tuple(
    """old young quiet tall narrow green pale heavy gentle busy distant empty famous hungry lazy modest
    patient proud tired wise""".split()
)
PEOPLE_AND_PLACES = tuple(
    """miller farmer baker teacher doctor sailor hunter singer painter merchant soldier gardener tailor
    judge poet village harbor market bridge castle forest garden meadow mountain river road school
    station temple tower valley window kitchen library museum island""".split()
)
VERBS = tuple(
    """walked waited slept worked laughed rested sang listened stayed returned wandered vanished smiled
    whispered stood danced traveled paused arrived departed""".split()
)
ADVERBS = tuple("slowly quickly softly alone together again often rarely calmly gladly".split())
PREPOSITIONS = tuple("near behind beyond beside under above across inside".split())
TIMES = tuple("dawn noon dusk night sunrise sunset midnight christmas".split())
SMALL = ("the", "at")

INSTRUCTIONS = tuple(
    tuple(clause.split())
    for clause in (
        "read the whole text with care before you write anything .",
        "write only the line that was asked for , word by word .",
        "do not add any other words , signs or remarks .",
        "use the same form that you found in the text .",
        "if you are not sure , look at the text once more .",
        "take your time , and stop when the line is complete .",
        "keep the order of the words and leave none of them out .",
        "nobody needs a summary or an opinion about the text here .",
    )
)

_GROUPS = (
    SPECIAL,
    PUNCTUATION,
    DIGITS,
    ORDINALS,
    RELATIONS,
    ASKING,
    NAMES,
    THINGS,
    *CATEGORIES,
    LABELS,
    ADJECTIVES,
    PEOPLE_AND_PLACES,
    VERBS,
    ADVERBS,
    PREPOSITIONS,
    TIMES,
    SMALL,
    tuple(word for clause in INSTRUCTIONS for word in clause),
)
VOCABULARY = tuple(dict.fromkeys(word for group in _GROUPS for word in group))
