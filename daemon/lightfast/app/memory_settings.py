"""The settings of the memory hierarchy. The help texts here are the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightfast.core.config import parse_size, setting


def one_writer(value: Any) -> int:
    """Check the number of writing threads."""
    if value != 1:
        raise ValueError("1: more writing threads would corrupt the archive")
    return 1


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The active context, in memory."""

    size: int = setting(
        "256 MiB", "The most that values outside living applications may take in memory.", check=parse_size
    )
    prefetch: bool = setting(True, "Whether what is likely to be read next is read ahead.")
    history: int = setting(
        "32 MiB",
        "The most that decoded history may take in memory; results of reads may take half as much again.",
        check=parse_size,
    )


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """Who goes first."""

    target_ms: float = setting(
        1.0,
        "Background work is held back, and signals are conflated, while the event loop is later than so many "
        "milliseconds. Background work is held back, too, while interactive calls come in its midst.",
        minimum=0.1,
    )
    floor: float = setting(
        0.1, "The share of the time that background work gets all the same; from 0.01 to 1.", minimum=0.01
    )


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """The historical context, in SQLite."""

    keep_days: float = setting(
        30.0, "History older than so many days moves to the archive; it stays readable by the same calls.", minimum=0.0
    )
    quota: int = setting("2 GiB", "With more history than this, older history moves sooner.", check=parse_size)


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """The archive; the defaults are those of the source's configuration."""

    frame_cache_size: int = setting(1000, "How many frames are kept in memory.", minimum=1)
    chunk_cache_size: int = setting(100, "How many chunks are kept in memory.", minimum=1)
    search_cache_size: int = setting(100, "How many searches are kept in memory.", minimum=1)
    search_cache_ttl: int = setting(300, "How long a search is kept, in seconds.", minimum=1)
    embedding_cache_size: int = setting(10_000, "How many embeddings are kept in memory.", minimum=1)
    pattern_cache_size: int = setting(50, "How many discovered patterns are kept in memory.", minimum=1)
    pattern_cache_ttl: int = setting(600, "How long a pattern is kept, in seconds.", minimum=1)
    batch_threshold: int = setting(5, "A chunk is built after so many new frames.", minimum=1)
    max_queue_size: int = setting(20, "A chunk is built at once when so many frames wait.", minimum=1)
    frames_per_chunk: int = setting(50, "How many frames make a chunk.", minimum=1)
    worker_threads: int = setting(
        1, "How many threads write: one, for more would corrupt it.", minimum=1, check=one_writer
    )
    significance: bool = setting(True, "Whether frames are scored, for searches and the collector.")
    significance_model: str = setting(
        "", "Which text model scores them, as provider/model; it is sent the frames. Without one, text statistics do."
    )
    significance_ranks: bool = setting(False, "Whether significance weighs in searches by relevance.")
    emergence: bool = setting(True, "Whether clusters of frames and relations between them are looked for.")
    quota: int = setting(
        "100 GiB", "The most it may take on the disk; then nothing more moves there.", check=parse_size
    )


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """Facts, notes and relations."""

    embedder: str = setting(
        "trigram",
        "Which embedder finds what means the same: trigram, or one that a plugin brings. The model of an AI service, "
        "such as openai/text-embedding-3-small, finds more; everything that is remembered, and every question, is then "
        "sent to that service, and costs what it charges.",
    )
    servers: tuple[str, ...] = setting(
        (),
        'The mounts of MCP memory servers, such as ["/graph"]: jobs of the type memory_sync copy from and to them; '
        "our own memory is called embedded there.",
    )


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """The collector."""

    enabled: bool = setting(True, "Whether it runs by itself.")
    interval_s: float = setting(600.0, "How often it runs, in seconds.", minimum=1.0)
    time_budget_s: float = setting(5.0, "The most one run may take, in seconds.", minimum=0.1)
    byte_budget: int = setting("256 MiB", "The most one run may move or delete.", check=parse_size)
    asset_days: float = setting(
        30.0, "Assets that nothing refers to go when nobody asked for them for so many days; 0: never.", minimum=0.0
    )
    memory_days: float = setting(
        180.0, "Memories that matter little move to the archive when untouched for so many days; 0: never.", minimum=0.0
    )
    memory_strength: float = setting(0.3, "Strength times confidence below which a memory matters little.", minimum=0.0)
    operation_days: float = setting(
        90.0, "Generations are listed for so many days; what they made stays. 0: for ever.", minimum=0.0
    )
    frame_days: float = setting(
        0.0, "Frames of the archive that matter little are deleted after so many days; 0: never.", minimum=0.0
    )
    frame_significance: float = setting(0.3, "The significance below which a frame matters little.", minimum=0.0)


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Backups."""

    keep: int = setting(10, "How many backups in the daemon's own folder are kept; older ones are deleted.", minimum=1)
