"""The commands: each takes its arguments by name and returns its result, or `Upload` where bytes have to travel first."""

from lightfast_link.path import decode_segment

from .apply import UNDO, rename
from .exposure import path_of
from .values import Refused, as_text, plain

FORMATS = {"png": "image/png", "jpg": "image/jpeg", "tif": "image/tiff", "exr": "image/x-exr"}
FAMILIES = ("COMP", "TOP", "CHOP", "SOP", "POP", "DAT", "MAT")
MOST_ITEMS = 5000
_RUN = ("execute", "script")
"""Words in the types of DATs that run their own text."""


class Upload:
    """A result that is a file: *data* becomes an asset."""

    def __init__(self, data, name, media_type):
        self.data = data
        self.name = name
        self.media_type = media_type


class Commands:
    """The commands on the project; the arguments have been checked against the schema."""

    def __init__(self, td, exposure, scanner):
        self._td = td
        self._exposure = exposure
        self._scanner = scanner

    def run(self, name, arguments):
        """Run one command, inside a step of undo where it changes something."""
        function = getattr(self, "do_" + name)
        if name in ("create_operator", "delete_operator", "rename_operator", "connect", "disconnect", "set_text"):
            undo = self._td.ui.undo
            undo.startBlock("%s: %s" % (UNDO, name))
            try:
                return function(**arguments)
            finally:
                undo.endBlock()
        return function(**arguments)

    # reading

    def do_list_operators(self, path="/", depth=1, family="", limit=500):
        """List operators."""
        comp = self._comp(path)
        if family and family not in FAMILIES:
            raise Refused("family %r: use one of %s" % (family, ", ".join(FAMILIES)))
        if not 1 <= depth <= 10 or not 1 <= limit <= MOST_ITEMS:
            raise Refused("depth is 1 to 10, limit 1 to %d" % MOST_ITEMS)
        found, waiting = [], [(child, 1) for child in comp.children]
        while waiting and len(found) < limit:
            op, level = waiting.pop(0)
            if not family or op.family == family:
                found.append({"path": op.path, "name": op.name, "type": op.OPType, "family": op.family})
            if op.isCOMP and level < depth:
                waiting += [(child, level + 1) for child in op.children]
        return found

    def do_get_operator(self, path):
        """Tell all of one operator."""
        op = self._op(path)
        node = self._scanner.nodes.get(op.id)
        held, pulses = {}, []
        for par in op.pars():
            if par.password or par.hidden:
                continue
            if par.isPulse:
                pulses.append(par.name)
                continue
            try:
                value = par.eval()
            except Exception as error:  # its expression fails; td raises errors of its own
                value = "(%s)" % error
            if isinstance(value, float):
                value = plain(value)
            held[par.name] = value if isinstance(value, (bool, int, float)) else as_text(value)
        told = {
            "path": op.path,
            "name": op.name,
            "type": op.OPType,
            "family": op.family,
            "parameters": {name: value for name, value in held.items() if value is not None},
            "pulses": pulses,
            "inputs": [each.path for each in op.inputs],
            "outputs": [each.path for each in op.outputs],
            "errors": str(op.errors()),
            "warnings": str(op.warnings()),
            "shared": node is not None,
            "mount_path": path_of(op),
        }
        if op.isTOP:
            told.update(width=int(op.width), height=int(op.height))
        elif op.isCHOP:
            told["channels"] = [channel.name for channel in op.chans()]
        return told

    def do_get_text(self, path):
        """Return the text of a DAT."""
        return str(self._dat(path).text)

    def do_snapshot(self, path, format="png"):
        """Store what a TOP shows."""
        op = self._op(path)
        if not op.isTOP:
            raise Refused("%s is a %s: only a TOP has a picture" % (op.path, op.OPType))
        if format not in FORMATS:
            raise Refused("format %r: use one of %s" % (format, ", ".join(FORMATS)))
        op.cook(force=True)
        data = bytes(op.saveByteArray("." + format))
        if not data:
            raise Refused("%s has no picture: %s" % (op.path, op.errors() or "it is empty"))
        return Upload(data, "%s.%s" % (op.name, format), FORMATS[format])

    # changing

    def do_cook(self, path):
        """Cook an operator."""
        op = self._op(path)
        op.cook(force=True)
        return {"path": op.path, "errors": str(op.errors())}

    def do_pulse(self, path):
        """Pulse a parameter."""
        names = [decode_segment(part) for part in path.strip("/").split("/")]
        if len(names) < 3 or names[-2] != "par":
            raise Refused("%s: a parameter lies at OPERATOR/par/NAME" % path)
        op = self._inside("/" + "/".join(names[:-2]))
        par = op.par[names[-1]]
        if par is None:
            raise Refused("%s (%s) has no parameter %r" % (op.path, op.OPType, names[-1]))
        if not (par.isPulse or par.isMomentary):
            raise Refused("%s of %s is no pulse: write its value" % (par.name, op.path))
        par.pulse()

    def do_create_operator(self, parent, type, name="", x=0, y=0):
        """Create an operator."""
        comp = self._inside(parent)
        if not comp.isCOMP:
            raise Refused("%s is a %s: operators are created in a COMP" % (comp.path, comp.OPType))
        if name and comp.op(name) is not None:
            raise Refused("the name %r is taken in %s" % (name, comp.path))
        if not type.isalnum() or not any(type.endswith(family) for family in FAMILIES):
            raise Refused("type %r: write it like noiseTOP, constantCHOP, textDAT" % type)
        if getattr(self._td, type, None) is None:
            raise Refused("this TouchDesigner has no operator of the type %r" % type)
        op = comp.create(type, name) if name else comp.create(type)
        op.nodeX, op.nodeY = x, y
        return {"path": op.path, "name": op.name, "mount_path": path_of(op)}

    def do_delete_operator(self, path):
        """Delete an operator."""
        op = self._inside(path)
        if op.path in self._exposure.settings.roots:
            raise Refused("%s is a root COMP of the Lightfast component: delete it in TouchDesigner" % op.path)
        told = {"path": op.path}
        op.destroy()
        return told

    def do_rename_operator(self, path, name):
        """Rename an operator."""
        op = self._inside(path)
        was = op.name
        rename(self._exposure, op, name)
        return {"path": op.path, "mount_path": path_of(op), "was": was}

    def do_connect(self, source, target, output=0, input=0):
        """Wire two operators."""
        start, end = self._inside(source), self._inside(target)
        outputs, inputs = start.outputConnectors, end.inputConnectors
        if not 0 <= output < len(outputs):
            raise Refused("%s has %d outputs, and no number %d" % (start.path, len(outputs), output))
        if not 0 <= input < len(inputs):
            raise Refused("%s has %d inputs, and no number %d" % (end.path, len(inputs), input))
        if start.family != end.family and not (start.isCOMP or end.isCOMP):
            raise Refused(
                "%s is a %s and %s a %s: a wire joins one family" % (start.path, start.family, end.path, end.family)
            )
        inputs[input].connect(outputs[output])
        return {"source": start.path, "target": end.path}

    def do_disconnect(self, path, input=0):
        """Unwire an input."""
        op = self._inside(path)
        if not 0 <= input < len(op.inputConnectors):
            raise Refused("%s has %d inputs, and no number %d" % (op.path, len(op.inputConnectors), input))
        op.inputConnectors[input].disconnect()

    def do_set_text(self, path, text):
        """Set the text of a DAT."""
        dat = self._dat(path)
        self._inside(path)
        if not self._exposure.settings.allow_code and _runs(dat):
            raise Refused("%s is run as Python: switch 'Allow Code' of the Lightfast component on" % dat.path)
        dat.text = text
        return {"path": dat.path, "characters": len(text)}

    def do_play(self):
        """Play the timeline."""
        self._td.op("/").time.play = True

    def do_pause(self):
        """Pause the timeline."""
        self._td.op("/").time.play = False

    def do_undo(self):
        """Undo."""
        self._td.ui.undo.undo()

    def do_redo(self):
        """Redo."""
        self._td.ui.undo.redo()

    def do_exec(self, code):
        """Run code; only reached where the user allows it."""
        if not self._exposure.settings.allow_code:
            raise Refused("'Allow Code' of the Lightfast component is off")
        space = {
            name: getattr(self._td, name)
            for name in ("op", "ops", "root", "project", "app", "ui")
            if hasattr(self._td, name)
        }
        space["td"] = self._td
        exec(compile(code, "<lightfast exec>", "exec"), space)
        result = space.get("result")
        return None if result is None else str(result)

    # finding

    def _op(self, path):
        names = [decode_segment(part) for part in path.strip("/").split("/") if part]
        op = self._td.op("/" + "/".join(names))
        if op is None or not op.valid:
            raise Refused("there is no operator %s" % ("/" + "/".join(names)))
        return op

    def _comp(self, path):
        op = self._op(path)
        if not op.isCOMP:
            raise Refused("%s is a %s, not a COMP" % (op.path, op.OPType))
        return op

    def _dat(self, path):
        op = self._op(path)
        if not op.isDAT:
            raise Refused("%s is a %s: only a DAT has a text" % (op.path, op.OPType))
        return op

    def _inside(self, path):
        op = self._op(path)
        if not self._exposure.within(op):
            raise Refused("%s lies outside the root COMPs of the Lightfast component, or in it" % op.path)
        return op


def _runs(dat):
    """Say whether the text of *dat* is, as far as can be told, run as Python."""
    if any(word in dat.OPType for word in _RUN) or dat.dock is not None:
        return True
    language = dat.par["language"]
    return language is not None and str(language.eval()) == "python"


def check(arguments, schema):
    """Return *arguments* if they are what *schema* asks for, else refuse; the daemon has looked, others may not."""
    known = {argument["name"]: argument for argument in schema["arguments"]}
    for name, value in arguments.items():
        if name not in known:
            raise Refused("%s has no argument %r; it takes %s" % (schema["name"], name, ", ".join(known) or "none"))
        wanted = {"string": str, "int": int}[known[name]["kind"]]
        if type(value) is not wanted:
            raise Refused("%s: %s must be %s" % (schema["name"], name, known[name]["kind"]))
    for name, argument in known.items():
        if argument["required"] and name not in arguments:
            raise Refused("%s needs the argument %r" % (schema["name"], name))
    return arguments
