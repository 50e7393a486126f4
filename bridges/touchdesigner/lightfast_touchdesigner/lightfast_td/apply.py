"""Carries wishes out, reads back what TouchDesigner then holds, and answers each."""

import re

from lightfast_link.path import decode_segment

from . import pars
from .exposure import path_of
from .timeline import PATHS as TIMELINE
from .values import Refused

UNDO = "Lightfast"
_NAME = re.compile(r"[A-Za-z0-9_]{1,128}")


class Applier:
    """Applies wishes to the project that *scanner* knows."""

    def __init__(self, td, scanner, timeline):
        self._td = td
        self._scanner = scanner
        self._timeline = timeline

    def apply(self, wishes):
        """Apply *wishes* as one step of undo; yield (wish, value, refusal) for each."""
        undo = self._td.ui.undo if any(not wish.signal for wish in wishes) else None
        answers = []
        if undo is not None:
            undo.startBlock(UNDO)
        try:
            for wish in wishes:
                try:
                    value = self._rename(wish) if wish.moved_from else self._set(wish)
                    answers.append((wish, value, ""))
                except Refused as refused:
                    answers.append((wish, None, str(refused)))
                except Exception as error:  # whatever td raises is an answer, and stops no frame
                    said = "%s: TouchDesigner raised %s: %s" % (wish.path, type(error).__name__, error)
                    answers.append((wish, None, said))
        finally:
            if undo is not None:
                undo.endBlock()
        return answers

    def _set(self, wish):
        path = wish.path.strip("/")
        if wish.value is None:
            return self._remove(path)
        if path in TIMELINE:
            held = self._timeline.write(path, wish.value)
        else:
            par, spec = self._find(path)
            held = pars.write(par, spec, wish.value)
        self._scanner.remember(path, held)
        return held

    def _remove(self, path):
        if path in self._scanner.known:
            raise Refused("%s cannot be removed, only set; an operator goes with the command delete_operator" % path)

    def _find(self, path):
        node, par, spec = self._scanner.index.get(path, (None, None, None))
        if par is not None and node.op.valid and par.valid:
            return par, spec
        names = [decode_segment(segment) for segment in path.split("/")]
        if "chop" in names[:-1] and path in self._scanner.known:
            raise Refused("%s is a channel of a CHOP, which can only be read: set the parameter that makes it" % path)
        if len(names) < 3 or names[-2] != "par":
            raise Refused("%s: there is no such path in TouchDesigner; parameters lie at OPERATOR/par/NAME" % path)
        op = self._td.op("/" + "/".join(names[:-2]))
        if op is None:
            raise Refused("%s: there is no operator /%s" % (path, "/".join(names[:-2])))
        par = op.par[names[-1]]
        if par is None:
            raise Refused("%s: %s (%s) has no parameter %r" % (path, op.path, op.OPType, names[-1]))
        if par.isPulse:
            raise Refused("%s is a pulse: use the command pulse" % path)
        raise Refused("%s is not shared: choose it on the Lightfast component (Root COMPs, Include, Parameters)" % path)

    def _rename(self, wish):
        source, target = wish.moved_from.strip("/"), wish.path.strip("/")
        old, new = [[decode_segment(part) for part in path.split("/")] for path in (source, target)]
        op = self._td.op("/" + "/".join(old))
        if op is None or not any(where.startswith(source + "/") for where in self._scanner.known):
            raise Refused("%s: there is no such operator, or it is not shared" % source)
        if old[:-1] != new[:-1]:
            raise Refused("%s cannot become %s: an operator can be renamed, not moved elsewhere" % (source, target))
        rename(self._scanner.exposure, op, new[-1])
        self._scanner.renamed(source, path_of(op))


def rename(exposure, op, name):
    """Give *op* the free and legal name *name*, or refuse."""
    if not exposure.within(op):
        raise Refused("%s lies outside the root COMPs of the Lightfast component" % op.path)
    if not _NAME.fullmatch(name):
        raise Refused("%r is no name for an operator: use letters, digits and underscores" % name)
    other = op.parent().op(name)
    if other is not None and other.id != op.id:
        raise Refused("the name %r is taken" % name)
    before = op.name
    op.name = name
    if op.name != name:
        took, op.name = op.name, before
        raise Refused("TouchDesigner would not take the name %r, only %r" % (name, took))
