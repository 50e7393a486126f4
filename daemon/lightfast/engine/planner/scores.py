"""How sure a plan is and how much it takes, from 0 to 1: by these the desk decides between one shot and many steps."""

from __future__ import annotations

from lightfast.engine.programs.program import Program

REPAIR = 0.15
FAILED_MODEL = 0.1
WARNING = 0.05
LEAST = 0.05


def model_confidence(repairs: int, failed_models: int, warnings: int, *, untrusted: bool, refused: bool) -> float:
    """Return how sure a plan of a model is.

    0.9 for one that was right at once; 0.15 less for each repair, 0.1 for each model that failed before, 0.05 for
    each warning; × 0.8 where text of others had a part in it, × 0.5 where the reviewer refused; at least 0.05.
    """
    found = 0.9 - REPAIR * repairs - FAILED_MODEL * failed_models - WARNING * warnings
    found *= (0.8 if untrusted else 1.0) * (0.5 if refused else 1.0)
    return round(max(LEAST, found), 4)


def complexity(program: Program) -> float:
    """Return how much a program takes.

    0.04 for each instruction after the first, 0.1 for each application after the first, 0.1 for each generation (at
    most 0.3) and each wait (at most 0.2), 0.15 for each branch, map and workflow (at most 0.45); at most 1.
    """
    instructions = list(program.walk())
    apps = {
        str(each.arguments.get("app") or str(each.arguments.get("path", "")).split("/", 2)[1:2])
        for each in instructions
        if each.op == "app.command" or (each.op.startswith("context.") and "/" in str(each.arguments.get("path", "")))
    }
    generations = sum(each.op.startswith("generate.") for each in instructions)
    waits = sum(each.op.startswith("wait.") for each in instructions)
    blocks = sum(each.op in {"flow.branch", "flow.map", "workflow.call"} for each in instructions)
    found = (
        0.04 * max(0, len(instructions) - 1)
        + 0.1 * max(0, len(apps) - 1)
        + min(0.3, 0.1 * generations)
        + min(0.2, 0.1 * waits)
        + min(0.45, 0.15 * blocks)
    )
    return round(min(1.0, found), 4)
