"""The things that texts state attributes of: places, machines, products, people and so on."""

from dataclasses import dataclass

from maskkv.reading import attributes
from maskkv.reading.attribute import Attribute
from maskkv.reading.grammar import ordinal
from maskkv.reading.values import Values


@dataclass(frozen=True)
class Group:
    """Things of one kind, and what a text may state about each."""

    shapes: tuple[str, ...]
    kinds: tuple[str, ...]
    nouns: tuple[str, ...]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True)
class Family:
    """Things with names alike, such as the gates of a site: the north gate, the south gate."""

    group: Group
    shape: str
    noun: str

    def member(self, values: Values) -> str:
        """Name one of the family, as in the middle of a sentence."""
        rng = values.rng
        number = rng.randrange(1, 40)
        return self.shape.format(
            noun=self.noun,
            kind=rng.choice(self.group.kinds),
            name=values.proper_name(),
            person=values.person(),
            town=values.place(),
            surname=values.surname(),
            company=values.company(),
            number=number,
            ordinal=f"{number}{ordinal(number)}",
            letter=rng.choice("ABCDEFGHKLMNPRSTVW"),
            label=rng.randrange(100, 999),
        )


def family_of(groups: tuple[Group, ...], values: Values) -> Family:
    """Draw a family of one of the groups."""
    group = values.rng.choice(groups)
    return Family(group, values.rng.choice(group.shapes), values.rng.choice(group.nouns))


def _group(shapes: str, kinds: str, nouns: str, stated: tuple[Attribute, ...]) -> Group:
    return Group(tuple(shapes.split("|")), tuple(kinds.split("|")), tuple(nouns.split("|")), stated)


