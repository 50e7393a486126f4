"""The project's timeline: where it is, whether it runs, how fast."""

from .values import Refused, coerce, plain

PATHS = {
    "time/frame": ("frame", "double"),
    "time/play": ("play", "bool"),
    "time/rate": ("rate", "double"),
    "time/tempo": ("tempo", "double"),
    "time/start": ("start", "double"),
    "time/end": ("end", "double"),
}


class Timeline:
    """Reads and writes the time component of the root."""

    def __init__(self, td):
        self._td = td

    def read(self):
        """Return value by path."""
        time = self._td.op("/").time
        found = {}
        for path, (name, kind) in PATHS.items():
            value = getattr(time, name)
            found[path] = bool(value) if kind == "bool" else plain(value)
        return found

    def write(self, path, value):
        """Set one and return what it then is, or refuse."""
        name, kind = PATHS[path]
        value = coerce(value, kind, path)
        if name in ("rate", "tempo") and value <= 0:
            raise Refused("%s takes a number above 0" % path)
        time = self._td.op("/").time
        setattr(time, name, value)
        return coerce(getattr(time, name), kind, path)
