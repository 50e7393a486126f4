"""One parameter: what it is, what it holds, and how it is set."""

from lightfast_link.value import close

from .values import Refused, as_text, coerce

MOST_CHOICES = 128
"""A menu with more entries is a string of any content."""
_SKIPPED = ("Header", "Sequence")
_LONGEST = 200
_DRIVEN = {"EXPRESSION": "an expression", "EXPORT": "an export", "BIND": "a bind"}
_DEGREES = ("rx", "ry", "rz", "prx", "pry", "prz")


class Spec:
    """What is known of a parameter; *declared* is what `hello` says of it."""

    __slots__ = ("declared", "driven", "kind", "mode", "path", "readonly", "text")

    def __init__(self, par, path, allow_code):
        self.path = path
        self.mode = par.mode.name
        self.driven = self.mode != "CONSTANT"
        self.readonly = bool(par.readOnly)
        self.text = False
        choices = ()
        if par.isToggle or par.isMomentary:
            self.kind = "bool"
        elif par.isMenu:
            self.kind = "string"
            if par.style != "StrMenu":
                choices = tuple(str(name) for name in par.menuNames or ())
        elif par.isInt:
            self.kind = "int"
        elif par.isNumber:
            self.kind = "double"
        else:
            self.kind = "string"
            self.text = True
        code = bool(par.isPython) and not allow_code
        access = "r" if self.driven or self.readonly or code else "rw"
        self.readonly = self.readonly or code
        declared = {"pattern": path, "kind": self.kind}
        if access != "rw":
            declared["access"] = access
        if self.driven:
            declared["signal"] = True  # it may turn with every frame
        if 0 < len(choices) <= MOST_CHOICES:
            declared["choices"] = list(choices)
        if self.kind in ("int", "double") and not self.driven:
            if par.clampMin:
                declared["minimum"] = float(par.min)
            if par.clampMax:
                declared["maximum"] = float(par.max)
            if par.clampMin and par.clampMax and not par.min <= par.max:
                del declared["minimum"], declared["maximum"]
        if par.name in _DEGREES and par.owner.isCOMP and par.owner.isObject:
            declared["unit"] = "angle.degree"
        declared["description"] = self._description(par, code)
        self.declared = declared

    def _description(self, par, code):
        said = str(par.label or par.name)
        if self.kind in ("int", "double") and not (par.clampMin and par.clampMax):
            said += "; the slider goes from %g to %g" % (par.normMin, par.normMax)
        if self.mode == "EXPRESSION":
            said += "; read-only: driven by the expression %s" % str(par.expr)
        elif self.driven:
            said += "; read-only: driven by %s" % _DRIVEN.get(self.mode, "its mode")
        elif code:
            said += "; read-only: it is run as Python, which 'Allow Code' of the component lets through"
        return said[:_LONGEST]


def describe(par, path, allow_code):
    """Return the `Spec` of *par*, or `None` for what holds no value or must not be shown."""
    if par.isPulse or par.hidden or par.password or par.style in _SKIPPED:
        return None
    return Spec(par, path, allow_code)


def changed(par, spec):
    """Say whether *par* is no longer what *spec* says: cheap, asked at each look."""
    return par.mode.name != spec.mode


def read(par, spec):
    """Return what *par* holds now."""
    if spec.text and not spec.driven:
        return as_text(par.val)
    value = par.eval()
    if spec.kind == "double":
        return float(value)
    if spec.kind == "bool":
        return bool(value)
    if spec.kind == "int":
        return int(value)
    return as_text(value)


def write(par, spec, value):
    """Set *par* and return what it then holds, or refuse."""
    where = spec.path
    mode = par.mode.name
    if mode != "CONSTANT":
        raise Refused(
            "%s is driven by %s: set its mode to constant in TouchDesigner" % (where, _DRIVEN.get(mode, mode))
        )
    if spec.readonly:
        raise Refused("%s is read-only" % where)
    value = coerce(value, spec.kind, where)
    if par.isMenu and par.style != "StrMenu":
        names = [str(name) for name in par.menuNames or ()]
        if value not in names:
            raise Refused(
                "%s takes one of %s" % (where, ", ".join(names[:MOST_CHOICES]) or "nothing: the menu is empty")
            )
    par.val = value
    held = read(par, spec)
    if not close(held, value):
        raise Refused("%s: TouchDesigner holds %r instead of %r" % (where, held, value))
    return held
