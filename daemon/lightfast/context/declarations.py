"""What is declared of paths, and the checks that follow from it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from lightfast.context.entry import Declaration
from lightfast.context.policies import LAST_WRITER, MAX_OWNER_HOLD, POLICIES, Owners, Policy
from lightfast.core.errors import Denied, InvalidArgument, OutOfBounds
from lightfast.storage.database import Unit
from lightfast_link.path import Pattern, compile_pattern, parent
from lightfast_link.value import KINDS, Value, kind_of

MAX_DECLARATIONS = 100_000
_CACHED_RULES = 1 << 17


class Rule:
    """What holds for one path: its declaration, if any, and the mount it lies under (or the empty text)."""

    __slots__ = ("declaration", "limited", "mount", "policy", "readonly", "signal")

    def __init__(self, declaration: Declaration | None, mount: str, policy: Policy | None = None) -> None:
        self.declaration = declaration
        self.mount = mount
        self.policy = policy
        self.signal = declaration is not None and declaration.signal
        self.readonly = declaration is not None and declaration.access == "r"
        self.limited = declaration is not None and bool(
            declaration.kind
            or declaration.choices
            or declaration.minimum is not None
            or declaration.maximum is not None
        )


FREE = Rule(None, "")

RESERVED = "/lightfast"
"""What the daemon itself tells lies below: applications, conflicts. Clients only read it."""
_OWN = RESERVED + "/"
OURS = Rule(Declaration(RESERVED + "//", access="r", owner="daemon", description="what the daemon tells"), "")


class Declarations:
    """All declarations and mounts, and the rule of each path, cached.

    An exact path beats a pattern; of patterns the one with the longest literal prefix wins.
    """

    def __init__(self) -> None:
        self._by_pattern: dict[str, Declaration] = {}
        self._by_prefix: dict[str, list[tuple[Pattern, Declaration]]] = {}
        self._mounts: set[str] = set()
        self._rules: dict[str, Rule] = {}
        self._policies: dict[str, list[tuple[Pattern, Policy]]] = {}
        self.owners = Owners()
        self.edition = 0
        """Grows with each change."""
        self.guarded = False
        """Whether any path at all has a policy."""

    def __len__(self) -> int:
        return len(self._by_pattern)

    def change(self, declarations: Iterable[Declaration], remove: Iterable[str]) -> None:
        """Add declarations, which `check` has passed, over those of the same pattern; take others away."""
        prefixes = set()
        for pattern in remove:
            if self._by_pattern.pop(pattern, None) is not None:
                prefixes.add(compile_pattern(pattern).prefix)
        for declaration in declarations:
            self._by_pattern[declaration.pattern] = declaration
            prefixes.add(compile_pattern(declaration.pattern).prefix)
        stale = {prefix: self._by_prefix.pop(prefix, []) for prefix in prefixes}
        texts = {pattern.text for bucket in stale.values() for pattern, _ in bucket}
        texts.update(declaration.pattern for declaration in declarations)
        for text in texts:
            declared = self._by_pattern.get(text)
            compiled = compile_pattern(text)
            if declared is not None and not compiled.exact:
                self._by_prefix.setdefault(compiled.prefix, []).append((compiled, declared))
        for prefix in prefixes:
            if prefix in self._by_prefix:
                self._by_prefix[prefix].sort(
                    key=lambda item: (-_literal(item[0].text), -len(item[0].text), item[0].text)
                )
        self._renew()
        self._guard()

    def set_policies(self, mount: str, policies: Mapping[str, Policy]) -> None:
        """Set the policies of *mount* by pattern, over what is declared; the first that matches holds."""
        self._policies[mount] = [(compile_pattern(pattern), policy) for pattern, policy in policies.items()]
        self._renew()
        self._guard()

    def _renew(self) -> None:
        self._rules.clear()
        self.edition += 1

    def _guard(self) -> None:
        declared = any(declaration.policy for declaration in self._by_pattern.values())
        self.guarded = declared or any(self._policies.values())

    def policy(self, path: str, mount: str, declaration: Declaration | None) -> Policy | None:
        """Return the policy of *path*: the one set for its *mount*, else the one declared; none is last writer."""
        for pattern, policy in self._policies.get(mount, ()):
            if pattern.matches(path):
                return policy if policy.name != LAST_WRITER else None
        if declaration is None or declaration.policy in {"", LAST_WRITER}:
            return None
        return Policy(declaration.policy, declaration.owner_hold)

    def add_mount(self, mount: str) -> None:
        """Make *mount* (`/blender`) an application's: what is not declared there cannot be written."""
        self._mounts.add(mount)
        self._renew()

    def remove_mount(self, mount: str) -> None:
        """Forget *mount*."""
        self._mounts.discard(mount)
        self._renew()

    def mount_of(self, path: str) -> str:
        """Return the mount that *path* lies under, or the empty text."""
        end = path.find("/", 1)
        mount = path if end < 0 else path[:end]
        return mount if mount in self._mounts else ""

    def rule(self, path: str) -> Rule:
        """Return the rule of *path*."""
        rule = self._rules.get(path)
        if rule is None:
            if path.startswith(_OWN) or path == RESERVED:
                return OURS
            if not self._by_pattern and not self._mounts:
                return FREE
            declaration = self.find(path)
            mount = self.mount_of(path)
            policy = self.policy(path, mount, declaration) if self.guarded else None
            rule = Rule(declaration, mount, policy) if declaration is not None or mount else FREE
            if len(self._rules) >= _CACHED_RULES:
                self._rules.clear()
            self._rules[path] = rule
        return rule

    def find(self, path: str) -> Declaration | None:
        """Return the declaration that holds for *path*."""
        declaration = self._by_pattern.get(path)
        if declaration is not None:
            return declaration  # a path has no wildcards, so this one was declared for it alone
        prefix = path
        while True:
            for pattern, candidate in self._by_prefix.get(prefix, ()):
                if pattern.matches(path):
                    return candidate
            if prefix == "/":
                return None
            prefix = parent(prefix)

    def describe(self, pattern: str) -> list[Declaration]:
        """Return declarations ordered by pattern: all, those *pattern* matches, or those that cover a path."""
        if not pattern:
            return sorted(self._by_pattern.values(), key=lambda declaration: declaration.pattern)
        wanted = compile_pattern(pattern)
        found = {text for text in self._by_pattern if text == pattern or wanted.matches(text)}
        if wanted.exact and (holding := self.find(pattern)) is not None:
            found.add(holding.pattern)
        return [self._by_pattern[text] for text in sorted(found)]

    def under(self, mount: str) -> Iterator[str]:
        """Yield the patterns declared under *mount*."""
        return (text for text in self._by_pattern if text.startswith(mount + "/"))


