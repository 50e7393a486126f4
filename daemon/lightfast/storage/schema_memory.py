"""Tables of the memory hierarchy, added by format 2: one text per room."""

from __future__ import annotations

SCENES = """
CREATE TABLE scenes(id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL,
  UNIQUE(name, version));
CREATE TABLE scene_blocks(id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, block INTEGER NOT NULL,
  body BLOB NOT NULL, UNIQUE(name, version, block));
CREATE TABLE scene_assets(name TEXT NOT NULL, version INTEGER NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY(name, version, sha256)) WITHOUT ROWID;
CREATE TABLE scene_moves(row INTEGER PRIMARY KEY, revision INTEGER NOT NULL, source TEXT NOT NULL,
  target TEXT NOT NULL, object TEXT NOT NULL);
CREATE INDEX scene_moves_revision ON scene_moves(revision);
CREATE TRIGGER sink_move INSTEAD OF INSERT ON sink WHEN NEW.t <= 1 AND NEW.kind = 2 BEGIN
  INSERT INTO scene_moves VALUES(NEW.row, NEW.revision, NEW.source, NEW.path,
    coalesce(json_extract(NEW.entry, '$[7].object'), ''));
END;
"""
MEMORY = """
CREATE TABLE memory_items(
  item INTEGER PRIMARY KEY, item_id TEXT NOT NULL UNIQUE, form INTEGER NOT NULL, identity BLOB NOT NULL UNIQUE,
  key TEXT NOT NULL, key_form TEXT NOT NULL, subject TEXT NOT NULL, predicate TEXT NOT NULL, object TEXT NOT NULL,
  changed INTEGER NOT NULL, frame TEXT NOT NULL, until INTEGER NOT NULL);
CREATE UNIQUE INDEX memory_items_key ON memory_items(key) WHERE key <> '';
CREATE INDEX memory_items_key_form ON memory_items(key_form) WHERE key_form <> '';
CREATE INDEX memory_items_subject ON memory_items(subject, changed) WHERE form = 1;
CREATE INDEX memory_items_predicate ON memory_items(subject, predicate, until) WHERE form = 1;
CREATE INDEX memory_items_object ON memory_items(object, changed) WHERE form = 1;
CREATE INDEX memory_items_frame ON memory_items(frame) WHERE frame <> '';

CREATE TABLE memory_wordings(
  wording INTEGER PRIMARY KEY, item INTEGER NOT NULL, text TEXT NOT NULL, tags TEXT NOT NULL, words INTEGER NOT NULL);
CREATE INDEX memory_wordings_item ON memory_wordings(item);
CREATE TABLE memory_tags(tag TEXT NOT NULL, wording INTEGER NOT NULL, PRIMARY KEY(tag, wording)) WITHOUT ROWID;
CREATE VIRTUAL TABLE memory_words USING fts5(
  text, tags, content='', contentless_delete=1, tokenize='porter unicode61 remove_diacritics 2');

CREATE TABLE memory_versions(
  row INTEGER PRIMARY KEY, item INTEGER NOT NULL, version INTEGER NOT NULL, wording INTEGER NOT NULL,
  kind INTEGER NOT NULL, strength REAL NOT NULL, confidence REAL NOT NULL, source TEXT NOT NULL, origin TEXT NOT NULL,
  metadata TEXT NOT NULL, valid_from INTEGER NOT NULL, valid_to INTEGER NOT NULL, record_time INTEGER NOT NULL,
  superseded_time INTEGER NOT NULL, revision INTEGER NOT NULL, closed_by TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX memory_versions_item ON memory_versions(item, superseded_time, valid_to);
CREATE INDEX memory_versions_number ON memory_versions(item, version);
CREATE INDEX memory_versions_wording
  ON memory_versions(wording, superseded_time, record_time, valid_from, valid_to, kind);
CREATE INDEX memory_versions_record ON memory_versions(record_time);

CREATE TABLE memory_vectors(
  wording INTEGER NOT NULL, embedder TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY(wording, embedder)) WITHOUT ROWID;

CREATE TABLE events(
  event INTEGER PRIMARY KEY, event_type TEXT NOT NULL, entity_type TEXT NOT NULL, entity_id TEXT NOT NULL,
  payload TEXT NOT NULL, create_time INTEGER NOT NULL, process_time INTEGER);
CREATE INDEX events_entity ON events(entity_type, entity_id);
CREATE INDEX events_unprocessed ON events(event) WHERE process_time IS NULL;
"""
"""Facts, notes and relations, and the news of them.

The source's table `memory` names them thus: `key` and `metadata` as here; `value` is `text`, `category` is the tags,
`memory_type` is `kind`, `significance` is `strength`; `version`, `valid_from`, `valid_to` as here, `created_at` is
`record_time`. Its one row for each version could not say when the daemon learned that something had ended: here a
statement (`version`) has a row for each state of what was known of it, from `record_time` to `superseded_time`.
`events` is its outbox of the same name; `created_at` and `processed_at` are `create_time` and `process_time`.
Times are ns since 1970; without an end, 2^63 - 1. `form`: 0 a memory, 1 a relation. `frame`: where it was archived;
`until`: the end of what is known of it; `changed`: its newest row.
"""
TIERS = """
CREATE INDEX history_event ON history(path, event_time);
CREATE INDEX history_moves ON history(path, source) WHERE kind = 2;

CREATE TABLE blocks(
  first INTEGER PRIMARY KEY, last INTEGER NOT NULL, frame TEXT NOT NULL UNIQUE, serial INTEGER NOT NULL,
  first_revision INTEGER NOT NULL, last_revision INTEGER NOT NULL,
  first_time INTEGER NOT NULL, last_time INTEGER NOT NULL,
  first_event INTEGER NOT NULL, last_event INTEGER NOT NULL,
  low_cause INTEGER NOT NULL, high_cause INTEGER NOT NULL,
  rows INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE INDEX blocks_revision ON blocks(last_revision) WHERE last_revision > 0;
CREATE INDEX blocks_time ON blocks(first_time) WHERE last_revision > 0;

CREATE TABLE block_paths(
  path TEXT NOT NULL, block INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  rows INTEGER NOT NULL, kind INTEGER NOT NULL, first_event INTEGER NOT NULL, last_event INTEGER NOT NULL,
  PRIMARY KEY(path, block)) WITHOUT ROWID;
CREATE TABLE block_moves(
  path TEXT NOT NULL, row INTEGER NOT NULL, source TEXT NOT NULL, PRIMARY KEY(path, row)) WITHOUT ROWID;
CREATE TABLE block_names(name TEXT NOT NULL, block INTEGER NOT NULL, PRIMARY KEY(name, block)) WITHOUT ROWID;
CREATE TABLE block_undos(revision INTEGER PRIMARY KEY, undone TEXT NOT NULL);
CREATE TABLE block_work(token TEXT PRIMARY KEY, after_number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE block_waste(frame TEXT PRIMARY KEY) WITHOUT ROWID;
"""
UPKEEP = """
CREATE TABLE purges(purge_id TEXT PRIMARY KEY, state TEXT NOT NULL, create_time INTEGER NOT NULL,
  end_time INTEGER NOT NULL, origin TEXT NOT NULL, reason TEXT NOT NULL, removed TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE purge_work(id INTEGER PRIMARY KEY, purge_id TEXT NOT NULL, room TEXT NOT NULL, items TEXT NOT NULL);
CREATE TABLE backups(path TEXT PRIMARY KEY, create_time INTEGER NOT NULL, bytes INTEGER NOT NULL,
  revision INTEGER NOT NULL, store_id TEXT NOT NULL) WITHOUT ROWID;
ALTER TABLE assets ADD COLUMN use_time INTEGER NOT NULL DEFAULT 0;
CREATE TABLE asset_refs(sha256 TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY(sha256, source)) WITHOUT ROWID;
CREATE INDEX asset_refs_source ON asset_refs(source);
CREATE TABLE asset_scans(source TEXT PRIMARY KEY, mark INTEGER NOT NULL) WITHOUT ROWID;
"""
"""What was purged: the tombstones, and of a purge under way what is still to go, by numbers and ids alone (see
`context/upkeep/purge.py`). What was backed up, and where to. Which frames of
the archive refer to which assets, as far as they were looked at (see `context/upkeep/references.py`). Times are ns
since 1970."""

