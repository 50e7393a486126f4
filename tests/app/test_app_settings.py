"""The settings of the daemon: what is wrong only together, and how floors take their tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightfast.app.settings import Settings, app_tables, mistakes, plugin_tables
from lightfast.core.config import ConfigError
from lightfast.core.config_load import Loaded, load


def given(*flags: str) -> Loaded[Settings]:
    return load(Settings, environ={}, flags=flags)


def test_the_defaults_are_in_order_and_open_to_this_machine_only() -> None:
    settings = given().settings
    assert mistakes(settings) == []
    for address in (settings.grpc.listen, settings.http.listen, settings.link.tcp, settings.osc.listen):
        assert address.startswith("127.0.0.1:501")
    assert (settings.osc.allow, settings.osc.grants) == ((), ())


def test_grpc_for_other_machines_needs_tls(tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("")
    (found,) = mistakes(given("grpc.listen=0.0.0.0:50151").settings)
    assert str(found) == (
        "grpc.listen: 0.0.0.0:50151 can be reached from other machines, and there is no TLS: set grpc.tls_cert and "
        "grpc.tls_key, or listen on 127.0.0.1 and forward the port through SSH"
    )
    one_of_two = given("grpc.listen=0.0.0.0:50151", f"grpc.tls_cert={tmp_path}/pem", "grpc.tls_key=/nowhere")
    assert [str(one) for one in mistakes(one_of_two.settings)] == ["grpc.tls_key: there is no file /nowhere"]
    assert [str(one) for one in mistakes(given(f"grpc.tls_cert={tmp_path}/pem").settings)] == [
        "grpc.tls_cert: TLS needs both, grpc.tls_cert and grpc.tls_key"
    ]
    assert mistakes(given("grpc.listen=[::1]:0").settings) == []


def test_osc_for_other_machines_needs_an_allow_list() -> None:
    (found,) = mistakes(given("osc.listen=0.0.0.0:50155").settings)
    assert str(found) == (
        "osc.listen: 0.0.0.0:50155 can be reached from other machines, and OSC asks for no password: list who may "
        'send in osc.allow, for example ["192.168.1.0/24"], or listen on 127.0.0.1'
    )
    assert mistakes(given("osc.listen=0.0.0.0:50155", "osc.allow=192.168.1.0/24").settings) == []


def test_each_door_has_an_address_of_its_own() -> None:
    found = mistakes(
        given("grpc.listen=127.0.0.1:7000", "http.listen=127.0.0.1:7000", "link.pub=127.0.0.1:7000").settings
    )
    assert [str(one) for one in found] == [
        f"{key}: 127.0.0.1:7000 is also grpc.listen: give each door a port of its own"
        for key in ("http.listen", "link.pub")
    ]
    assert (
        mistakes(given("grpc.listen=127.0.0.1:0", "http.listen=127.0.0.1:0", "osc.listen=127.0.0.1:50151").settings)
        == []
    )


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ('osc.grants=["/a", "b"]', 'osc.grants = ["/a", "b"]: expected patterns of paths: \'b\''),
        ("osc.allow=192.168.1.0/99", "addresses or networks such as"),
        ("link.router=0.0.0.0:50152", "expected a loopback address"),
        ("link.tcp=0.0.0.0:50156", "expected a loopback address"),
        ("apps.blender.resync_policy=ap", "one of auto, app, daemon, newest, ask; did you mean app?"),
        ("limits.streams=0", "expected at least 1"),
        (
            'apps.live.policies={"tracks/*/volume"="owners"}',
            "expected one of last_writer, owner, compare_and_set for 'tracks/*/volume', not 'owners'; did you mean owner?",
        ),
        ('apps.live.policies={"tracks/[/volume"="owner"}', "expected patterns of paths below the mount: 'tracks/["),
        ("apps.live.policies=owner", 'expected a table such as {"tracks/*/volume" = "owner"}'),
    ],
)
def test_what_a_door_cannot_take_is_a_mistake(flag: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(flag)
    assert text in caught.value.message


def test_the_tables_of_apps_and_plugins() -> None:
    settings = given(
        "apps.blender.allow_code=true",
        "apps.ableton.resync_policy=app",
        "plugins.studio.isolated=true",
        "plugins.studio.size.width=640",
    ).settings
    assert app_tables(settings)["blender"] == {
        "resync_policy": "",
        "allow_code": True,
        "wish_timeout_s": 5.0,
        "resync_timeout_s": 30.0,
        "policies": {},
        "owner_hold_s": 1.0,
    }
    assert app_tables(settings)["ableton"]["resync_policy"] == "app"
    assert plugin_tables(settings) == {"studio": {"enabled": True, "isolated": True, "size": {"width": 640}}}


def test_prices_in_a_file_are_one_setting_and_not_keys_of_the_provider(tmp_path: Path) -> None:
    file = tmp_path / "lightfast.toml"
    file.write_text('[providers.openai]\nprices = {"gpt-4.1" = "input 2/M, output 8/M"}\n')
    assert load(Settings, file=file, environ={}).settings.providers["openai"].prices == (
        ("gpt-4.1", "input 2/M, output 8/M"),
    )
    file.write_text('[providers.openai.prices]\n"gpt-4.1" = "cheap"\n')
    with pytest.raises(ConfigError, match=r'openai\.prices = .*expected a price such as "input 1\.25/M'):
        load(Settings, file=file, environ={})
    file.write_text('[providers.mine]\nheaders = {deep = {er = "x"}}\n')
    assert load(Settings, file=file, environ={}).settings.providers["mine"].options == {
        "headers": {"deep": {"er": "x"}}
    }
