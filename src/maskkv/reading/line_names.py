"""Names as they stand in files: accounts, machines, file names, secrets and versions."""

from random import Random

from maskkv.reading.values import Values

FOLDERS = tuple("etc opt srv tmp home data media mnt usr var backups releases storage shared".split())
FILE_WORDS = tuple(
    "report invoice backup archive users orders export import schema notes budget summary config catalog draft photo "
    "contract salary index session payroll stock roster manual audit survey ledger forecast inventory minutes "
    "timetable prices members events sales video scan letter map logo".split()
)
EXTENSIONS = tuple("csv json txt pdf log xml zip sql tar.gz png docx xlsx yaml db parquet html bak".split())
SERVICES = tuple(
    "db api-gateway worker cache auth mail web scheduler proxy storage queue search billing payments backup node "
    "ingest render build edge router sync report crawler login upload print-server file-server frontend catalog "
    "checkout inventory shipping notifier indexer replica broker vault monitor media-server".split()
)


def account(rng: Random) -> str:
    """Draw the name of a user's account."""
    first, last = Values(rng).first_name().lower(), Values(rng).surname().lower()
    return rng.choice((first + str(rng.randint(2, 99)), f"{first}.{last}", f"{first[0]}{last}", f"{last}_{first[0]}"))


def machine(rng: Random) -> str:
    """Draw the name of a host."""
    return f"{rng.choice(('db', 'mail', 'api', 'cdn', 'ldap', 'mx', 'gw'))}{rng.randint(1, 30)}.{Values(rng).host()}"


def file_name(rng: Random) -> str:
    """Draw the name of a file with its extension."""
    word = rng.choice(FILE_WORDS) if rng.random() < 0.7 else Values(rng).invented(2)
    mark = rng.choice(("", f"-{rng.randint(2, 99)}", f"_{rng.randint(2015, 2031)}", f"_{rng.choice(FILE_WORDS)}"))
    return f"{word}{mark}.{rng.choice(EXTENSIONS)}"


def folder(rng: Random) -> str:
    """Draw the path of a folder."""
    return f"/{rng.choice(FOLDERS)}/{rng.choice((Values(rng).invented(2), rng.choice(FILE_WORDS)))}"


def token(rng: Random) -> str:
    """Draw a secret of letters and digits."""
    return "".join(rng.choice("abcdefghkmnpqrstuvwxyz23456789") for _ in range(rng.choice((8, 10, 12, 16))))


def version(rng: Random) -> str:
    """Draw a version of two or three numbers."""
    return ".".join(str(rng.randint(0, 20)) for _ in range(rng.choice((2, 3, 3))))


def source(rng: Random) -> str:
    """Draw what writes to a log, such as `db-3`; some have names nobody has read before."""
    name = rng.choice(SERVICES) if rng.random() < 0.8 else Values(rng).invented(2)
    return f"{name}-{rng.randint(1, 24)}" if rng.random() < 0.75 else name
