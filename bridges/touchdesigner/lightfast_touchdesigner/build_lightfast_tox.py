"""Builds the Lightfast component inside TouchDesigner and saves it as `lightfast.tox`.

In the textport:

    import sys; sys.path.insert(0, r'FOLDER OF THIS FILE')
    import build_lightfast_tox; build_lightfast_tox.build()

It makes a base COMP in /project1 (or in the COMP that is passed) with one Text DAT for each module, the callbacks, the
extension and the custom page, and saves it beside this file. The component is at work at once.
"""

import importlib.util
import os

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = "lightfast"
TEXTS = ("LightfastExt", "loader")
MODULES = ("lightfast_td", "lightfast_link")


def build(parent="/project1", td=None, folder=HERE, save=True):
    """Build the component in the COMP at the path *parent* and return it; one of the same name is replaced.

    *td* is TouchDesigner's module, which is found by itself; *folder* has the files of the pack.
    """
    if td is None:
        import td
    texts = read(folder)
    settings = _settings(folder, texts)
    comp = td.op(parent)
    if comp is None:
        raise ValueError("there is no COMP %s in this project: pass the path of another, build('/mycomp')" % parent)
    old = comp.op(NAME)
    kept = {}
    if old is not None:
        kept = {name: old.par[name].eval() for name in _kept(settings) if old.par[name] is not None}
        old.destroy()
    base = comp.create(td.baseCOMP, NAME)
    _page(base, settings, kept)
    for number, name in enumerate(TEXTS):
        _text(td, base, name, _file(folder, name + ".py"), 0, -150 * number)
    modules = base.create(td.baseCOMP, "modules")
    modules.nodeX, modules.nodeY = 200, -150
    for number, (name, text) in enumerate(sorted(texts.items())):
        dat = (
            "package"
            if not name
            else "lightfast_link__package"
            if name == "lightfast_link"
            else name.replace(".", "__")
        )
        _text(td, modules, dat, text, 200 * (number % 6), -150 * (number // 6))
    _extend(base)
    frames = base.create(td.executeDAT, "frames")
    frames.text = _file(folder, "frame_callbacks.py")
    frames.nodeX, frames.nodeY = 0, -300
    for name in ("framestart", "projectpresave", "projectpostsave", "exit", "active"):
        _set(frames, name, True)
    watch = base.create(td.parameterexecuteDAT, "parameters")
    watch.text = _file(folder, "parameter_callbacks.py")
    watch.nodeX, watch.nodeY = 200, -300
    for name, value in (("op", ".."), ("pars", "*"), ("custom", True), ("builtin", False), ("valuechange", True)):
        _set(watch, name, value)
    for name in ("onpulse", "active"):
        _set(watch, name, True)
    if save:
        # A .tox is for other projects: what says which project this is stays here.
        for key in ("lightfast_document", "lightfast_id"):
            if base.fetch(key, None, search=False) is not None:
                base.unstore(key)
        base.save(os.path.join(folder, NAME + ".tox"))
    base.par.reinitextensions.pulse()
    return base


def read(folder):
    """Return the modules of the pack in *folder*: the text of each by its name."""
    texts = {}
    for package in MODULES:
        place = os.path.join(folder, package)
        for file in sorted(os.listdir(place)):
            if file.endswith(".py"):
                inner = "" if file == "__init__.py" else file[: -len(".py")]
                outer = "" if package == "lightfast_td" else package
                texts[".".join(part for part in (outer, inner) if part)] = _file(place, file)
    return texts


def _settings(folder, texts):
    """Return the module that says which custom parameters there are."""
    spec = importlib.util.spec_from_file_location("lightfast_tox_loader", os.path.join(folder, "loader.py"))
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    package = loader.load({name: (text, name or "package") for name, text in texts.items()})
    return __import__(package.__name__ + ".settings", fromlist=["PARAMETERS"])


def _kept(settings):
    return [name for name, style, _, _, _ in settings.PARAMETERS if style != "Pulse" and name not in settings.SHOWN]


def _page(base, settings, kept):
    """Make the custom page; *kept* are values of the component that this one replaces."""
    page = base.appendCustomPage(settings.PAGE)
    for name, style, label, default, text in settings.PARAMETERS:
        par = getattr(page, "append" + style)(name, label=label)[0]
        if default is not None:
            par.default = default
            par.val = kept.get(name, default)
        par.readOnly = name in settings.SHOWN
        try:
            par.help = text
        except AttributeError:  # older builds have no help of one's own
            pass
    for name, low, high in (("Maxdepth", 0, settings.DEEPEST), ("Budget", 0.1, 16.0)):
        par = base.par[name]
        par.min, par.max, par.clampMin, par.clampMax, par.normMin, par.normMax = low, high, True, True, low, high


def _text(td, comp, name, text, x, y):
    dat = comp.create(td.textDAT, name)
    dat.text = text
    dat.nodeX, dat.nodeY = x, y
    _set(dat, "language", "python")
    return dat


def _extend(base):
    """Make the text DAT the extension of *base*: builds from 2023 on call the parameters otherwise than those before."""
    expression = "op('./LightfastExt').module.LightfastExt(me)"
    if base.par["ext0object"] is None and base.par["ext"] is not None:
        base.par.ext.sequence.numBlocks = 1
    if not (_set(base, "ext0object", expression) and _set(base, "ext0promote", True)):
        if not (_set(base, "extension1", expression) and _set(base, "promoteextension1", True)):
            raise RuntimeError(
                "this TouchDesigner has neither ext0object nor extension1: it is not known to Lightfast yet"
            )


def _set(op, name, value):
    """Set a parameter if there is one of that name; say whether."""
    par = op.par[name]
    if par is None:
        return False
    par.val = value
    return True


def _file(*place):
    with open(os.path.join(*place), encoding="utf-8") as file:
        return file.read()
