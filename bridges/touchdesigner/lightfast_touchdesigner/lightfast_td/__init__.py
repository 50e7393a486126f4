"""Lightfast inside TouchDesigner. Nothing in here imports `td`: the extension passes it in.

What it relies on in TouchDesigner, and where that is written (the Python classes of Derivative's wiki unless said otherwise):

| fact | where |
|---|---|
| builds from 2023 run Python 3.11, those of 2022 Python 3.9; this package reads as 3.9 | release notes |
| `td` objects may only be touched on the main thread; the link's own thread moves bytes only | td Module, isMainThread |
| `import td` gives all of it to a module that is not a DAT | td Module |
| `Par.eval()` is the working value in every mode; `Par.val` the constant, and setting it makes the mode constant | Par Class |
| `Par.mode` is one of `ParMode.CONSTANT EXPRESSION EXPORT BIND`; compared by `.name` | Par Class |
| `Par.min`/`max` bind only with `clampMin`/`clampMax`; `normMin`/`normMax` are the slider | Par Class |
| `Par.readOnly` bars the dialog, not scripts; we keep to it all the same | Par Class |
| `Par.isMenu isToggle isMomentary isPulse isInt isFloat isNumber isOP isPython isString style menuNames password hidden` | Par Class |
| `OP.id` survives a rename, not a copy, a new session or an undone deletion | OP Class |
| `OP.store`/`fetch`: `storage` is saved with the operator | OP Class |
| `OP.pars()`, `OP.par[name]` (`None` for none), `OP.valid`, `OP.children`, `OP.OPType`, `OP.family` | OP Class, ParCollection Class |
| `Channel.eval()` without an index is the value at the current time | Channel Class |
| `TOP.saveByteArray('.png')` gives the encoded image | TOP Class |
| `COMP.create(type, name)`; a taken name gets other digits silently | COMP Class, Derivative's TDMCPSkills |
| `Connector.connect(target)`, `disconnect()`, `OP.inputConnectors`, `outputConnectors` | Connector Class, OP Class |
| `ui.undo.startBlock(name)`, `endBlock()`, `undo()`, `redo()` | Undo Class |
| `timeCOMP` has `frame rate play tempo start end`; `op('/').time` is the project's | timeCOMP Class, OP Class |
| `project.name` counts up with each save (`show.3.toe`), `project.folder` | Project Class |
| `run(script, *args, delayMilliSeconds=, delayRef=op.TDResources)` goes on while the timeline is paused | td Module, public components |
| each callback of an Execute DAT has a switch of its own: `framestart`, `projectpresave`, `projectpostsave`, `exit` | Execute DAT |
| a Parameter Execute DAT fires only with its `op` set; `custom`, `builtin`, `valuechange`, `onpulse` | Parameter Execute DAT |
| an extension is `ext0object` (2023 and later) or `extension1`, text in constant mode; `onDestroyTD` ends it | COMP, Extensions, TDMCPSkills |
"""

VERSION = "0.1.0"
"""The version of the component; the daemon knows the one it packs, and flags another."""
