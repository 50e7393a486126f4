"""The drop-in folder: real files, the real file watch."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from pathlib import Path

import pytest
from tests.support.plugins import NotingSink, installed, provider_source, record_of, until

from lightfast.core.errors import AlreadyExists, NotFound
from lightfast.host.dropins import DropinWatch
from lightfast.host.plugins import PluginHost
from lightfast.host.records import PluginState


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "plugins"
    found.mkdir()
    return found


async def started(folder: Path, sink: NotingSink) -> PluginHost:
    host = PluginHost({}, folder, sink=sink, found=(), debounce=0.05)
    await host.start()
    await host.settled()
    return host


def replace(path: Path, content: str) -> None:
    """Write a file as a careful editor does: no reader ever sees half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(content)
    draft.replace(path)


async def test_a_file_is_loaded_reloaded_and_removed(folder: Path) -> None:
    sink = NotingSink()
    host = await started(folder, sink)
    path = folder / "mine.py"
    replace(path, provider_source(says="one"))
    await until(lambda: "echo" in sink.providers, "the new drop-in")
    old_module = weakref.ref(sys.modules["lightfast_dropins.mine_g1"])
    assert record_of(host, "mine").source == str(path)

    replace(path, provider_source(says="two"))
    await until(lambda: len(sink.log) == 3, "the second version")
    assert sink.log == ["+mine/echo", "-mine/echo", "+mine/echo"]
    assert record_of(host, "mine").generation == 2
    assert "lightfast_dropins.mine_g1" not in sys.modules
    await until(lambda: gc.collect() >= 0 and old_module() is None, "the end of the old module")

    path.unlink()
    await until(lambda: not sink.providers and not host.records(), "the removal")
    assert not [name for name in sys.modules if name.startswith("lightfast_dropins.mine")]
    await host.close()


async def test_a_file_written_in_place_is_loaded_when_it_has_come_to_rest(folder: Path) -> None:
    sink = NotingSink()
    host = await started(folder, sink)
    with (folder / "mine.py").open("w") as file:
        for line in provider_source().splitlines(keepends=True):
            file.write(line)
            file.flush()
    await until(lambda: "echo" in sink.providers, "the drop-in written in place")
    assert record_of(host, "mine").state is PluginState.READY
    await host.close()


async def test_a_broken_new_version_keeps_the_old_one(folder: Path) -> None:
    sink = NotingSink()
    path = folder / "mine.py"
    path.write_text(provider_source())
    host = await started(folder, sink)
    old = sink.providers["echo"]

    replace(path, provider_source() + "raise RuntimeError('half an edit')\n")
    await until(lambda: record_of(host, "mine").reason, "the word about the broken version")
    record = record_of(host, "mine")
    assert record.state is PluginState.READY
    assert "the new version is broken, the one before goes on: RuntimeError: half an edit" in record.reason
    assert f"({path}, line" in record.reason
    assert sink.providers["echo"] is old
    assert "lightfast_dropins.mine_g2" not in sys.modules

    replace(path, provider_source(says="repaired"))
    await until(lambda: sink.providers["echo"] is not old, "the repaired version")
    assert record_of(host, "mine").reason == ""
    await host.close()


async def test_a_file_moved_into_place_is_loaded(folder: Path, tmp_path: Path) -> None:
    sink = NotingSink()
    host = await started(folder, sink)
    (tmp_path / "draft").write_text(provider_source())
    (tmp_path / "draft").rename(folder / "mine.py")
    await until(lambda: "echo" in sink.providers, "the drop-in moved into place")
    await host.close()


async def test_files_that_are_no_plugins_are_left_alone(folder: Path) -> None:
    for name in ("_helper.py", ".hidden.py", "notes.txt", "with-dash.py"):
        (folder / name).write_text("raise SystemExit\n")
    host = await started(folder, NotingSink())
    assert host.records() == []
    await host.close()


