"""Kinds of tables: what their rows are about, which columns they may have, and how else people ask for these."""

from maskkv.reading import line_names as names
from maskkv.reading import table_cells as cells
from maskkv.reading.table_cells import decimal, of, one_of, whole
from maskkv.reading.table_columns import Kind, column
from maskkv.reading.values import Values

MONEY = ("{}", "{}", "${}", "{} EUR", "€{}", "{} USD", "{} CHF")
COST = ("How much does {entity} cost?", "What does {entity} cost?", "How much is {entity}?")
KINDS = (
    Kind(
        ("Price list", "Stock", "Our products", "Order form"),
        ("product", "item", "article", "name"),
        cells.goods,
        "the {}",
        (
            column("price", decimal(1, 900, 2), *COST, forms=MONEY),
            column(
                "stock",
                whole(2, 3000),
                "How many pieces of {entity} are in stock?",
                "How large is the stock of {entity}?",
            ),
            column(
                "weight",
                decimal(0.2, 60, 1),
                "How heavy is {entity}?",
                "How much does {entity} weigh?",
                forms=("{} kg",),
            ),
            column("supplier", of(Values.company), "Who is the supplier of {entity}?", "Which supplier has {entity}?"),
            column("SKU", of(Values.serial)),
            column("shelf", cells.office, "On which shelf is {entity}?", "Which shelf holds {entity}?"),
        ),
    ),
    Kind(
        ("Staff", "Contacts", "Phone list", "Who is who"),
        ("name", "person", "employee", "member"),
        cells.person,
        "{}",
        (
            column("team", one_of(cells.TEAMS), "Which team is {entity} in?", "Which team does {entity} belong to?"),
            column("phone", cells.phone, "Which phone number does {entity} have?", "How can I phone {entity}?"),
            column("email", cells.email, "Which email address does {entity} have?", "How do I email {entity}?"),
            column("office", cells.office, "In which office is {entity}?", "Where is the office of {entity}?"),
            column("role", one_of(cells.ROLES), "Which role does {entity} have?", "In which role does {entity} work?"),
            column(
                "extension", whole(1000, 9999), "At which extension is {entity}?", "Which extension reaches {entity}?"
            ),
            column("start date", cells.day, "When did {entity} start?", "Since when has {entity} been here?"),
            column("birthday", cells.day, "When is the birthday of {entity}?", "When was {entity} born?"),
        ),
    ),
    Kind(
        ("Towns of the region", "Cities", "Municipalities"),
        ("city", "town", "place", "municipality"),
        of(Values.place),
        "{}",
        (
            column(
                "population", whole(900, 3_000_000), "How many people live in {entity}?", "How many live in {entity}?"
            ),
            column(
                "area", decimal(4, 900, 1), "How large is {entity}?", "How big is {entity}?", forms=("{}", "{} km2")
            ),
            column(
                "elevation", whole(12, 3200), "How high is {entity}?", "How high up is {entity}?", forms=("{}", "{} m")
            ),
            column("mayor", cells.person, "Who is the mayor of {entity}?", "Who is mayor in {entity}?"),
            column(
                "postcode", cells.postcode, "Which postcode does {entity} have?", "Which postcode belongs to {entity}?"
            ),
            column(
                "founding year", whole(801, 1990), "When was {entity} founded?", "In which year was {entity} founded?"
            ),
        ),
    ),
    Kind(
        ("Measurements", "Readings of the day", "Results"),
        ("sensor", "site", "point", "station"),
        cells.sensor,
        "{}",
        (
            column(
                "temperature",
                decimal(1, 90, 1),
                "How warm was {entity}?",
                "How hot was {entity}?",
                forms=("{}", "{} C"),
            ),
            column(
                "humidity",
                whole(11, 99),
                "How humid was it at {entity}?",
                "How wet was it at {entity}?",
                forms=("{} %",),
            ),
            column("pressure", whole(940, 1060), forms=("{}", "{} hPa")),
            column(
                "wind speed", decimal(1, 40, 1), "How windy was it at {entity}?", "How strong was the wind at {entity}?"
            ),
            column(
                "depth", decimal(1, 300, 1), "How deep is {entity}?", "How far down is {entity}?", forms=("{}", "{} m")
            ),
            column("pH", decimal(3, 10, 2)),
            column("voltage", decimal(1, 48, 2), forms=("{}", "{} V")),
            column("reading time", cells.clock, "When was {entity} read?", "At what time was {entity} read?"),
        ),
    ),
    Kind(
        ("Open invoices", "Invoices", "Payments"),
        ("invoice", "number", "invoice number"),
        cells.invoice,
        "invoice {}",
        (
            column("amount", decimal(20, 9000, 2), "How much is {entity}?", "How large is {entity}?", forms=MONEY),
            column("customer", of(Values.company), "Who is the customer of {entity}?", "Which customer got {entity}?"),
            column("due date", cells.day, "When is {entity} due?", "By when is {entity} due?"),
            column("contact", cells.person, "Who is the contact for {entity}?", "Whom do I contact about {entity}?"),
            column("payment date", cells.day, "When was {entity} paid?", "On which day was {entity} paid?"),
        ),
    ),
    Kind(
        ("Timetable", "Departures", "Trains today"),
        ("train", "line", "connection"),
        cells.train,
        "{}",
        (
            column("departure", cells.clock, "When is the departure of {entity}?", "At what time does {entity} leave?"),
            column("arrival", cells.clock, "When is the arrival of {entity}?", "At what time does {entity} come in?"),
            column(
                "platform", cells.platform, "From which platform does {entity} go?", "At which platform is {entity}?"
            ),
            column("destination", of(Values.place), "Where does {entity} go?", "Where is {entity} headed?"),
            column("driver", cells.person, "Who is the driver of {entity}?", "Who drives {entity}?"),
        ),
    ),
    Kind(
        ("Library", "Reading list", "New books"),
        ("title", "book"),
        cells.title,
        "{}",
        (
            column("author", cells.person, "Who is the author of {entity}?", "Who wrote {entity}?"),
            column("year", whole(1850, 2030), "In which year did {entity} come out?", "From which year is {entity}?"),
            column(
                "page count", whole(60, 990), "How many pages does {entity} have?", "How many pages are in {entity}?"
            ),
            column(
                "shelf mark",
                of(Values.serial),
                "Under which shelf mark is {entity}?",
                "Which shelf mark does {entity} have?",
            ),
            column("borrower", cells.person, "Who is the borrower of {entity}?", "Who has borrowed {entity}?"),
        ),
    ),
    Kind(
        ("Rooms", "Bookings", "Room plan"),
        ("room", "space"),
        cells.room,
        "{}",
        (
            column("capacity", whole(4, 400), "How many people fit in {entity}?", "How many seats does {entity} have?"),
            column("organiser", cells.person, "Who is the organiser in {entity}?", "By whom is {entity} booked?"),
            column("start time", cells.clock, "At what time does {entity} start?", "From what time is {entity} taken?"),
            column(
                "door code",
                whole(1000, 9999),
                "Which door code opens {entity}?",
                "With which door code can I enter {entity}?",
            ),
            column(
                "event", one_of(cells.SUBJECTS), "Which event is in {entity}?", "What event takes place in {entity}?"
            ),
        ),
    ),
    Kind(
        ("Courses", "Evening classes", "Course plan"),
        ("course", "class"),
        cells.course,
        "{}",
        (
            column("teacher", cells.person, "Who is the teacher of {entity}?", "Who teaches {entity}?"),
            column("room", cells.office, "In which room is {entity}?", "Which room does {entity} use?"),
            column("start time", cells.clock, "When does {entity} start?", "At what time does {entity} begin?"),
            column(
                "class size",
                whole(5, 180),
                "How many students are in {entity}?",
                "How many students does {entity} have?",
            ),
            column(
                "fee",
                decimal(10, 600, 2),
                "How high is the fee for {entity}?",
                "Which fee is due for {entity}?",
                forms=MONEY,
            ),
        ),
    ),
    Kind(
        ("Machines", "Servers", "Inventory"),
        ("host", "server", "machine"),
        names.source,
        "{}",
        (
            column("IP", of(Values.ip_address), "Which IP does {entity} have?", "Under which IP can I reach {entity}?"),
            column("owner", cells.person, "Who is the owner of {entity}?", "Who owns {entity}?"),
            column(
                "memory",
                whole(2, 900),
                "How much memory does {entity} have?",
                "How much memory is in {entity}?",
                forms=("{} GB",),
            ),
            column("serial number", of(Values.serial)),
            column("port", whole(1024, 65535), "Which port does {entity} use?", "On which port is {entity}?"),
            column("version", names.version, "Which version runs on {entity}?", "On which version is {entity}?"),
        ),
    ),
    Kind(
        ("Nutrition", "Shopping", "Larder"),
        ("food", "ingredient", "item"),
        one_of(cells.FOODS),
        "{}",
        (
            column(
                "amount",
                whole(5, 2000),
                "How much of the {entity} is there?",
                "How much of the {entity} do we have?",
                forms=("{} g", "{} ml"),
            ),
            column(
                "calorie count",
                whole(11, 900),
                "How many calories are in {entity}?",
                "How many calories come with {entity}?",
            ),
            column(
                "protein",
                decimal(0.2, 50, 1),
                "How much protein is in {entity}?",
                "How much protein comes from {entity}?",
            ),
            column("price", decimal(0.4, 40, 2), forms=MONEY),
            column("expiry date", cells.day),
        ),
    ),
    Kind(
        ("Open tasks", "Tickets", "To do"),
        ("task", "ticket", "id"),
        cells.task,
        "{}",
        (
            column("assignee", cells.person, "Who is the assignee of {entity}?", "To whom is {entity} assigned?"),
            column("due date", cells.day, "When is {entity} due?", "By when is {entity} due?"),
            column(
                "estimate",
                decimal(0.5, 80, 1),
                "How many hours does {entity} take?",
                "How many hours went into {entity}?",
            ),
            column("reporter", cells.person, "Who is the reporter of {entity}?", "Who reported {entity}?"),
            column("team", one_of(cells.TEAMS), "Which team has {entity}?", "Which team works on {entity}?"),
        ),
    ),
    Kind(
        ("Zoo", "Wildlife count", "Animals seen"),
        ("animal", "species"),
        one_of(cells.ANIMALS),
        "the {}",
        (
            column(
                "population",
                whole(2, 900),
                "How large is the population of {entity}?",
                "How many of {entity} were seen?",
            ),
            column(
                "weight",
                decimal(0.3, 700, 1),
                "How heavy is {entity}?",
                "How much does {entity} weigh?",
                forms=("{} kg",),
            ),
            column("keeper", cells.person, "Who is the keeper of {entity}?", "Who looks after {entity}?"),
            column(
                "first sighting",
                cells.day,
                "When was the first sighting of {entity}?",
                "When did somebody first see {entity}?",
            ),
            column("feeding time", cells.clock, "When is {entity} fed?", "At what time is {entity} fed?"),
        ),
    ),
)
