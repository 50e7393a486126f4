"""Tables of the gateway, added by format 3: one text per room."""

from __future__ import annotations

OPERATIONS = """
ALTER TABLE operations ADD COLUMN state TEXT NOT NULL DEFAULT '';
ALTER TABLE operations ADD COLUMN project TEXT NOT NULL DEFAULT '';
UPDATE operations SET state = body ->> '$.state';
CREATE INDEX operations_time ON operations(create_time);
CREATE INDEX operations_running ON operations(create_time) WHERE state = 'RUNNING';
"""
SESSIONS = """
CREATE TABLE limit_use(
    meter TEXT NOT NULL,
    slot INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY(meter, slot)
) STRICT, WITHOUT ROWID;
"""
COSTS = """
CREATE TABLE cost_budgets(scope TEXT NOT NULL, name TEXT NOT NULL, period TEXT NOT NULL, nano INTEGER NOT NULL,
  PRIMARY KEY(scope, name, period)) WITHOUT ROWID;
CREATE TABLE cost_holds(hold_id TEXT PRIMARY KEY, operation_id TEXT NOT NULL, nano INTEGER NOT NULL,
  create_time INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cost_marks(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE cost_ledger(
  id INTEGER PRIMARY KEY, time INTEGER NOT NULL, operation_id TEXT NOT NULL, provider TEXT NOT NULL,
  model TEXT NOT NULL, account TEXT NOT NULL, project TEXT NOT NULL, client TEXT NOT NULL, run TEXT NOT NULL,
  basis TEXT NOT NULL,
  requests INTEGER NOT NULL, failures INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
  audio_input_tokens INTEGER NOT NULL, audio_output_tokens INTEGER NOT NULL, image_input_tokens INTEGER NOT NULL,
  image_output_tokens INTEGER NOT NULL, characters INTEGER NOT NULL, seconds REAL NOT NULL, images INTEGER NOT NULL,
  credits REAL NOT NULL, nano INTEGER NOT NULL, saved INTEGER NOT NULL);
CREATE INDEX cost_ledger_time ON cost_ledger(time);
CREATE TABLE cost_days(
  day INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, project TEXT NOT NULL, client TEXT NOT NULL,
  requests INTEGER NOT NULL, failures INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
  audio_input_tokens INTEGER NOT NULL, audio_output_tokens INTEGER NOT NULL, image_input_tokens INTEGER NOT NULL,
  image_output_tokens INTEGER NOT NULL, characters INTEGER NOT NULL, seconds REAL NOT NULL, images INTEGER NOT NULL,
  credits REAL NOT NULL, nano INTEGER NOT NULL, saved INTEGER NOT NULL,
  PRIMARY KEY(day, project, client, model, provider)) WITHOUT ROWID;
CREATE TABLE cost_runs(
  run TEXT NOT NULL, day INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, project TEXT NOT NULL,
  client TEXT NOT NULL,
  requests INTEGER NOT NULL, failures INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
  audio_input_tokens INTEGER NOT NULL, audio_output_tokens INTEGER NOT NULL, image_input_tokens INTEGER NOT NULL,
  image_output_tokens INTEGER NOT NULL, characters INTEGER NOT NULL, seconds REAL NOT NULL, images INTEGER NOT NULL,
  credits REAL NOT NULL, nano INTEGER NOT NULL, saved INTEGER NOT NULL,
  PRIMARY KEY(run, day, project, client, model, provider)) WITHOUT ROWID;
CREATE INDEX cost_runs_day ON cost_runs(day);
CREATE TABLE failures(id INTEGER PRIMARY KEY, time INTEGER NOT NULL, operation_id TEXT NOT NULL,
  provider TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX failures_operation ON failures(operation_id) WHERE operation_id <> '';
CREATE INDEX failures_provider ON failures(provider);
"""
"""Budgets, what is held, what was used: see `gateway/cost/ledger.py`. Money (`nano`, `saved`) in nano-dollars."""
ANSWERS = """
CREATE TABLE kept_answers(
  row INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, meaning TEXT NOT NULL, model TEXT NOT NULL,
  size INTEGER NOT NULL, create_time INTEGER NOT NULL, use_time INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX kept_answers_meaning ON kept_answers(meaning) WHERE meaning <> '';
CREATE INDEX kept_answers_use ON kept_answers(use_time);
CREATE TABLE batches(operation_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batch_items(
  row INTEGER PRIMARY KEY, operation_id TEXT NOT NULL, place INTEGER NOT NULL, request TEXT NOT NULL,
  answer TEXT, UNIQUE(operation_id, place));
"""
PROMPTS = """
CREATE TABLE prompts(name TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL, create_time INTEGER NOT NULL,
  PRIMARY KEY(name, version)) WITHOUT ROWID;
"""

FORMAT_3 = OPERATIONS + SESSIONS + COSTS + ANSWERS + PROMPTS
