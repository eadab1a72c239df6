"""Lists of words that values are made of."""

MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
SMALL_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
TEENS = "thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

TITLES = "Dr Professor Ms Mr Mrs Captain Judge Sister Chef Inspector".split()
TOWN_PREFIXES = "Port New East West North South Upper Lower Saint Fort Lake Old Mount Great".split()
COMPANY_KINDS = "Ltd|Inc|GmbH|AG|Group|Partners|and Sons|Holdings|Limited|Associates".split("|")
COMPANY_FIELDS = (
    "Systems Foods Textiles Logistics Instruments Press Motors Shipping Robotics Glass Timber Energy Analytics Labs "
    "Ceramics Breweries Optics Publishing Airlines Tools Pharma Software Paper Catering Insurance Dairies Seeds "
    "Engineering Studios Bank"
).split()
PRODUCT_SUFFIXES = "Pro Mini Plus Max Lite Air XL Classic One Duo Neo Mark II".split()
PROJECT_NAMES = (
    "Falcon Heron Juniper Orchid Granite Comet Lantern Harbor Magnolia Saffron Tundra Meridian Cobalt Willow Atlas "
    "Beacon Cypress Delta Ember Fjord Glacier Hazel Indigo Jasper Kestrel Lupin Maple Nimbus Opal Puffin Quartz Raven "
    "Sable Thistle Umber Violet Walnut Yarrow Zephyr Aurora Bramble Condor Dahlia Egret Fennel Ginkgo Hornet Ibis"
).split()

CURRENCIES = "dollars|euros|pounds|francs|kronor|rupees|pesos|Swiss francs|Canadian dollars|zloty|yen".split("|")
COLOURS = (
    "dark green|pale blue|crimson|navy blue|white|black|silver grey|mustard yellow|ochre|turquoise|maroon|beige|ivory|"
    "burnt orange|lilac|charcoal|olive green|rust red|cream|sky blue|bottle green|salmon pink|chestnut brown|gold|"
    "bright yellow|deep purple|mint green|teal|brick red|sand|light brown|royal blue|lime green|copper|dark red"
).split("|")
MATERIALS = (
    "stainless steel|birch plywood|recycled plastic|waxed cotton|cast iron|bamboo|felt|brushed aluminium|oak|slate|"
    "merino wool|carbon fibre|glazed clay|cork|brass|linen|hard rubber|tempered glass|leather|walnut|copper|marble"
).split("|")
STREETS = "Street Road Lane Avenue Square Close Way Terrace Drive Walk Hill Gardens Row Court Quay Crescent".split()
FILE_ENDINGS = ".txt|.csv|.pdf|.log|.json|.yaml|.toml|.py|.md|.xlsx|.conf|.tar.gz|.png|.docx|.sql|.sh|".split("|")
FILE_WORDS = (
    "reports data backup config notes invoices logs archive scripts models photos exports drafts build docs shared "
    "results main users orders weekly assets install setup help guide stock travel public team sales maps schema "
    "release uploads samples cache monthly private index summary ledger minutes payroll"
).split()
ROOMS = (
    "kitchen|library|boiler room|workshop|lobby|garage|pantry|roof terrace|laundry room|cellar|reading room|"
    "loading bay|"
    "meeting room|store room|courtyard|playground|pool|studio|stairwell|staff room|greenhouse|barn|office|corridor"
).split("|")