def check(declaration: Declaration, where: str) -> None:
    """Raise `InvalidArgument` unless *declaration* makes sense."""
    try:
        compile_pattern(declaration.pattern)
    except ValueError as error:
        raise InvalidArgument(f"{where}: {error}", field=f"{where}.pattern") from None
    if declaration.kind and declaration.kind not in KINDS:
        known = ", ".join(KINDS)
        raise InvalidArgument(f"{where}: {declaration.kind!r} is no kind of value: use {known}", field=f"{where}.type")
    if declaration.access not in {"rw", "r", "w"}:
        raise InvalidArgument(f"{where}: access {declaration.access!r} is not rw, r or w", field=f"{where}.access")
    if declaration.policy and declaration.policy not in POLICIES:
        known = ", ".join(POLICIES)
        raise InvalidArgument(
            f"{where}: {declaration.policy!r} is no conflict policy: use {known}", field=f"{where}.policy"
        )
    if not 0 < declaration.owner_hold <= MAX_OWNER_HOLD:
        raise InvalidArgument(
            f"{where}: an owner holds for more than 0 and at most {MAX_OWNER_HOLD:g} s, not {declaration.owner_hold:g}",
            field=f"{where}.owner_hold",
        )
    low, high = declaration.minimum, declaration.maximum
    if low is not None and high is not None and not low <= high:
        raise InvalidArgument(f"{where}: the minimum {low} is not below the maximum {high}", field=f"{where}.minimum")


def write(unit: Unit, declarations: Iterable[Declaration], remove: Iterable[str], owner: str) -> list[Declaration]:
    """Check *declarations*, add the rows of the change to *unit*, and return them stamped with their *owner*."""
    owned = []
    for index, declaration in enumerate(declarations):
        check(declaration, f"declarations[{index}]")
        owned.append(msgspec.structs.replace(declaration, owner=owner))
    unit.insert("DELETE FROM declarations WHERE pattern = ?", [(pattern,) for pattern in remove])
    unit.insert(
        "INSERT OR REPLACE INTO declarations VALUES(?, ?)",
        [(declaration.pattern, msgspec.json.encode(declaration).decode()) for declaration in owned],
    )
    return owned


def check_access(rule: Rule, path: str) -> None:
    """Raise `Denied` if *path* can only be read."""
    if rule.readonly and rule.declaration is not None:
        raise Denied(
            f"{path} can only be read: it is what {rule.declaration.owner or 'its owner'} reports",
            reason="READ_ONLY",
            metadata={"path": path},
        )


def conform(declaration: Declaration, path: str, value: Value) -> Value:
    """Return *value* as *declaration* wants it (an int for a double is converted), else raise `OutOfBounds`."""
    kind = kind_of(value)
    if declaration.kind and kind != declaration.kind:
        if declaration.kind == "double" and type(value) is int:
            value = float(value)
        else:
            raise OutOfBounds(
                f"{path} is declared {declaration.kind}, and {value!r:.60} is {kind}: send a {declaration.kind}",
                reason="VALUE_WRONG_TYPE",
                metadata={"path": path, "declared": declaration.kind, "sent": kind},
                field="value",
            )
    if declaration.choices and isinstance(value, str) and value not in declaration.choices:
        near = difflib.get_close_matches(value, declaration.choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise OutOfBounds(
            f"{path} cannot be {value!r:.60}: use one of {', '.join(declaration.choices)}.{hint}",
            metadata={"path": path, "choices": ",".join(declaration.choices)},
            field="value",
        )
    if declaration.minimum is not None or declaration.maximum is not None:
        if isinstance(value, tuple):
            for item in value:
                _check_range(declaration, path, item)
        elif type(value) in {int, float}:
            _check_range(declaration, path, value)  # type: ignore[arg-type]
    return value


def within(declaration: Declaration, path: str, value: Value) -> str:
    """Return why *value* does not conform, or the empty text; for reports, which are recorded as they come."""
    try:
        conform(declaration, path, value)
    except OutOfBounds as error:
        return error.message
    return ""


def _check_range(declaration: Declaration, path: str, number: float) -> None:
    low = float("-inf") if declaration.minimum is None else declaration.minimum
    high = float("inf") if declaration.maximum is None else declaration.maximum
    if not low <= number <= high:
        unit = f" {declaration.unit}" if declaration.unit else ""
        raise OutOfBounds(
            f"{path} cannot be {number}: its range is {low:g} to {high:g}{unit}",
            metadata={"path": path, "value": repr(number), "minimum": f"{low:g}", "maximum": f"{high:g}"},
            field="value",
        )


def _literal(text: str) -> int:
    """Return the length of *text* before its first wildcard."""
    ends = [position for position in (text.find(mark) for mark in ("//", "*", "?", "[", "{")) if position >= 0]
    return min(ends, default=len(text))
