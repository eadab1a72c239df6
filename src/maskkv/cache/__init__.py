"""What is remembered between steps: nothing, or the kept prompt pairs and the response's features."""

from maskkv.cache.block_copies import BlockCopies
from maskkv.cache.evicting import EvictingCache
from maskkv.cache.extent import Extent, Refresh
from maskkv.cache.importance import ImportanceProbe, measure_importance
from maskkv.cache.packed import PackedCache
from maskkv.cache.plain import NoCache
from maskkv.cache.prefix import NotHeldError, Prefix, Resumed
from maskkv.cache.separate import SeparateSequences
from maskkv.cache.shared import SharedRefresh
from maskkv.cache.tier import OnRecall, Tiers
from maskkv.cache.watching import WatchingCache

__all__ = [
    "BlockCopies",
    "EvictingCache",
    "Extent",
    "ImportanceProbe",
    "NoCache",
    "NotHeldError",
    "OnRecall",
    "PackedCache",
    "Prefix",
    "Refresh",
    "Resumed",
    "SeparateSequences",
    "SharedRefresh",
    "Tiers",
    "WatchingCache",
    "measure_importance",
]
