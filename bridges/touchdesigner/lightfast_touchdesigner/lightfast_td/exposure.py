"""What of the project is shared: the user's choice, and what never is."""

import fnmatch

from lightfast_link.path import encode_segment

NEVER = ("/ui", "/sys", "/local")
"""TouchDesigner's own components."""


class Exposure:
    """Answers for the settings; *own* is the Lightfast component, which is never shared."""

    def __init__(self, settings, own):
        self.settings = settings
        self._own = own.path

    def roots(self, td):
        """Return the root COMPs that exist, and the paths of those that do not."""
        found, missing = [], []
        for path in self.settings.roots:
            comp = td.op(path)
            if comp is None or not comp.valid or not comp.isCOMP:
                missing.append(path)
            elif comp not in found:
                found.append(comp)
        return found, missing

    def hidden(self, op):
        """Say whether *op* and all it contains are left out."""
        path = op.path
        if path == self._own or path.startswith(NEVER[0] + "/") or path in NEVER:
            return True
        return _any(self.settings.exclude, op.name, path)

    def takes(self, op):
        """Say whether the parameters of *op* are shared."""
        return op.path != "/" and _any(self.settings.include, op.name, op.path)

    def takes_chop(self, op):
        """Say whether the channels of *op* are shared."""
        return bool(op.isCHOP) and _any(self.settings.chops, op.name, op.path)

    def takes_par(self, par):
        """Say whether *par* is shared, as far as the user's choice goes."""
        if not (self.settings.custom if par.isCustom else self.settings.builtin):
            return False
        patterns = self.settings.pars
        return patterns == ["*"] or any(fnmatch.fnmatchcase(par.name, pattern) for pattern in patterns)

    def within(self, op):
        """Say whether commands may change *op*: it is a root COMP or lies in one, and is not ours."""
        path = op.path
        if path == self._own or path.startswith(self._own + "/"):
            return False
        return any(
            root == "/" or path == root or path.startswith(root.rstrip("/") + "/") for root in self.settings.roots
        )


def _any(patterns, name, path):
    return any(fnmatch.fnmatchcase(path if "/" in pattern else name, pattern) for pattern in patterns)


def path_of(op):
    """Return the path of an operator relative to the mount: its own path, with each name as one segment."""
    return "/".join(encode_segment(name) for name in op.path.split("/") if name)