CACHE = """
ALTER TABLE live ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE live ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE live ADD COLUMN cool INTEGER NOT NULL DEFAULT 0;
UPDATE live SET (revision, size, cool) = (SELECT h.revision, octet_length(h.entry), CASE
    WHEN h.entry ->> '$[7].signal' IS NOT NULL OR h.entry ->> '$[7].lease' IS NOT NULL THEN 0
    WHEN h.entry ->> '$[7].status' IS NULL THEN 1 WHEN h.entry ->> '$[7].status' = 'STALE' THEN 2 ELSE 0 END
  FROM history h WHERE h.row = live.row);
DROP TRIGGER sink_event;
CREATE TRIGGER sink_event INSTEAD OF INSERT ON sink WHEN NEW.t <= 1 BEGIN
  INSERT INTO history VALUES(NEW.row, NEW.revision, NEW.path, NEW.kind, NEW.source, NEW.event_time,
    NEW.entry);
  INSERT INTO live SELECT NEW.path, NEW.row, NEW.revision, octet_length(NEW.entry), NEW.live >> 2
    WHERE NEW.live & 1
    ON CONFLICT(path) DO UPDATE SET row = excluded.row, revision = excluded.revision, size = excluded.size,
    cool = excluded.cool;
  DELETE FROM live WHERE NEW.live = 2 AND path = NEW.path;
END;
"""
"""What the start needs to know of a live entry without reading it: who wrote it, how long its text is, and whether
its values may be left on the disk: 0 never, 1 where they are large, 2 in any case. A row of `sink` says so in the
bits of `live` from the third on: 1, 5 or 9; 2 takes the entry away."""

MEDIA = """
CREATE TABLE asset_media(sha256 TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER asset_media_gone AFTER DELETE ON assets BEGIN
  DELETE FROM asset_media WHERE sha256 = OLD.sha256;
END;
"""

FORMAT_2 = SCENES + MEMORY + TIERS + UPKEEP + CACHE + MEDIA
