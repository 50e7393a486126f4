"""Finds what changed in the project by looking, a step at a time: no step takes longer than one operator.

Nothing in TouchDesigner tells of all changes (expressions, exports, scripts, the dialog), so values are compared. A
parameter that changed lately is looked at in each frame, the others in turn.
"""

import time

from lightfast_link.messages import Change
from lightfast_link.path import encode_segment

from . import pars
from .exposure import path_of
from .identity import Ids

MOST_PATHS = 20_000
"""The most parameters that are shared; the rest is left out, and the status says so."""
HOT_FOR = 2.0
"""Seconds for which a parameter that changed is looked at in each frame."""
MOST_HOT = 64
SLOW_EVERY = 0.5
"""Seconds between two looks at a driven parameter of which `hello` has not said so yet."""
PAR_STEP = 32
"""Parameters that one step describes."""


class Node:
    """An operator that is shared: its parameters and channels by path."""

    __slots__ = ("channels", "chop", "names", "object_id", "op", "pars", "path")

    def __init__(self, op, path, object_id):
        self.op = op
        self.path = path
        self.object_id = object_id
        self.chop = False
        self.names = ()
        self.pars = {}
        self.channels = {}


class Scanner:
    """Knows what was last reported, and finds the difference."""

    def __init__(self, td, exposure, clock=time.monotonic):
        self._td = td
        self._clock = clock
        self.exposure = exposure
        self.nodes = {}
        """What is shared, by `OP.id`."""
        self.index = {}
        """Path → (node, par, spec)."""
        self.known = {}
        """Path → the value last reported."""
        self.times = {}
        """Path → when its value was seen to change, in ns since 1970."""
        self.problems = []
        self.redescribed = False
        """What `hello` said of the parameters no longer holds."""
        self.redescribed_at = 0.0
        """When that was last so, in the time of the clock."""
        self.edits = 0
        """How many changes were seen that nothing but a person or a script makes."""
        self.announced = set()
        """The driven parameters that `hello` said are signals."""
        self._ids = Ids()
        self._hot = {}
        self._slow = {}
        self._order = []
        self._next_chop = 0

    def declared(self, most):
        """Return what `hello` says of the parameters, *most* of them at most; those that are driven come first."""
        specs = sorted((spec for _, _, spec in self.index.values()), key=lambda spec: not spec.driven)[:most]
        self.announced = {spec.path for spec in specs if spec.driven}
        return [spec.declared for spec in specs]

    # Steps: generators that yield lists of changes, mostly empty ones

    def walk(self):
        """Look at which operators there are; yield the changes that come of it."""
        self.problems = []
        seen = {}
        roots, missing = self.exposure.roots(self._td)
        if missing:
            self.problems.append("no such COMP: %s" % " ".join(missing))
        waiting = [(root, 0) for root in reversed(roots)]
        count = 0
        while waiting:
            op, depth = waiting.pop()
            if not op.valid or op.id in seen or self.exposure.hidden(op):
                continue
            chop = self.exposure.takes_chop(op)
            if chop or self.exposure.takes(op):
                count += yield from self._meet(op, chop, seen, MOST_PATHS - count)
            if op.isCOMP and depth < self.exposure.settings.depth:
                waiting += [(child, depth + 1) for child in reversed(op.children)]
            yield []
        if count >= MOST_PATHS:
            self.problems.append("only %d parameters are shared: choose fewer" % MOST_PATHS)
        yield from self._settle(seen)

    def _meet(self, op, chop, seen, room):
        """Take note of one operator; return how many parameters of it are shared."""
        path = path_of(op)
        node = self.nodes.get(op.id)
        if node is None:
            node = Node(op, path, "")
        node.chop = chop
        found = []
        if self.exposure.takes(op):
            found = [par for par in op.pars() if self.exposure.takes_par(par)][: max(room, 0)]
        names = tuple([par.name for par in found])
        if node.path != path or node.names != names:
            described = {}
            for start in range(0, len(found), PAR_STEP):
                for par in found[start : start + PAR_STEP]:
                    where = path + "/par/" + encode_segment(par.name)
                    spec = pars.describe(par, where, self.exposure.settings.allow_code)
                    if spec is not None:
                        described[where] = (par, spec)
                yield []
            # Changed in one go, so that whoever looks between two steps sees the one state or the other.
            seen[op.id] = (node, path, names, described)
        elif node.pars or chop:
            seen[op.id] = (node, path, names, node.pars)
        return len(names)

    def _settle(self, seen):
        """Bring what is known in step with what was *seen*; yield the changes."""
        now = time.time_ns()
        changes = []
        for key in [key for key in self.nodes if key not in seen]:
            node = self.nodes.pop(key)
            self._ids.forget(key)
            changes += self._drop(node, now)
        changes += self._move(seen, now)
        fresh = []
        for key, (node, path, names, described) in seen.items():
            if described is node.pars and node.path == path and key in self.nodes:
                continue
            if not described and not node.chop:
                self.nodes.pop(key, None)
                changes += self._drop(node, now)
                continue
            for gone in [where for where in node.pars if where not in described]:
                self.index.pop(gone, None)
                if self.known.pop(gone, None) is not None:
                    changes.append(Change(gone, None, now, node.object_id))
            fresh.append((key, node, path, names, described))
        self.edits += len(changes)
        yield changes
        for key, node, path, names, described in fresh:  # after all that went, for names may have been swapped
            node.path, node.names, node.pars = path, names, described
            if not node.object_id:
                node.object_id = self._ids.of(node.op)
            for where, (par, spec) in described.items():
                self.index[where] = (node, par, spec)
            self.nodes[key] = node
            self._redescribe()
            self.edits += 1
            yield []
        self._order = list(self.nodes.values())

    def _drop(self, node, now):
        """Forget what lies below *node*, as far as it is known under its path."""
        gone = [where for where in (*node.pars, *node.channels.values()) if where in self.known]
        for where in node.pars:
            if self.index.get(where, (None,))[0] is node:
                del self.index[where]
                self._redescribe()
        for where in gone:
            del self.known[where]
            self.times.pop(where, None)
        return [Change(where, None, now, node.object_id) for where in gone]

    def _move(self, seen, now):
        """Return the renames, each before what depends on it; the names that were swapped are told by their values."""
        changes = []
        waiting = [(node.path, path) for node, path, _, _ in seen.values() if node.path != path and node.object_id]
        waiting.sort(key=lambda pair: pair[0].count("/"))
        progress = True
        while waiting and progress:
            progress = False
            for old, new in list(waiting):
                if any(where.startswith(new + "/") for where in self.known):
                    continue
                node = next((node for node, path, _, _ in seen.values() if path == new), None)
                if any(where.startswith(old + "/") for where in self.known):
                    changes.append(Change(new, None, now, node.object_id if node else "", moved_from=old))
                    self.renamed(old, new)
                waiting.remove((old, new))
                # What lies in it went along.
                waiting = [(_under(inner, old, new), target) for inner, target in waiting]
                waiting = [(inner, target) for inner, target in waiting if inner != target]
                progress = True
                break
        return changes

    def _redescribe(self):
        self.redescribed = True
        self.redescribed_at = self._clock()

    def renamed(self, old, new):
        """Take note that the subtree at *old* lies at *new*."""
        for table in (self.known, self.times, self._slow):
            for where in [where for where in table if where.startswith(old + "/")]:
                table[_under(where, old, new)] = table.pop(where)
        for node in self.nodes.values():
            if node.path != old and not node.path.startswith(old + "/"):
                continue
            node.path = _under(node.path, old, new)
            node.channels = {name: _under(where, old, new) for name, where in node.channels.items()}
            before, node.pars = node.pars, {}
            for where, (par, spec) in before.items():
                self.index.pop(where, None)
                spec.path = spec.declared["pattern"] = there = _under(where, old, new)
                node.pars[there] = (par, spec)
                self.index[there] = (node, par, spec)
        self._hot = {_under(where, old, new): until for where, until in self._hot.items()}
        self.announced = {_under(where, old, new) for where in self.announced}
        self._redescribe()

    def values(self, fresh=False):
        """Look at all parameters; yield the changes of each operator (all that it holds, if *fresh*)."""
        for node in list(self._order):
            if not node.op.valid:
                continue
            now = time.time_ns()
            changes = []
            for number, (where, (par, spec)) in enumerate(list(node.pars.items())):
                if number % PAR_STEP == PAR_STEP - 1:
                    yield changes
                    now, changes = time.time_ns(), []
                change = self._look(node, where, par, spec, now, fresh)
                if change is not None:
                    changes.append(change)
            yield changes

    def _look(self, node, where, par, spec, now, fresh):
        if not par.valid:
            return None
        if pars.changed(par, spec):
            spec = pars.describe(par, where, self.exposure.settings.allow_code)
            if spec is None:
                return None
            node.pars[where] = (par, spec)
            if where in self.index:
                self.index[where] = (node, par, spec)
            self._redescribe()
        if spec.driven and not fresh and where not in self.announced:
            # It is not known for a signal yet: each value would be kept for ever, so it has few.
            if self._clock() < self._slow.get(where, 0.0):
                return None
            self._slow[where] = self._clock() + SLOW_EVERY
        try:
            value = pars.read(par, spec)
        except Exception:  # an expression that fails: the operator shows its error, and there is no value
            return None
        return self._compare(where, value, node.object_id, now, fresh, driven=spec.driven)

    def _compare(self, where, value, object_id, now, fresh, driven=False):
        old = self.known.get(where)
        if type(old) is type(value) and (old == value or (old != old and value != value)):
            return Change(where, value, self.times.get(where, 0), object_id) if fresh else None
        if value != value or value in (float("inf"), float("-inf")):
            return None
        self.known[where] = value
        if old is not None and not driven:
            self.times[where] = now
            self.edits += 1
            if len(self._hot) < MOST_HOT:
                self._hot[where] = self._clock() + HOT_FOR
        return Change(where, value, self.times.get(where, 0), object_id)

    def hot(self):
        """Look at the parameters that changed lately; return their changes."""
        if not self._hot:
            return []
        now, clock = time.time_ns(), self._clock()
        self._hot = {where: until for where, until in self._hot.items() if until > clock}
        changes = []
        for where in list(self._hot):
            node, par, spec = self.index.get(where, (None, None, None))
            if node is not None and node.op.valid:
                change = self._look(node, where, par, spec, now, False)
                if change is not None:
                    changes.append(change)
        return changes

    def chops(self, deadline):
        """Look at the channels of the chosen CHOPs until *deadline*, going on where the last call ended.

        *deadline* is in the time of the clock; at least one CHOP is looked at.
        """
        chosen = [node for node in self._order if node.chop]
        changes = []
        for _ in range(len(chosen)):
            node = chosen[self._next_chop % len(chosen)]
            self._next_chop = (self._next_chop + 1) % len(chosen)
            if node.op.valid:
                changes += self._channels(node, False)
            if self._clock() >= deadline:
                break
        return changes

    def channels(self):
        """Yield all channels, one CHOP a step."""
        for node in list(self._order):
            if node.chop and node.op.valid:
                yield self._channels(node, True)

    def _channels(self, node, fresh):
        now = time.time_ns()
        changes, found = [], {}
        for channel in node.op.chans():
            where = node.channels.get(channel.name)
            if where is None or not where.startswith(node.path + "/chop/"):
                where = node.path + "/chop/" + encode_segment(channel.name)
            found[channel.name] = where
            change = self._compare(where, float(channel.eval()), node.object_id, now, fresh, driven=True)
            if change is not None:
                changes.append(change)
        for name, where in node.channels.items():
            if name not in found and self.known.pop(where, None) is not None:
                changes.append(Change(where, None, now, node.object_id))
        node.channels = found
        return changes

    def plain(self, values, fresh):
        """Compare *values* by path that belong to no operator."""
        now = time.time_ns()
        found = [
            self._compare(where, value, "", now, fresh, driven=True)
            for where, value in values.items()
            if value is not None
        ]
        return [change for change in found if change is not None]

    def remember(self, where, value):
        """Take note of a value that was settled, so that it is not reported as well; it is no change of the user's."""
        self.times.pop(where, None)
        self.known[where] = value


def _under(path, old, new):
    """Return *path* after the subtree *old* was renamed to *new*."""
    return new + path[len(old) :] if path == old or path.startswith(old + "/") else path
