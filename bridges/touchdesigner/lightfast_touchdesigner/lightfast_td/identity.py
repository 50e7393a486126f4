"""Stable ids for operators: kept in their storage, which is saved with the project.

`OP.id` is another one in each session, so it serves within a session only: by it a rename is told from a deletion. A
copy carries the storage of its original; whoever had the id keeps it.
"""

import uuid

KEY = "lightfast_id"


class Ids:
    """Object ids by `OP.id`."""

    def __init__(self):
        self._by_op = {}
        self._taken = {}

    def of(self, op):
        """Return the object id of *op*, giving it one where it has none."""
        known = self._by_op.get(op.id)
        if known is not None:
            return known
        stored = op.fetch(KEY, None, search=False)
        if not isinstance(stored, str) or not stored or stored in self._taken:
            stored = uuid.uuid4().hex[:16]
            try:
                op.store(KEY, stored)
            except Exception:  # locked or private contents: td raises errors of its own
                stored = "path:" + op.path
        self._by_op[op.id] = stored
        self._taken[stored] = op.id
        return stored

    def forget(self, key):
        """Forget the operator that had the `OP.id` *key*: when its deletion is undone, it may have its id back."""
        stored = self._by_op.pop(key, None)
        if stored is not None and self._taken.get(stored) == key:
            del self._taken[stored]
