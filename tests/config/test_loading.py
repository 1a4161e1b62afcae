"""Layers, precedence, and the words of a refusal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qrtx_ray.config import Settings, load_settings
from qrtx_ray.config.sources import SHORT_VARIABLES, read_profile
from qrtx_ray.errors import ValidationError
from qrtx_ray.model.noise import MAX_RATE

HOME = {"HOME": "/home/somebody"}


def write(folder: Path, text: str) -> Path:
    path = folder / "kernel.yaml"
    path.write_text(text)
    return path


def refusal(**arguments) -> str:
    arguments.setdefault("env", HOME)
    with pytest.raises(ValidationError) as caught:
        load_settings(**arguments)
    assert caught.value.field
    return caught.value.message


def test_no_file_and_no_variables_give_the_defaults():
    settings = load_settings(env=HOME)
    assert settings.scheduler == Settings().scheduler
    assert settings.server.port == 8000


def test_the_default_profile_says_exactly_what_the_models_default_to():
    assert Settings.model_validate(read_profile("default")) == Settings()


def test_the_default_profile_names_every_key():
    def keys(data, path=""):
        for name, value in data.items():
            yield from keys(value, f"{path}{name}.") if isinstance(value, dict) else [f"{path}{name}"]

    assert set(keys(read_profile("default"))) == set(keys(Settings().to_dict()))


def test_every_key_has_a_description():
    from qrtx_ray.config.devices import DeviceEntry
    from qrtx_ray.config.section import Section

    def missing(section):
        for name, info in section.model_fields.items():
            if not info.description or not info.description.endswith("."):
                yield f"{section.__name__}.{name}"
            if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
                yield from missing(info.annotation)

    assert [*missing(Settings), *missing(DeviceEntry)] == []


def test_the_optimized_profile_changes_only_what_it_names():
    settings = load_settings(profile="optimized", env=HOME)
    assert settings.scheduler.max_group_jobs == 128
    assert settings.queues.high == Settings().queues.high
    assert settings.queues.normal.max_wait_time == 1800


def test_a_later_source_wins(tmp_path):
    path = write(tmp_path, "server: {port: 1, dashboard_port: 2, host: file}\n")
    env = {**HOME, "QRTX_PORT": "3", "QRTX_SERVER__HOST": "variable"}
    server = load_settings(path, env=env, overrides={"server.host": "option"}).server
    assert (server.host, server.port, server.dashboard_port) == ("option", 3, 2)


def test_the_nested_variable_wins_over_the_short_one():
    assert load_settings(env={**HOME, "QRTX_SERVER__PORT": "1", "QRTX_PORT": "2"}).server.port == 1


def test_the_file_and_the_profile_may_be_named_by_variables(tmp_path):
    path = write(tmp_path, "qrtx:\n  scheduler:\n    max_group_jobs: 7\n")
    settings = load_settings(env={**HOME, "QRTX_CONFIG": str(path), "QRTX_PROFILE": "optimized"})
    assert settings.scheduler.max_group_jobs == 7
    assert settings.scheduler.max_queue_size == 100_000


@pytest.mark.parametrize("text", ["", "qrtx:\n", "# only a comment\n", "{}\n"])
def test_an_empty_file_is_the_defaults(tmp_path, text):
    assert load_settings(write(tmp_path, text), env=HOME) == load_settings(env=HOME)


def test_every_short_variable_reaches_its_key():
    values = {"QRTX_LOG_LEVEL": "debug", "QRTX_ENABLE_MULTIPLEXING": "false", "QRTX_ISOLATION_LEVEL": "strong"}
    values |= {"QRTX_MAX_QUEUE_SIZE": "5", "QRTX_PORT": "9", "QRTX_HOST": "0.0.0.0"}
    values |= {"QRTX_STORAGE_PATH": "/data", "QRTX_TOKEN_FILE": "/secret/token"}
    assert values.keys() == SHORT_VARIABLES.keys()
    settings = load_settings(env=HOME | values)
    assert settings.monitoring.log_level == "DEBUG"
    assert settings.group_jobs == 1
    assert settings.multiplexing.isolation_level == "strong"
    assert (settings.scheduler.max_queue_size, settings.server.port, settings.server.host) == (5, 9, "0.0.0.0")
    assert settings.paths.token_file == Path("/secret/token")
    assert settings.paths.journal_url == "sqlite:////data/journal.db"


def test_lists_and_null_are_written_as_yaml_in_a_variable():
    env = {
        **HOME,
        "QRTX_DEVICES": "[{name: fake_manila@aer, count: 2}]",
        "QRTX_SCHEDULER__MAX_QUEUE_PER_TENANT": "null",
        "QRTX_RETRY_POLICY__RETRYABLE_ERRORS": "[worker_died]",
        "QRTX_RETRY_POLICY__BACKOFF__MAX": "5m",
    }
    settings = load_settings(env=env)
    assert settings.devices[0].count == 2
    assert settings.scheduler.max_queue_per_tenant is None
    assert settings.retry_policy.retryable_errors == ("worker_died",)
    assert settings.retry_policy.backoff.max == 300


def test_an_empty_variable_is_unset():
    assert load_settings(env={**HOME, "QRTX_PORT": "", "QRTX_SERVER__HOST": "  "}) == load_settings(env=HOME)


def test_the_port_that_kubernetes_sets_for_a_service_is_not_ours():
    env = {**HOME, "QRTX_PORT": "tcp://10.0.0.1:80", "QRTX_PORT_80_TCP": "x", "QRTX_SERVICE_HOST": "10.0.0.1"}
    assert load_settings(env=env).server.port == 8000


def test_the_variables_of_the_client_are_left_alone():
    env = {**HOME, "QRTX_URL": "http://x", "QRTX_TOKEN": "secret", "QRTX_INSTANCE": "i", "QRTX_SOMETHING_ELSE": "1"}
    assert load_settings(env=env) == load_settings(env=HOME)


def test_an_unknown_key_is_refused_with_the_nearest_name_and_its_file(tmp_path):
    path = write(tmp_path, "scheduler:\n  max_queue_sizes: 4\n")
    assert refusal(path=path) == f"unknown key scheduler.max_queue_sizes; did you mean max_queue_size? ({path})"


def test_an_unknown_key_near_nothing_is_refused_with_the_keys_there_are():
    message = refusal(overrides={"server": {"zzz": 1}})
    assert (
        message
        == "unknown key server.zzz; known keys: host, port, dashboard_port, root, drain_time (given as an option)"
    )


def test_an_unknown_section_is_refused(tmp_path):
    assert "unknown key queue; did you mean queues?" in refusal(path=write(tmp_path, "queue: {}\n"))


def test_an_unknown_key_inside_a_list_is_refused():
    message = refusal(overrides={"devices": [{"metadta": "fake_manila"}]})
    assert message == "unknown key devices[0].metadta; did you mean metadata? (given as an option)"


def test_all_problems_are_told_at_once(tmp_path):
    path = write(tmp_path, "server: {port: 70000}\nscheduler: {max_group_jobs: 0}\n")
    lines = refusal(path=path).splitlines()
    assert lines[0] == f"scheduler.max_group_jobs: it should be greater than or equal to 1, not 0 ({path})"
    assert lines[1] == f"server.port: it should be less than or equal to 65535, not 70000 ({path})"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "QRTX_SCHEDULER__MAX_QUEUE_SIZES",
            "1",
            "did you mean max_queue_size? (variable QRTX_SCHEDULER__MAX_QUEUE_SIZES)",
        ),
        ("QRTX_SCHEDULR__X", "1", "no section schedulr; did you mean scheduler?"),
        ("QRTX_LOG_LEVL", "1", "did you mean QRTX_LOG_LEVEL?"),
        ("QRTX_MAX_QUEUE_SIZE", "many", "not 'many' (variable QRTX_MAX_QUEUE_SIZE)"),
        ("QRTX_DEVICES", "[{", "not YAML"),
        ("QRTX_PROFILE", "optimised", "did you mean optimized?"),
        ("QRTX_CONFIG", "/nowhere/kernel.yaml", "/nowhere/kernel.yaml cannot be read: No such file or directory"),
        ("QRTX_SCHEDULER", "fast", "scheduler: "),
    ],
)
def test_a_bad_variable_is_named(name, value, words):
    assert words in refusal(env={**HOME, name: value})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 1, column 5: not valid YAML"),
        ("- 1\n", "a mapping of sections is wanted, not list"),
        ("server: {port: 1}\nserver: {port: 2}\n", "line 2, column 1: not valid YAML: the key 'server' is given twice"),
        ("a: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
        ("scheduler: 3\n", "scheduler: "),
        ("qrtx: 3\n", "a mapping of sections is wanted, not int"),
    ],
)
def test_a_bad_file_is_named_with_the_place(tmp_path, text, words):
    path = write(tmp_path, text)
    message = refusal(path=path)
    assert words in message
    assert str(path) in message


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8 text" in refusal(path=path)


@pytest.mark.parametrize(
    ("dotted", "value", "words"),
    [
        ("scheduler.algorithm", "fifo", "there are priority, noise_aware, multiplexing, hybrid"),
        (
            "scheduler.algorithm",
            "noise-aware",
            "there is no scheduling policy 'noise-aware'; did you mean noise_aware?",
        ),
        ("scheduler.hybrid_config.primary", "hybrid", "hybrid cannot be made of itself"),
        ("scheduler.hybrid_config.switch_threshold", 1.5, "less than or equal to 1"),
        ("scheduler.fair_share.tenants.alice.weigth", 2, "did you mean weight?"),
        ("scheduler.fair_share.tenants.alice.weight", 0, "greater than 0"),
        ("scheduler.fair_share.tenants.alice.quotas.queud", 2, "did you mean queued?"),
        ("scheduler.fair_share.tenants", {"a b": {"weight": 2}}, "is not a tenant's name"),
        ("scheduler.preemption_cost_threshold", -0.1, "greater than or equal to 0"),
        ("queues.critical.wieght", 2, "did you mean weight?"),
        ("resources.calibration.treshold", 0.9, "did you mean threshold?"),
        ("devices", [{"options": {"drift": {"rat": 0.1}}}], "did you mean rate?"),
        ("devices", [{"options": {"drift": {"rate": MAX_RATE + 0.1}}}], f"less than or equal to {MAX_RATE:g}"),
        ("multiplexing.isolation_level", "weak", "not part of this release"),
        (
            "resources.check_interval",
            "30s",
            "resources.check_interval: must be at most half of scheduler.agent_timeout_s",
        ),
        ("retry_policy.max_retries", True, "a whole number is wanted"),
        ("retry_policy.backoff.initial", "2m", "initial (120 s) is more than max (60 s)"),
        ("retry_policy.backoff.multiplier", float("nan"), "retry_policy.backoff.multiplier"),
        ("retry_policy.retryable_errors", ["transient_error"], "retry_policy.retryable_errors[0]"),
        ("storage.journal_url", "mysql://x", "not a store of this release"),
        ("storage.journal_url", "postgresql://a:b@c@d/e", "not a PostgreSQL URL"),
        ("server.root", "quantum/", "a leading slash"),
        ("auth.tokens", [{"name": "a b", "sha256": "0" * 64}], "auth.tokens[0].name"),
        ("auth.tokens", [{"name": "a"}], "auth.tokens[0].sha256: Field required (given as an option)"),
        ("performance.haproxy", "maybe", "it should be 'auto', 'on' or 'off', not 'maybe'"),
        ("scheduler.max_group_s", "0s", "greater than 0"),
        ("scheduler.max_group_s", "soon", "not a duration"),
        ("devices", [], "devices: at least one entry is wanted"),
    ],
)
def test_a_bad_value_is_refused_with_its_key(dotted, value, words):
    message = refusal(overrides={dotted: value})
    assert words in message
    assert "(given as an option)" in message


def test_a_token_pasted_in_place_of_its_hash_is_not_repeated():
    assert "hunter2" not in refusal(overrides={"auth.tokens": [{"name": "a", "sha256": "hunter2"}]})
    assert "hunter2" not in refusal(overrides={"auth.tokens": "hunter2"})


def test_on_and_off_mean_what_they_say_although_yaml_reads_booleans(tmp_path):
    assert load_settings(write(tmp_path, "performance: {haproxy: on}\n"), env=HOME).performance.haproxy == "on"
    assert load_settings(write(tmp_path, "performance: {haproxy: off}\n"), env=HOME).performance.haproxy == "off"


def test_settings_travel_as_plain_data():
    settings = load_settings(env=HOME, overrides={"devices": [{"name": "fake_manila@aer", "alias": "m"}]})
    assert Settings.from_dict(settings.to_dict()) == settings


def test_data_that_is_not_of_settings_is_refused():
    with pytest.raises(ValidationError, match=r"server\.port"):
        Settings.from_dict({"server": {"port": "x"}})


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_settings(env=HOME).server.port = 1


def test_the_process_environment_is_the_default(monkeypatch):
    for name in [name for name in os.environ if name.startswith("QRTX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QRTX_PORT", "4321")
    assert load_settings().server.port == 4321
