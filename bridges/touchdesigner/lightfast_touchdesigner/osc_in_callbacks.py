# For the callbacks DAT of an OSC In DAT, where no component is wanted: numbers and texts that Lightfast sends to
# /touchdesigner/OPERATOR/par/NAME set that parameter. Only operators below ROOT are set, and only parameters in
# constant mode; whatever does not fit is printed once and then ignored.

PREFIX = "/touchdesigner"
ROOT = "/project1"
_told = set()


def onReceiveOSC(dat, rowIndex, message, bytes, timeStamp, address, args, peer):
    problem = _take(address, args)
    if problem and len(_told) < 100 and problem not in _told:
        _told.add(problem)
        print("lightfast: " + problem)


def _take(address, args):
    """Set what *address* names to the first of *args*; return what was wrong, or an empty text."""
    path, middle, name = address.rpartition("/par/")
    if not middle or not path.startswith(PREFIX + "/") or len(args) != 1:
        return "%s: one value for %s/OPERATOR/par/NAME is taken" % (address, PREFIX)
    where = path[len(PREFIX) :]
    if where != ROOT and not where.startswith(ROOT + "/"):
        return "%s lies outside %s" % (where, ROOT)
    target = op(where)
    par = None if target is None else target.par[name]
    if par is None:
        return "there is no parameter %s of %s" % (name, where)
    if par.isPulse:
        if args[0]:
            par.pulse()
        return ""
    if par.readOnly or par.isPython or par.mode.name != "CONSTANT":
        return "%s of %s is driven, or read-only" % (name, where)
    par.val = args[0]
    return ""
