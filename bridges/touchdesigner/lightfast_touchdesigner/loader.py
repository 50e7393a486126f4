"""Makes Python modules of texts: TouchDesigner's own import knows single DATs, and this is a package.

The link is vendored: what the texts import from `lightfast_link` they get from the copy among them. The package is named
after the digest of its texts, so two components of different versions live side by side in one TouchDesigner.
"""

import hashlib
import importlib
import importlib.abc
import importlib.util
import linecache
import re
import sys

VENDORED = "lightfast_link"
_IMPORT = re.compile(r"^(\s*)from lightfast_link(\.[a-z_]+)? import ", re.MULTILINE)


def from_dats(comp):
    """Return the package in the DATs of *comp*; a DAT is named after its module, with `__` for a dot."""
    texts = {}
    for dat in comp.children:
        if dat.isDAT:
            name = "" if dat.name == "package" else dat.name.replace("__", ".")
            texts[VENDORED if name == VENDORED + ".package" else name] = (dat.text, dat.path)
    return load(texts)


def load(texts):
    """Return the package of *texts*: module name → (text, where it is from); the empty name is the package itself."""
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(("%s\0%s\0" % (name, texts[name][0])).encode("utf-8"))
    package = "lightfast_td_" + digest.hexdigest()[:12]
    if package not in sys.modules:
        sys.meta_path.insert(0, _Finder(package, texts))
    return importlib.import_module(package)


def vendored(name, text):
    """Return *text* with its imports of the link turned to the copy beside it; lines keep their numbers."""
    inside = name == VENDORED or name.startswith(VENDORED + ".")
    here = "." if inside else "." + VENDORED

    def turn(found):
        rest = (found.group(2) or "").lstrip(".")
        return "%sfrom %s import " % (found.group(1), here + ("." + rest if rest and not inside else rest))

    return _IMPORT.sub(turn, text)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of one package."""

    def __init__(self, package, texts):
        self._package = package
        self._texts = texts

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self._package and not fullname.startswith(self._package + "."):
            return None
        name = fullname[len(self._package) + 1 :]
        if name not in self._texts:
            return None
        text, origin = self._texts[name]
        is_package = name in ("", VENDORED)
        return importlib.util.spec_from_loader(
            fullname, _Loader(vendored(name, text), "<%s>" % origin), origin=origin, is_package=is_package
        )


class _Loader(importlib.abc.Loader):
    """Runs one text as a module."""

    def __init__(self, text, filename):
        self._text = text
        self._filename = filename

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        lines = self._text.splitlines(True)
        linecache.cache[self._filename] = (len(self._text), None, lines, self._filename)  # for tracebacks
        exec(compile(self._text, self._filename, "exec"), module.__dict__)