async def test_the_folder_is_made(tmp_path: Path) -> None:
    sink = NotingSink()
    host = await started(tmp_path / "not" / "yet", sink)
    (tmp_path / "not" / "yet" / "mine.py").write_text(provider_source())
    await until(lambda: "echo" in sink.providers, "the drop-in in the new folder")
    await host.close()


async def test_a_drop_in_cannot_take_the_name_of_an_installed_plugin(folder: Path, tmp_path: Path) -> None:
    (folder / "one.py").write_text(provider_source("other"))
    with installed(tmp_path, lfx_one=provider_source()) as found:
        host = PluginHost({}, folder, found=found)
        await host.start()
        await host.settled()
        assert record_of(host, "one").brings == ("provider:echo",)
        taken = record_of(host, "one.py")
        assert (taken.state, taken.reason) == (
            PluginState.FAILED,
            "the name one is that of an installed plugin: rename the file",
        )
        await host.close()


async def test_reload_by_name(folder: Path) -> None:
    sink = NotingSink()
    (folder / "mine.py").write_text(provider_source())
    host = await started(folder, sink)
    old = sink.providers["echo"]
    record = await host.reload("mine")
    assert (record.state, record.generation) == (PluginState.READY, 2)
    assert sink.providers["echo"] is not old
    with pytest.raises(NotFound, match=r"there is no plugin 'mime': did you mean 'mine'\?"):
        await host.reload("mime")
    await host.close()


@pytest.mark.parametrize("what", ["file", "folder"])
async def test_a_file_that_others_can_write_is_not_run(folder: Path, what: str) -> None:
    path = folder / "mine.py"
    path.write_text(provider_source())
    target = path if what == "file" else folder
    target.chmod(0o777)
    host = await started(folder, NotingSink())
    record = record_of(host, "mine")
    assert record.state is PluginState.FAILED
    assert f"any user can write {target}, and it would run as you: run chmod o-w {target}" in record.reason
    target.chmod(0o700)
    assert (await host.reload("mine")).state is PluginState.READY
    await host.close()


async def test_a_folder_that_cannot_be_made_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sink = NotingSink()
    with installed(tmp_path, lfx_good=provider_source()) as found:
        host = PluginHost({}, tmp_path / "file/plugins", sink=sink, found=found)
        await host.start()
        async with asyncio.timeout(60):
            await host.settled()
    assert record_of(host, "good").state is PluginState.READY
    await host.close()


async def test_closing_before_the_watch_has_begun(folder: Path) -> None:
    watch = DropinWatch(folder, lambda path: None)
    before = set(threading.enumerate())
    watch.close()
    watch.start()  # its thread was late
    watch.close()
    assert set(threading.enumerate()) <= before  # one that ends meanwhile is of another test


async def test_a_file_that_went_while_others_loaded_leaves_no_trace(folder: Path) -> None:
    host = await started(folder, NotingSink())
    path = folder / "mine.py"
    replace(path, provider_source())
    await until(lambda: bool(host.records()), "the new drop-in")
    async with host._lock:  # as while another plugin loads
        path.write_text(provider_source(says="two"))
        follows = [asyncio.ensure_future(host._follow(path)) for _ in range(3)]
        await asyncio.sleep(0)
        path.unlink()
    await asyncio.gather(*follows)
    assert not host.records()
    await host.close()


async def test_a_version_the_sink_refuses_leaves_no_module_behind(folder: Path) -> None:
    sink = NotingSink()
    host = await started(folder, sink)
    path = folder / "mine.py"
    replace(path, provider_source())
    await until(lambda: "echo" in sink.providers, "the new drop-in")
    sink.refuse = AlreadyExists("that name is taken")
    replace(path, provider_source(says="two"))
    await until(lambda: record_of(host, "mine").state is PluginState.FAILED, "the refusal")
    assert not [name for name in sys.modules if name.startswith("lightfast_dropins.mine")]
    await host.close()
