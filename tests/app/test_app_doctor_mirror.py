"""What doctor says of the mirror of tasks."""

from __future__ import annotations

from pathlib import Path

from tests.support.daemon import daemon
from tests.support.mistakes import doctor

from lightfast.app.cli.checks import BAD, OK, WARN
from lightfast.app.cli.mirror_checks import check_mirror


def test_the_mirror_is_looked_at(tmp_path: Path) -> None:
    assert list(check_mirror("")) == []
    (fine,) = check_mirror(str(tmp_path / "new"))
    assert fine.level == OK
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/a.theirs-1").write_text("x")
    (theirs,) = check_mirror(str(tmp_path))
    assert (theirs.level, "put aside there: 1" in theirs.what) == (WARN, True)
    (bad,) = check_mirror(str(tmp_path / "tasks/a.theirs-1"))
    assert (bad.level, "is no folder" in bad.what) == (BAD, True)


def test_doctor_tells_of_it(tmp_path: Path) -> None:
    home, mirror = tmp_path / "home", tmp_path / "mirror"
    with daemon(home, flags=(f"workspaces.mirror={mirror}",)):
        assert f"the mirror of tasks is {mirror}" in doctor(home, "doctor").stdout