SUBSTANCES = (
    "rope|salt|dried fish|flour|rice|olive oil|matches|drinking water|charcoal|string|tea|coffee|sugar|soap|sandpaper|"
    "duct tape|chalk|candle wax|bandages|sunscreen|toilet paper|firewood|honey|lentils|oats|paint|glue|wire|varnish|"
    "butter|garlic|parsley|black pepper|ginger|yeast|cardboard|canvas|aluminium foil|spare batteries|wool|thread|"
    "gravel|"
    "cement|white vinegar|dried apricots|walnuts|noodles|soy sauce|cinnamon|printer paper|ink|insect spray|cheese|"
    "bread|"
    "milk powder|fresh mint|copper pipe|bubble wrap|motor oil|grease|seed potatoes|fertiliser|straw|oat milk|"
    "tinned beans"
).split("|")
COUNTABLES = tuple(
    (singular, plural or singular + "s")
    for singular, _, plural in (
        pair.partition("/")
        for pair in (
            "lamp|tent|hammer|bucket|torch/torches|blanket|whistle|compass/compasses|first-aid kit|sleeping bag|"
            "notebook|"
            "pencil|saw|shovel|ladder|cable|adapter|battery pack|camera|tripod|microphone|projector|screwdriver|wrench/"
            "wrenches|pair of gloves/pairs of gloves|helmet|life jacket|anchor|oar|map|radio|padlock|folding chair|"
            "table|"
            "cup|plate|knife/knives|frying pan|kettle|teapot|towel|umbrella|raincoat|backpack|mirror|brush/brushes|"
            "broom|"
            "mop|fuse|light bulb|extension lead|clipboard|stapler|envelope|stamp|calculator|ruler|egg|onion|lemon|"
            "carrot|"
            "apple|tomato/tomatoes|potato/potatoes|loaf of bread/loaves of bread|bottle of wine/bottles of wine|"
            "jar of jam/jars of jam|tin of paint/tins of paint|sheet of glass/sheets of glass|bag of sand/bags of sand|"
            "box of nails/boxes of nails|roll of tape/rolls of tape|flag|banner|drum|violin|candle|basket|hose|"
            "wheelbarrow|"
            "rake|spade|watering can|flower pot|water filter|thermos flask|pocket mirror|fishing rod|net|spare tyre|"
            "jack|"
            "charger|laptop|tablet|monitor|keyboard|headset|router|safety vest|fire extinguisher|stretcher|crate"
        ).split("|")
    )
)

SIGNS = (
    "Please close {place} behind you",
    "Do not leave {item} in {place}",
    "{place} stays shut until {time}",
    "Ask {person} before you move the {item}",
    "No more than {number} people may use {place}",
    "All {item} must be returned by {day} evening",
    "Wash your hands before you enter {place}",
    "Call {person} if {place} is locked",
    "Never stack the {item} higher than {number} centimetres",
    "Switch off the lights in {place} after {time}",
    "Bring your own {item} on {day}",
    "Only {person} may open {place}",
    "Keep the {item} dry and out of the sun",
    "We meet in {place} every {day} at {time}",
    "Lost {item} are kept in {place} for {number} days",
    "Children under {number} need an adult in {place}",
    "Count the {item} twice and sign the list for {person}",
    "Leave the {item} where you found them",
    "The {item} are for guests, not for staff",
    "Deliveries after {time} go to {place}",
    "Mind the step when you carry {item} into {place}",
    "Today {place} belongs to {person}",
    "Smoking is forbidden in {place} and near the {item}",
    "Every {day} we clean {place} with great care",
)
PRAISED = (
    "bread|water|time|courage|music|light|wood|glass|home|work|trust|silence|speed|colour|salt|wind|honesty|coffee|play|"
    "patience|stone|friendship|rain|curiosity|steel|paper|sleep|leather|laughter|ink"
).split("|")
PRAISES = "honest|bright|bold|slow|simple|fresh|strong|gentle|clever|wild|quiet|warm|steady|brave|patient".split("|")
SLOGANS = (
    "{one} before {other}",
    "where {one} meets {other}",
    "{kind} {one} since {year}",
    "no {one} without {other}",
    "we give {one} a {kind} name",
    "more than {one}, less than {other}",
    "from {town} with {kind} hands",
    "{kind} people, {kind} answers",
    "because {one} is never enough",
    "you bring {one}, we bring {other}",
    "{one} for everyone, everywhere in {town}",
    "think of {one}, think of {town}",
    "a {kind} heart needs {one}",
    "tomorrow begins with {one}",
    "never too {kind} to care about {other}",
    "{one} today, {other} tomorrow",
    "one town, one team, plenty of {one}",
    "made by {kind} people who love {one}",
)
