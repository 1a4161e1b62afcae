"""The documents say what is: generated pages are current, links lead somewhere, named tests and routes exist."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from qrtx_ray import __version__
from qrtx_ray.api import reference
from qrtx_ray.api.app import create_app
from qrtx_ray.api.failures import ibm_code
from qrtx_ray.api.settings import ApiSettings
from qrtx_ray.cli.main import application
from qrtx_ray.errors import QrtxError
from qrtx_ray.testing import FakeGateway

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def anchors(path: Path) -> set[str]:
    """The anchors a renderer makes of a document's headings."""
    text = _FENCE.sub("", path.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    return [body for kind, body in _FENCE.findall(path.read_text("utf-8")) if kind == language]


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_link_between_documents_leads_somewhere(path):
    for target in _LINK.findall(_FENCE.sub("", path.read_text("utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_document_is_reached_from_the_index():
    linked = set(_LINK.findall((ROOT / "docs" / "README.md").read_text("utf-8")))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= linked


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_test_that_a_document_names_exists(path):
    for file, function in _TEST.findall(path.read_text("utf-8")):
        source = ROOT / file
        assert source.is_file(), file
        assert not function or re.search(rf"def {function}\b", source.read_text("utf-8")), f"{file}::{function}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_example_can_be_read(path):
    for body in blocks(path, "python"):
        ast.parse(body)
    for body in blocks(path, "yaml"):
        yaml.safe_load(body)


def test_the_page_of_the_errors_is_current():
    assert (ROOT / "docs" / "errors.md").read_text("utf-8") == reference.document()


def test_the_page_of_the_errors_has_every_code_once():
    kinds = list(reference._kinds(QrtxError))
    codes = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (yes|no) \| (\d+) \| (.+) \|$", reference.document(), re.MULTILINE)
    assert [code for code, *_ in codes] == [kind.code for kind in kinds]
    assert len({code for code, *_ in codes}) == len(codes)
    for kind, (_, status, retryable, number, meaning) in zip(kinds, codes, strict=True):
        assert (int(status), retryable == "yes") == (kind.http_status, kind.retryable)
        assert int(number) == ibm_code(kind.code)
        assert meaning.strip()


def test_the_page_of_the_api_names_every_operation_and_every_field_of_a_query():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    settings = ApiSettings(tokens=(), jwt_secret=b"x" * 32)
    paths = create_app(FakeGateway([]), settings, {}).openapi()["paths"]
    for path, operations in paths.items():
        shown = path.removeprefix("/api/v1")
        for method, operation in operations.items():
            assert f"`{method.upper()} {shown}`" in page, f"{method.upper()} {path}"
            for parameter in operation.get("parameters", []):
                assert parameter["in"] == "path" or f"`{parameter['name']}`" in page, parameter["name"]


def test_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text("utf-8")
    for command in application.registered_commands:
        name = command.name or command.callback.__name__
        assert f"qrtx {name}" in readme, name


def test_the_readme_begins_with_the_two_commands_that_set_everything_up():
    assert blocks(ROOT / "README.md", "bash")[0].splitlines()[:2] == [
        "pip install . && qrtx demo",
        "pip install '.[test]' && pytest",
    ]


def test_the_changelog_has_the_present_version():
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["cluster.yaml", "examples/serve.yaml", "examples/ghz.job.yaml"])
def test_no_key_of_a_file_that_ships_is_given_twice(name):
    keys = re.findall(r"^([\w]+):", (ROOT / name).read_text("utf-8"), re.MULTILINE)
    assert sorted(keys) == sorted(yaml.safe_load((ROOT / name).read_text("utf-8")))


def test_every_dependency_has_a_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    listed = [*project["dependencies"], *(one for group in project["optional-dependencies"].values() for one in group)]
    assert [one for one in listed if ">=" not in one and not one.startswith("qrtx-ray[")] == []


@pytest.mark.parametrize(
    "name", ["py.typed", "store/schema.sql", "config/profiles/default.yaml", "api/pages/docs.html"]
)
def test_files_that_are_no_modules_lie_inside_the_package(name):
    assert (ROOT / "qrtx_ray" / name).is_file()


def test_the_policy_that_is_shown_keeps_the_rules():
    [example] = [code for code in blocks(ROOT / "docs" / "scheduling.md", "python") if "check_policy" in code]
    exec(compile(example, "docs/scheduling.md", "exec"), {"__name__": "example"})
