"""What people and companies do in sentences of who, when and where: verbs with what they are done to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """A verb in three forms ("wrote", "written", "write") and what it is done to.

    `by` says who does it: "person", "company" or "either".
    """

    past: str
    participle: str
    base: str
    objects: tuple[str, ...]
    by: str


def _verbs(by: str, table: str) -> tuple[Verb, ...]:
    verbs = []
    for line in table.strip().splitlines():
        forms, _, objects = line.strip().partition(": ")
        past, *others = forms.split("/")
        participle, base = others if len(others) == 2 else (past, others[0])
        verbs.append(Verb(past, participle, base, tuple(objects.split("|")), by))
    return tuple(verbs)


VERBS = (
    *_verbs(
        "person",
        """
        signed/sign: lease|loan|city charter|contract|treaty|petition|death certificate|delivery note
        painted/paint: portrait|mural|altar panel|fence|stage set
        chaired/chair: meeting|hearing|jury|committee session
        taught/teach: pottery course|first-aid class|evening class|dance course
        won/win: chess final|regatta|poetry prize|spelling contest|bicycle race
        lost/lose: ring|suitcase|passport|wager|key to the safe
        found/find: wallet|gold coin|fossil|missing letter|stray dog
        caught/catch: thief|giant pike|runaway horse
        led/lead: expedition|walking tour|rescue team|inquiry|choir rehearsal
        repaired/repair: clock|roof|violin|pump|church organ
        photographed/photograph: comet|eclipse|wedding|rare orchid
        translated/translate: novel|speech|love letters|court ruling
        edited/edit: diary|report|novel|magazine|documentary|interview|anthology
        composed/compose: symphony|anthem|lullaby|film score
        conducted/conduct: orchestra|interview|experiment|survey
        baked/bake: wedding cake|rye loaf|birthday cake
        cooked/cook: banquet|farewell dinner|goulash
        planted/plant: cherry tree|oak|hedge|vineyard
        rescued/rescue: climbers|kitten|fishing crew|seal pup
        buried/bury: time capsule|treasure chest|old bell
        interviewed/interview: minister|witness|goalkeeper|last survivor
        examined/examine: skeleton|patient|manuscript|crime scene
        diagnosed/diagnose: rare illness|broken wrist|first case
        wrote/written/write: report|libretto|farewell letter|field guide|ballad
        drew/drawn/draw: floor plan|map|comic strip|caricature
        chose/chosen/choose: winning design|new logo|menu
        broke/broken/break: long-jump record|mirror|window
        stole/stolen/steal: necklace|painting|bicycle
        gave/given/give: opening speech|lecture|toast
        read/read: will|poem|list of the dead
        carried/carry: torch|coffin|banner
        discovered/discover: cave|beetle species|lost city|leak|tomb
        described/describe: accident|new fern|excavation
        delivered/deliver: keynote|eulogy|ransom note|verdict
        refereed/referee: cup final|boxing match|hockey game
        reported/report: fire|break-in|oil spill|bright meteor
        recorded/record: birdsong|album|last testimony
        proposed/propose: amendment|new timetable|merger|lasting truce
        climbed/climb: church tower|north face|volcano
        adopted/adopt: puppy|three-legged cat|twins
        invented/invent: folding boat|card game|ink pump
        commanded/command: garrison|icebreaker|night watch
        defended/defend: thesis|accused baker|bridge
        drove/driven/drive: milk van|getaway car|first tram
        knitted/knit: red jumper|giant scarf
        judged/judge: dog show|baking contest|essay prize
        """,
    ),
    *_verbs(
        "company",
        """
        supplied/supply: windows|steel beams|lab coats|school desks
        insured/insure: cargo|racehorse|painting collection
        manufactured/manufacture: brake pads|vaccine|ferry engines
        launched/launch: satellite|new app|electric scooter|perfume
        recalled/recall: toasters|baby food|car seats
        printed/print: banknotes|posters|ballot papers|atlas
        demolished/demolish: old mill|grandstand|water tower
        installed/install: lift|solar panels|fire alarm|telescope
        acquired/acquire: brewery|rival firm|patent|newspaper
        leased/lease: office tower|cargo ship|test track
        catered/cater: gala dinner|staff party
        transported/transport: statue|reactor core|elephants
        """,
    ),
    *_verbs(
        "either",
        """
        opened/open: museum|bakery|sealed envelope|exhibition|clinic
        founded/found: hospital|orphanage|newspaper|yoga school
        built/build: bridge|lighthouse|wooden boat|observatory|organ
        bought/buy: portrait|piano|diary|farm|racehorse|theatre|rare stamp
        sold/sell: portrait|farm|brewery|theatre|diary|island|manuscript|vineyard|fishing boat
        designed/design: museum|lighthouse|chapel|library|stamp|medal|garden|uniform
        organised/organise: festival|wedding|concert|conference|gala dinner|food drive|protest march|auction
        restored/restore: mural|portrait|lighthouse|chapel|piano|fresco|steam engine|fountain|castle
        published/publish: diary|pamphlet|city guide|interview
        inspected/inspect: lift|fire alarm|roof|bridge|museum|dam|kitchen|gas main|lifeboat
        tested/test: lift|fire alarm|church organ|pump|parachute|brakes|new vaccine|rocket engine
        donated/donate: piano|blood bank van|manuscript|playground
        cancelled/cancel: concert|lease|conference|wedding|contract|boat trip|strike
        announced/announce: merger|new timetable|result|strike|winner|closure of the plant
        approved/approve: merger|new timetable|city charter|budget|building plan|trial|loan
        rejected/reject: loan|petition|appeal|offer|complaint|grant request
        hosted/host: conference|wedding|concert|congress|quiz night|peace talks|reception
        sponsored/sponsor: orchestra|youth team|expedition|book fair
        renovated/renovate: chapel|swimming pool|town hall
        examined/examine: report|lost letter|black box|accounts|soil samples
        produced/produce: musical|radio play|first batch|documentary
        ordered/order: statue|church bells|new uniforms
        held/hold: press conference|memorial service|annual meeting
        closed/close: harbour|mine|investigation|bank account
        moved/move: statue|archive|lighthouse lamp
        """,
    ),
)

SCENES = (
    "town hall|north barn|old harbour|city library|railway station|school gym|botanical garden|village church|"
    "open-air theatre|main square|university|county court|fish market|youth hostel|lighthouse|summer camp|"
    "cultural centre|"
    "museum cellar|grand hotel|ferry terminal|hospital chapel|community centre|sports ground|castle courtyard|old mill"
).split("|")
QUALIFIERS = "second|new|original|final|famous|last|first|old|northern|southern|royal|secret|municipal|smaller|larger"
QUALIFIED = tuple(QUALIFIERS.split("|"))
ROLES = (
    "baker|painter|nurse|lawyer|geologist|farmer|pilot|teacher|sculptor|student|sailor|singer|mayor|engineer|tailor|"
    "historian|gardener|chemist|novelist|carpenter|goalkeeper|postman|librarian|potter|beekeeper|locksmith|actor"
).split("|")
REMARKS = (
    "in front of a large crowd|after a long delay|without any help|for the second time|despite the rain|in great haste|"
    "with the help of two friends|to everyone's surprise|after weeks of talks|under police protection|"
    "as planned|at the last moment|in complete silence|after a heated debate|free of charge"
).split("|")
SHARED = tuple(
    each
    for each in sorted({each for verb in VERBS for each in verb.objects})
    if sum(each in verb.objects for verb in VERBS) > 1
)
"""What more than one verb is done to."""
