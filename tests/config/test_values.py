"""Units, paths, devices and what follows from several keys."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.config import DeviceEntry, Settings, load_settings
from qrtx_ray.config.policies import GROUP
from qrtx_ray.config.reference import document
from qrtx_ray.config.units import parse_duration, parse_size
from qrtx_ray.errors import ValidationError

KNOWN = ("fake_brisbane", "fake_manila", "fake_sherbrooke")
quick = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h", 3600), ("250ms", 0.25), ("30s", 30), (" 1.5 h ", 5400), ("7d", 604800), ("12", 12), (3, 3)],
)
def test_durations_become_seconds(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("4MiB", 4 * 2**20), ("2GB", 2 * 10**9), ("1.5 KiB", 1536), ("10", 10), (7, 7), ("1kb", 1000)]
)
def test_sizes_become_bytes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value", ["", "m", "5 fortnights", "-1s", -1, float("nan"), float("inf"), True, None, [], "1e3s"]
)
def test_what_is_no_quantity_is_refused(value):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(value)


def test_a_fraction_of_a_byte_is_refused():
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(0.5)


@given(st.floats(min_value=0, max_value=1e9), st.sampled_from(["ms", "s", "m", "h"]))
@quick
def test_a_duration_is_read_as_it_is_written(number, unit):
    scale = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}[unit]
    assert parse_duration(f"{number:.6f}{unit}") == pytest.approx(round(number, 6) * scale)


@given(st.text() | st.floats() | st.integers() | st.none())
@quick
def test_parsing_gives_a_quantity_or_a_value_error(value):
    for parse in (parse_duration, parse_size):
        try:
            assert parse(value) >= 0
        except ValueError as error:
            assert "is not a" in str(error)  # noqa: PT017


def test_storage_defaults_to_the_users_data_folder():
    assert load_settings(env={"HOME": "/home/a"}).paths.storage == Path("/home/a/.local/share/qrtx")
    assert load_settings(env={"HOME": "/home/a", "XDG_DATA_HOME": "/xdg"}).paths.storage == Path("/xdg/qrtx")
    assert load_settings(env={"HOME": "/home/a", "XDG_DATA_HOME": "relative"}).paths.storage == Path(
        "/home/a/.local/share/qrtx"
    )


def test_everything_lies_under_the_storage_folder_unless_said_otherwise():
    paths = load_settings(env={}, overrides={"storage.path": "/data"}).paths
    assert paths.journal_url == "sqlite:////data/journal.db"
    assert paths.circuit_fs_url == "/data"
    assert paths.token_file == Path("/data/token")
    assert paths.quantum_states == Path("/data/quantum_states")
    assert paths.state_metadata == Path("/data/metadata")
    assert paths.custom_devices is None


def test_relative_paths_are_fixed_when_the_settings_are_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = {"storage.path": "data", "storage.circuit_fs_url": "jobs", "custom_devices": "devices"}
    loaded = load_settings(env={}, overrides=overrides)
    monkeypatch.chdir("/")
    elsewhere = Settings.from_dict(loaded.to_dict()).paths
    assert elsewhere.storage == tmp_path / "data"
    assert elsewhere.circuit_fs_url == str(tmp_path / "jobs")
    assert elsewhere.custom_devices == tmp_path / "devices"


def test_a_url_of_the_job_files_is_kept():
    assert (
        load_settings(env={}, overrides={"storage.circuit_fs_url": "s3://bucket/x"}).paths.circuit_fs_url
        == "s3://bucket/x"
    )


def test_the_storage_folder_is_made_for_its_owner_only(tmp_path):
    paths = load_settings(env={}, overrides={"storage.path": str(tmp_path / "a" / "b")}).paths
    paths.create()
    paths.create()
    assert paths.storage.stat().st_mode & 0o777 == 0o700


def test_the_default_entry_is_every_device_with_every_executor():
    names = Settings().devices[0].expand(KNOWN)
    assert len(names) == 6
    assert names[:2] == ("fake_brisbane@aer", "fake_brisbane@aer_ideal")


def test_an_entry_may_name_one_device_or_several():
    assert DeviceEntry(name="fake_manila@aer_ideal").expand(KNOWN) == ("fake_manila@aer_ideal",)
    assert DeviceEntry(metadata="fake_manila", executor="aer").expand(KNOWN) == ("fake_manila@aer",)
    assert DeviceEntry(metadata=["fake_manila", "fake_manila"], executor="aer").expand(KNOWN) == ("fake_manila@aer",)


@pytest.mark.parametrize("entry", [DeviceEntry(name="fake_manilla@aer"), DeviceEntry(metadata="fake_manilla")])
def test_metadata_that_does_not_exist_is_refused_with_the_nearest_name(entry):
    with pytest.raises(ValidationError, match="did you mean fake_manila"):
        entry.expand(KNOWN)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "fake_manila"}, "is not a device name"),
        ({"name": "fake_manila@gpu"}, "is not a device name"),
        ({"name": "fake_manila@aer", "metadata": "fake_lima"}, "give either name"),
        ({"alias": "x"}, "an alias needs an entry that is one device"),
        ({"metadata": "fake_manila", "alias": "x"}, "an alias needs"),
        ({"name": "fake_manila@aer", "alias": "a/b"}, "is not an alias"),
        ({"name": "fake_manila@aer", "alias": "auto"}, "leaves the choice of a device to the scheduler"),
        ({"metadata": []}, "at least one"),
        ({"count": 0}, "greater than or equal to 1"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(entry, words):
    with pytest.raises(ValidationError, match=words):
        load_settings(env={}, overrides={"devices": [entry]})


def test_one_alias_cannot_stand_for_two_devices():
    entries = [{"name": "fake_manila@aer", "alias": "m"}, {"name": "fake_lima@aer", "alias": ["m"]}]
    with pytest.raises(ValidationError, match="'m' is given to more than one device"):
        load_settings(env={}, overrides={"devices": entries})


def test_the_number_of_agents_follows_the_cores_unless_given():
    assert [DeviceEntry().agents(cores) for cores in (1, 2, 16)] == [2, 2, 16]
    assert DeviceEntry(count=3).agents(16) == 3


def test_the_size_of_a_group_has_two_bounds_and_a_switch():
    def group_jobs(**multiplexing) -> int:
        return load_settings(env={}, overrides={"multiplexing": multiplexing}).group_jobs

    assert group_jobs() == 32
    assert group_jobs(max_circuits_per_device=4) == 4
    assert group_jobs(max_circuits_per_device=400) == 32
    assert group_jobs(enabled=False) == 1


def test_a_level_that_is_given_in_part_keeps_the_rest_of_its_own_defaults():
    queues = load_settings(profile="optimized", env={}, overrides={"queues.high.weight": 8}).queues
    assert (queues.high.weight, queues.high.max_wait_time, queues.high.preemption) == (8.0, 900, True)
    assert (queues.critical.weight, queues.critical.max_wait_time, queues.critical.preemption) == (10.0, 120, True)
    assert [level.preemption for level in (queues.normal, queues.low)] == [False, False]


def test_no_level_outweighs_the_one_above_it():
    with pytest.raises(ValidationError, match="may not weigh more than the one above it"):
        load_settings(env={}, overrides={"queues.low.weight": 6})


def test_a_tenant_takes_from_the_default_what_is_not_said_of_it():
    given = {"default": {"quotas": {"queued": 5}}, "tenants": {"alice": {"weight": 2}}}
    share = load_settings(profile="optimized", env={}, overrides={"scheduler.fair_share": given}).scheduler.fair_share
    assert (share.default.weight, share.default.quotas.queued, share.default.quotas.period) == (1.0, 5, 28 * 86400)
    assert (share.tenants["alice"].weight, share.tenants["alice"].quotas.queued) == (2.0, None)


def test_a_policy_of_another_package_may_be_named(monkeypatch):
    installed = [EntryPoint("mine", "my_package:MyPolicy", GROUP)]
    monkeypatch.setattr("qrtx_ray.config.policies.entry_points", lambda group: installed if group == GROUP else [])
    chosen = load_settings(
        env={}, overrides={"scheduler": {"algorithm": "mine", "hybrid_config": {"primary": "mine"}}}
    ).scheduler
    assert (chosen.algorithm, chosen.hybrid_config.primary) == ("mine", "mine")


def test_the_limits_are_those_the_codec_obeys_with_the_same_defaults():
    from qrtx_ray.codec.limits import Limits

    assert Limits.from_dict(Settings().limits.model_dump(exclude={"state_bytes"})) == Limits()


def test_the_page_of_the_configuration_is_current():
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == document(), (
        "run python -m qrtx_ray.config.reference > docs/configuration.md"
    )


def test_the_page_names_units_defaults_and_variables():
    page = document()
    row = "| `scheduler.max_queue_size` | integer, ≥ 1 | jobs | `10000` | `QRTX_SCHEDULER__MAX_QUEUE_SIZE` |"
    assert row in page
    assert "| `queues.low.max_wait_time` | duration or null | s | `86400` |" in page
    assert "| `limits.body_bytes` | size, ≥ 1 | bytes | `4194304` |" in page