GROUPS = (
    _group(
        "the {kind} {noun}|the {kind} {noun}|the {kind} {noun}|the {name} {noun}|the {noun} in {town}|"
        "{noun} {letter}{number}|"
        "the {noun} on {surname} Street|the {surname} {noun}|the {kind} {noun} in {town}",
        "north|south|east|west|upper|lower|old|new|front|rear|inner|outer|left|right|first|second|third|largest|"
        "smallest|"
        "narrow|wooden|stone|brick|underground|public|private|riverside|northern|southern|eastern|western|corner|"
        "central",
        "gate|barn|warehouse|workshop|library|chapel|laboratory|greenhouse|boathouse|cellar|archive|garage|hangar|"
        "studio|"
        "museum|clinic|bakery|gym|pool|canteen|school|hostel|theatre|pharmacy|store room|meeting room|server room|"
        "reading room|guest house|sports hall|visitor centre|tool shed|ticket office|cold room|training room|"
        "post office",
        attributes.PLACES,
    ),
    _group(
        "the {kind} {noun}|the {kind} {noun}|the {name} {noun}|the {noun} in {town}|{noun} {letter}{number}|"
        "{noun} number {number}|"
        "the {kind} {noun} from {town}",
        "old|new|portable|backup|spare|large|small|grey|yellow|blue|red|second|third|rented|repaired|heavy|compact|"
        "electric|"
        "northern|southern|main|hydraulic|broken|refurbished|silent|outdoor|indoor|borrowed|prototype|diesel",
        "pump|printer|lathe|generator|boiler|drill|crane|scanner|mixer|forklift|turbine|conveyor|compressor|kiln|"
        "tractor|"
        "loom|welder|freezer|centrifuge|excavator|heater|ventilator|coffee machine|milling machine|water filter|"
        "air conditioner|weather station|washing machine|label printer|laser cutter|bread oven|harvester|"
        "sewing machine",
        attributes.MACHINES,
    ),
    _group(
        "the {kind} {noun}|the {kind} {noun}|the {name} {noun}|the {surname} {noun}|the {kind} {name} {noun}",
        "oak|wool|leather|folding|striped|round|small|large|children's|travel|waterproof|handmade|enamel|bamboo|"
        "ceramic|"
        "vintage|cotton|garden|winter|summer|deluxe|budget|double|adjustable|glass|tin|velvet|copper|pine",
        "table|blanket|kettle|lamp|chair|tent|suitcase|umbrella|jacket|backpack|mirror|bookshelf|teapot|bicycle|clock|"
        "carpet|vase|toolbox|hammock|scarf|bench|cushion|pan|lantern|wallet|helmet|desk|camera|radio|guitar|mattress",
        attributes.PRODUCTS,
    ),
    _group(
        "the {kind} {noun}|the {town} {noun}|the {name} {noun}|the {ordinal} {town} {noun}|the {kind} {noun} in {town}|"
        "the {surname} {noun}|the {kind} {town} {noun}",
        "spring|summer|autumn|winter|annual|charity|first|second|third|open-air|evening|junior|senior|regional|"
        "national|"
        "farewell|school|parish|student|harbour|village|midnight|members'|international|opening|weekend",
        "concert|workshop|regatta|conference|exhibition|auction|marathon|dinner|lecture|festival|fair|tournament|"
        "picnic|"
        "parade|market|hackathon|seminar|reception|wedding|reunion|parents' evening|book sale|film night|chess match",
        attributes.EVENTS,
    ),
    _group(
        "Project {name}|the {name} project|the {noun} {kind} project|the {town} {noun} project|project {letter}{label}|"
        "the {kind} of the {noun} in {town}|the {name} {noun} programme",
        "renewal|repair|survey|expansion|inspection|relocation|digitisation|renovation|mapping|testing|replacement|"
        "painting",
        "bridge|harbour|museum|railway|website|archive|garden|tunnel|payroll|canal|stadium|sewer|school|forest|"
        "lighthouse|"
        "database|hospital|tramway|reservoir|billing|solar roof|cycle path|church tower|water main|street lighting",
        attributes.PROJECTS,
    ),
    _group(
        "{person}|{person}|{person}|{person}|the {kind} {noun}|the {noun} from {town}",
        "new|former|senior|junior|deputy|chief|visiting|assistant|temporary|head|night|part-time",
        "accountant|gardener|librarian|nurse|pilot|translator|architect|electrician|curator|secretary|cashier|"
        "geologist|"
        "porter|chemist|baker|trainer|surveyor|lawyer|carpenter|receptionist|engineer|plumber|teacher",
        attributes.PEOPLE,
    ),
    _group(
        "the {kind} {noun}|the {kind} {noun}|the {name} {noun}|the {kind} {name} {noun}|{noun} {letter}{number}|"
        "the {town} {noun}",
        "staging|guest|billing|test|production|shared|backup|internal|public|payroll|legacy|student|warehouse|sales|"
        "press|"
        "archive|customer|research|training|demo|finance|library|night-shift|branch",
        "server|account|database|intranet|mailbox|router|network|portal|website|cluster|file store|booking system|"
        "printer queue|"
        "web shop|wiki|dashboard|firewall|newsletter|calendar|inventory system|ticket system|forum|repository",
        attributes.ACCOUNTS,
    ),
    _group(
        "the {kind} {noun}|the {noun} to {town}|the {kind} {noun} to {town}|the {noun} from {town}|"
        "{noun} {letter}{label}|"
        "the {noun} between {town} and {name}",
        "morning|evening|night|first|last|early|late|weekend|Sunday|express|slow|direct|school|Friday|Monday|local|"
        "extra|noon",
        "train|ferry|bus|flight|coach|tram|boat tour|shuttle|hike|river cruise|city tour|sleeper train|cable car|"
        "minibus",
        attributes.JOURNEYS,
    ),
    _group(
        "the {kind} {noun}|the {name} {noun}|the {surname} {noun}|the {noun} on {town}|the {kind} {name} {noun}|"
        "the {town} {noun}",
        "annual|draft|final|second|third|revised|confidential|printed|short|original|internal|illustrated|quarterly|"
        "missing|"
        "technical|safety|medical|legal|historical|travel",
        "report|contract|manual|thesis|novel|catalogue|lease|memo|guidebook|survey|proposal|dictionary|treaty|brochure|"
        "biography|handbook|dossier|textbook|cookbook|licence agreement|field study|case file|travel diary",
        attributes.DOCUMENTS,
    ),
    _group(
        "the {kind} {noun}|the {kind} {noun}|the {noun} called {name}|{surname}'s {kind} {noun}|the {noun} from {town}",
        "grey|black|white|brown|spotted|young|old|lame|largest|smallest|tame|new|rescued|one-eyed|shy|long-haired|"
        "striped|"
        "short-legged|first|second|noisy|orphaned",
        "mare|goat|sheepdog|cow|donkey|parrot|tortoise|llama|ram|cat|pony|falcon|goose|bull|rabbit|alpaca|otter|heifer|"
        "stallion|owl|lynx|seal|turkey|ox|camel|terrier|peacock",
        attributes.ANIMALS,
    ),
    _group(
        "the {kind} {noun}|the {kind} {noun}|the {town} {noun}|the {surname} {noun}|the {name} {noun}|"
        "the {kind} {noun} from {town}",
        "lentil|pumpkin|apple|cabbage|fish|mushroom|almond|potato|spinach|cherry|beetroot|chicken|walnut|carrot|"
        "onion|rye|"
        "pear|tomato|rice|plum|lemon|pepper|bean|cheese|chestnut",
        "soup|pie|stew|cake|salad|casserole|dumpling|curry|pudding|tart|omelette|bread|pancake|risotto|gratin|sauce|"
        "roll|"
        "pastry|porridge|goulash|strudel|chowder",
        attributes.DISHES,
    ),
    _group(
        "the {town} {noun}|the {name} {noun}|the {kind} {noun} of {town}|the {surname} {noun}|the {kind} {noun}",
        "women's|oldest|youth|amateur|veterans'|new|first|united|students'|former|workers'|farmers'|smaller|larger|"
        "second",
        "rowing club|choir|chess club|orchestra|football club|history society|credit union|cooperative|foundation|"
        "fire brigade|theatre group|trade union|cycling club|charity|dance school|debating society|sailing club|"
        "brass band|"
        "judo club|film club|allotment society|ski club",
        attributes.CLUBS,
    ),
    _group(
        "{company}|{company}|{company}|the {name} {noun}|the {noun} {name}|the {town} {noun} {name}|"
        "the {kind} {noun} {name}",
        "young|small|foreign|listed|family-run|local|rival|new|former",
        "airline|brewery|bank|publisher|shipyard|steel maker|carmaker|supermarket chain|insurer|bakery chain|"
        "software house|"
        "mining company|toy maker|hotel group|seed company|paper mill|bus company|energy supplier",
        attributes.COMPANIES,
    ),
)
