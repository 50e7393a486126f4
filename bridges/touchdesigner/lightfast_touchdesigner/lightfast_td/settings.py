"""What the user chose: the custom parameters of the component, and what they mean."""

PAGE = "Lightfast"
PARAMETERS = (
    # name, style, label, default, help
    ("Active", "Toggle", "Active", True, "Join the daemon of this machine, and again whenever the connection breaks."),
    ("Name", "Str", "Name", "", "The mount in the context: /NAME. Empty: /touchdesigner."),
    ("Rootcomps", "Str", "Root COMPs", "/project1", "Paths of components, separated by spaces: what lies in them is shared."),
    ("Include", "Str", "Include", "*", "Names or paths of operators to share, separated by spaces, with * and ?."),
    ("Exclude", "Str", "Exclude", "", "Names or paths of operators to leave out, with all they contain."),
    ("Maxdepth", "Int", "Max Depth", 4, "How many levels below the root COMPs are looked at: 0 to 10."),
    ("Parnames", "Str", "Parameters", "*", "Names of parameters to share, separated by spaces, with * and ?."),
    ("Custompars", "Toggle", "Custom Parameters", True, "Share custom parameters."),
    ("Builtinpars", "Toggle", "Built-in Parameters", True, "Share built-in parameters."),
    ("Chops", "Str", "CHOPs", "", "Names or paths of CHOPs whose channels are shared as signals, with * and ?. Empty: none."),
    ("Budget", "Float", "Budget (ms)", 2.0, "The longest that Lightfast works in one frame; the rest waits for the next."),
    ("Home", "Folder", "Home", "", "The folder of the daemon, if it runs with --home. Empty: the usual one."),
    ("Allowcode", "Toggle", "Allow Code", False, "Offer the command 'exec', and texts that are run as Python."),
    ("Reconnect", "Pulse", "Reconnect", None, "Say goodbye and join anew."),
    ("Status", "Str", "Status", "", "How the connection stands."),
    ("Version", "Str", "Version", "", "The version of this component."),
)  # fmt: skip
SHOWN = ("Status", "Version")
"""Parameters that only show something."""
RESTART = ("Active", "Name", "Home", "Allowcode")
"""Parameters whose change says hello anew."""
DEEPEST = 10


class Settings:
    """The parameters of the component *comp*, read once; what is missing has its default."""

    def __init__(self, comp):
        chosen = {}
        for name, style, _, default, _ in PARAMETERS:
            par = comp.par[name]
            if style == "Pulse" or name in SHOWN:
                continue
            chosen[name] = default if par is None else par.eval()
        self.active = bool(chosen["Active"])
        self.name = str(chosen["Name"]).strip().strip("/")
        self.roots = str(chosen["Rootcomps"]).split()
        self.include = str(chosen["Include"]).split()
        self.exclude = str(chosen["Exclude"]).split()
        self.depth = min(max(int(chosen["Maxdepth"]), 0), DEEPEST)
        self.pars = str(chosen["Parnames"]).split()
        self.custom = bool(chosen["Custompars"])
        self.builtin = bool(chosen["Builtinpars"])
        self.chops = str(chosen["Chops"]).split()
        self.budget = min(max(float(chosen["Budget"]), 0.1), 100.0) / 1000.0
        self.home = str(chosen["Home"] or "").strip()
        self.allow_code = bool(chosen["Allowcode"])
