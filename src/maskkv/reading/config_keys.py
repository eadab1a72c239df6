"""Settings as configuration files have them: names made of parts, and values that fit them."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from maskkv.reading import line_names as names
from maskkv.reading.values import Values

Value = str | int | float | bool


@dataclass(frozen=True)
class Family:
    """Settings with values of one kind: their names are one of the `patterns` with a word in its place."""

    patterns: tuple[str, ...]
    words: tuple[str, ...]
    draw: Callable[[Random], Value]


@dataclass(frozen=True)
class Setting:
    """One setting: the words of its name, such as ("max", "connections"), and its value."""

    words: tuple[str, ...]
    value: Value
    family: Family


def _seconds(rng: Random) -> Value:
    number = rng.choice((rng.randint(2, 99), rng.randint(1, 60) * 5, rng.randint(1, 120) * 30))
    return number if rng.random() < 0.6 else f"{number}{rng.choice(('s', 'ms', 'm', 'h'))}"


def _count(rng: Random) -> Value:
    return rng.choice((rng.randint(2, 99), rng.randint(1, 200) * 5, 2 ** rng.randint(3, 16), rng.randint(100, 9999)))


def _bytes(rng: Random) -> Value:
    number = rng.choice((rng.randint(2, 99), 2 ** rng.randint(4, 12), rng.randint(1, 40) * 25))
    return f"{number}{rng.choice(('MB', 'KB', 'GB', 'M', 'G', 'k', 'MiB'))}"


def _port(rng: Random) -> Value:
    return rng.choice((rng.randint(1024, 65535), rng.choice((80, 443, 25, 587, 5432, 3306, 6379, 8080, 9090, 27017))))


def _host(rng: Random) -> Value:
    return rng.choice((Values(rng).host(), names.machine(rng), Values(rng).ip_address()))


def _url(rng: Random) -> Value:
    page = rng.choice(("v1", "v2", "api", "hooks", "feed", "login", Values(rng).invented(2)))
    return f"https://{Values(rng).host()}/{page}"


def _label(rng: Random) -> Value:
    word = Values(rng).invented(rng.choice((2, 3)))
    return rng.choice((word, f"{word}-{rng.randint(1, 40)}", f"{word}-{Values(rng).invented(1)}"))


def _email(rng: Random) -> Value:
    return f"{names.account(rng)}@{Values(rng).host()}"


def _ratio(rng: Random) -> Value:
    return rng.choice((rng.randint(1, 99) / 100, rng.randint(11, 99) / 10, rng.randint(1, 99) / 1000))


def _clock(rng: Random) -> Value:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"


def _file(rng: Random) -> Value:
    return f"{names.folder(rng)}/{names.file_name(rng)}"


def _flag(rng: Random) -> Value:
    return rng.random() < 0.5


def _one_of(text: str) -> Callable[[Random], Value]:
    return lambda rng: rng.choice(text.split())


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FAMILIES = (
    Family(
        ("{} timeout", "{} interval", "{} delay", "{} ttl", "max {} age", "{} grace period", "{} timeout seconds"),
        _words(
            "connect read write request idle session lock query shutdown retry poll heartbeat refresh cache token "
            "flush sync login lease keepalive response upload download handshake job reload cleanup snapshot probe"
        ),
        _seconds,
    ),
    Family(
        ("max {}", "min {}", "{} limit", "initial {}", "max {} per user", "default {}"),
        _words(
            "connections workers retries threads clients requests redirects sessions jobs replicas shards attempts "
            "backups tabs rows users players guests tokens items streams files records events processes versions"
        ),
        _count,
    ),
    Family(
        ("{} size", "max {} size", "{} limit", "{} quota"),
        _words("pool queue batch buffer cache page chunk heap stack block log upload body memory disk packet window"),
        lambda rng: _bytes(rng) if rng.random() < 0.5 else _count(rng),
    ),
    Family(
        ("{} port", "{} listen port"),
        _words("http https smtp admin metrics grpc debug ssh database redis proxy health websocket imap syslog mqtt"),
        _port,
    ),
    Family(
        ("{} host", "{} server", "{} address"),
        _words("smtp database redis ldap proxy metrics backup primary replica mail bind dns ntp broker license print"),
        _host,
    ),
    Family(
        ("{} url", "{} endpoint", "{} base url"),
        _words("callback webhook api feed login logout avatar payment search docs update registry status image public"),
        _url,
    ),
    Family(
        ("{} dir", "{} path", "{} directory", "{} root"),
        _words("log data backup temp cache upload plugin template static output model media export home spool"),
        names.folder,
    ),
    Family(
        ("{} file", "{} file path"),
        _words("log pid cert key password config lock history state schema license socket rules seed dump"),
        _file,
    ),
    Family(
        ("{} user", "{} username", "{} owner", "{} account"),
        _words("admin database service smtp default backup deploy ftp guest root proxy test billing replication"),
        names.account,
    ),
    Family(
        ("{} email", "{} address", "{} recipient"),
        _words("admin support sender reply contact alert billing abuse owner report security newsletter"),
        _email,
    ),
    Family(
        ("{} key", "{} secret", "{} token", "{} password"),
        _words("api access client signing encryption webhook database session smtp deploy license master admin"),
        names.token,
    ),
    Family(
        ("{} level", "min {} level", "default {} level"),
        _words("log debug trace audit console message"),
        _one_of("info warning error fatal notice critical verbose quiet silent all none"),
    ),
    Family(
        ("{} compression", "{} codec", "{} encoding"),
        _words("log backup response snapshot image archive message stream export body column"),
        _one_of("gzip brotli zstd lz4 snappy deflate bzip2 utf-8 latin-1 base64 lzma utf-16 ascii"),
    ),
    Family(
        ("{} backend", "{} driver", "{} engine", "{} provider"),
        _words("cache session queue storage search mail lock metadata settings broker event"),
        _one_of("redis memcached sqlite postgres mysql rabbitmq kafka memory disk mongodb etcd consul mariadb s3"),
    ),
    Family(
        ("{} mode", "{} strategy", "{} policy", "default {} mode"),
        _words("retry eviction deploy sync restart backup access update scaling failover cleanup scheduling routing"),
        _one_of(
            "strict lenient fast safe manual automatic lazy eager round-robin least-loaded random sticky rolling "
            "recreate optional required hourly daily weekly monthly never always lru lfu fifo canary"
        ),
    ),
    Family(
        ("{} color", "{} theme", "{} style", "{} theme name"),
        _words("background accent border editor header button sidebar chart link terminal page cursor"),
        _one_of("blue green dark light solarized compact wide orange navy teal purple gray crimson ivory nord mono"),
    ),
    Family(
        ("{} environment", "{} stage", "{} target"),
        _words("app deploy build runtime default release node"),
        _one_of("production staging development testing preview sandbox nightly qa local demo"),
    ),
    Family(
        ("{} name", "{} id", "{} prefix", "{} label", "default {}"),
        _words(
            "bucket cluster project app queue topic index table database tenant group device schema channel branch "
            "instance dataset role site model"
        ),
        _label,
    ),
    Family(
        ("{} rate", "{} threshold", "{} ratio", "{} factor", "max {} rate", "{} weight"),
        _words("sample learning error dropout backoff scale growth load match alert decay discount tax fill jitter"),
        _ratio,
    ),
    Family(
        ("{} time", "{} start time", "{} hour"),
        _words("backup report cleanup restart maintenance opening closing sync digest reminder update"),
        _clock,
    ),
    Family(
        ("{} version", "min {} version", "required {} version"),
        _words("api client schema protocol python node tls image plugin chart firmware"),
        names.version,
    ),
    Family(
        ("{} timezone", "timezone", "{} zone"),
        _words("default server report display user backup billing office"),
        _one_of(
            "Europe/Vienna Europe/Oslo Asia/Tokyo America/Lima Africa/Nairobi Australia/Perth Europe/Lisbon Asia/Dubai "
            "America/Denver Pacific/Fiji Asia/Seoul Europe/Madrid America/Bogota Africa/Lagos Asia/Manila Europe/Rome"
        ),
    ),
    Family(
        ("{} region", "region", "primary {} region"),
        _words("default backup storage bucket replica failover database billing"),
        _one_of("eu-west-1 us-east-2 ap-south-1 eu-north-1 sa-east-1 us-west-2 ca-central-1 eu-central-1 me-south-1"),
    ),
    Family(
        ("{} locale", "locale", "{} language"),
        _words("default fallback site user mail report editor source target"),
        _one_of("de_DE en_GB fr_FR pt_BR ja_JP nl_NL sv_SE it_IT pl_PL es_MX ko_KR fi_FI da_DK tr_TR cs_CZ"),
    ),
    Family(
        ("{} currency", "currency"),
        _words("default invoice shop billing report display payout price"),
        _one_of("EUR USD CHF NOK JPY GBP CAD AUD SEK PLN INR BRL ZAR DKK CZK"),
    ),
    Family(
        ("enable {}", "{} enabled", "use {}", "allow {}", "disable {}"),
        _words(
            "debug tls ssl cache compression signup cors metrics tracing gzip autosave uploads registration backups "
            "logging proxy cookies notifications telemetry animations sync"
        ),
        _flag,
    ),
)
SCOPES = _words("db smtp app web api redis s3 worker mail auth billing search node job ftp ldap queue grafana shop crm")
SECTIONS = _words(
    "database server cache logging mail auth storage queue worker backup search api metrics security session uploads "
    "network proxy scheduler notifications payments frontend client cluster replication limits paths billing deploy "
    "monitoring editor display audio player training model printer sensor gateway"
)


def setting(rng: Random) -> Setting:
    """Draw a setting; some names start with what the setting is for, such as `smtp`."""
    family = rng.choice(FAMILIES)
    words = tuple(rng.choice(family.patterns).format(rng.choice(family.words)).split())
    if rng.random() < 0.15:
        words = (rng.choice(SCOPES), *words)
    return Setting(words, family.draw(rng), family)


def section(rng: Random) -> str:
    """Draw the name of a section, now and then a coined one."""
    return rng.choice(SECTIONS) if rng.random() < 0.85 else Values(rng).invented(2)
