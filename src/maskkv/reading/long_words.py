"""What sentences with long values are made of."""

LISTED = (
    "packing list|shopping list|emergency kit|equipment list|gift basket|tool box|wish list|picnic basket|order|parcel|"
    "list of lost things|starter pack|first-aid box|cupboard|inventory|supply crate|delivery|survival kit|craft box|"
    "shelf"
).split("|")
GROUPS = (
    "north team|south team|second shift|field trip|night watch|new tenants|summer camp|youth group|kitchen staff|"
    "rescue boat|chess club|Monday class|art room|ground floor|mountain hut|choir|guests|film crew|survey team|"
    "repair van|school trip|harvest helpers|research station|harbour office|upper hut|lower hut|advance party"
).split("|")
WRITTEN = tuple(f"the {each}" for each in LISTED if "list" in each or each in ("order", "inventory"))
WRITTEN_VERBS = (("contains", "contain"), ("includes", "include"), ("names", "name"), ("lists", "list"))
FILLED_VERBS = (("contains", "contain"), ("contains", "contain"), ("includes", "include"), ("holds", "hold"))
LIST_STATEMENTS = (
    "{Name} {lists} {value}.",
    "{Name} {lists} {value}.",
    "{Name} {lists} the following: {value}.",
    "As agreed, {name} {lists} {value}.",
    "By now {name} {lists} {value}, {tail}.",
    "Please check that {name} still {lists} {value}.",
    "According to the storekeeper, {name} {lists} {value}.",
    "This year {name} {lists} {value}.",
)
FILES = (
    "backup|floor plan|budget|timetable|user guide|mailing list|price list|photo archive|test report|source code|"
    "change log|template|error log|configuration|membership form|recording|invoice|first draft|address list|schedule"
).split("|")
FILE_STATEMENTS = (
    "{Name} is in {value}.",
    "{Name} is stored in {value}.",
    "You can find {name} in {value}.",
    "We moved {name} to {value}.",
    "The location of {name} is {value}.",
    "Anyone who needs {name} should look in {value}.",
    "{Name} is now kept in {value}, {tail}.",
)
PAGE_STATEMENTS = (
    "{Name} is at {value}.",
    "{Name} is published at {value}.",
    "You can find {name} at {value}.",
    "The location of {name} is {value}.",
    "To see {name}, go to {value}.",
    "{Name} can be downloaded from {value}.",
)
OFFICES = (
    "office|workshop|main entrance|showroom|warehouse|clinic|studio|bakery|school|laboratory|shop|garage|practice|"
    "museum"
).split("|")
ADDRESS_STATEMENTS = (
    "{Name} is at {value}.",
    "You can find {name} at {value}.",
    "{Name} has moved to {value}.",
    "The location of {name} is {value}.",
    "Visitors will find {name} at {value}, {tail}.",
    "Until further notice, {name} is at {value}.",
)
SIGNS = "sign|note|poster|notice|sticker|plate|banner|warning|message|card".split("|")
SIGN_PLACES = (
    "on the {} door|in the {} room|at the {} gate|beside the {} lift|above the {} stairs|on the {} wall|at the {} desk|"
    "on the {} window|near the {} exit|on the {} cupboard|in the {} corridor|over the {} sink"
).split("|")
SIDES = (
    "front|back|north|south|east|west|green|red|blue|left|right|first|second|third|main|old|new|upper|lower|white|inner"
).split("|")
SIGN_STATEMENTS = (
    "{Name} says {quoted}.",
    "{Name} says {quoted}.",
    "{Name} reads {quoted}.",
    "{quoted} is what {name} says.",
    "As everyone can see, {name} says {quoted}.",
    "Since last week, {name} says {quoted}.",
    "In large letters, {name} says {quoted}.",
)
MOTTOS = "slogan|motto|campaign slogan|advertising line|house rule|guiding principle|watchword".split("|")
MOTTO_STATEMENTS = (
    "{Name} is {quoted}.",
    "{Name} is {quoted}.",
    "{Name} has been {quoted} for years.",
    "They chose {quoted} as {name}.",
    "{quoted} is {name}.",
    "After a long debate, {name} became {quoted}.",
)
DONE = (
    "cancelled|postponed|cut short|moved|shortened|delayed|interrupted|stopped|called off|put off|broken off|"
    "rescheduled|delayed by a week|abandoned|relocated|suspended"
).split("|")
HAPPENINGS = (
    "concert|regatta|lecture|excursion|auction|match|meeting|exhibition|ferry service|bus service|market|parade|lesson|"
    "conference|opening|rehearsal|flight|wedding|road race|experiment|broadcast|screening|training course|picnic|visit"
).split("|")
CAUSES = (
    "{thing} had been left in the {room}|{person} had lost the key to the {room}|the {room} was flooded overnight|"
    "too few people had bought tickets by {day}|{person} fell ill on {day}|nobody could find the {things}|"
    "a storm had torn the roof off the {room}|the {things} never arrived from {town}|"
    "{person} refused to enter the {room}|"
    "the power failed in the {room} at {time}|the road to {town} was blocked by snow|"
    "{number} guests had come without {things}|"
    "a strike had stopped every train to {town}|the {room} was being painted at the time|"
    "{company} had withdrawn its support|"
    "the {things} had been sent to {town} by mistake|the speaker from {town} missed the last ferry|"
    "somebody had stolen {number} {things} from the {room}|{person} and {other} could not agree on a date|"
    "the insurance did not cover the {things}|a swan had built its nest beside the {room}|"
    "there was a smell of gas in the {room}"
).split("|")
REASON_STATEMENTS = (
    "{Name} was {done} because {value}.",
    "{Name} was {done} because {value}.",
    "Because {value}, {name} was {done}.",
    "{Name} was {done}, since {value}.",
    "The reason why {name} was {done} is that {value}.",
    "As {value}, {name} was {done}.",
    "It was only because {value} that {name} was {done}.",
    "{Name} was {done} for one simple reason: {value}.",
)
TAILS = (
    "as before|as agreed|for now|at least until spring|as far as we know|as it always has|to be on the safe side"
).split("|")
QUOTATION_MARKS = ('"{}"', '"{}"', "'{}'", "“{}”")
HALLS = "main hall|boathouse|school kitchen|studio|north stand|chapel|gym|clubhouse|theatre|old tower".split("|")
SINGLE_THINGS = "a ladder|the master key|a broken chair|an open bucket|the only projector|a sleeping dog".split("|")
PLURAL_THINGS = (
    "microphones|tents|safety vests|costumes|spare batteries|tickets|life jackets|chairs|maps|permits|trophies|lamps"
).split("|")
