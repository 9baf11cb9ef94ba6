"""Every rule of the policy file has a file that breaks it, with the exact words it gets.

A `bad-NAME.yaml` begins with its problems, one `# expect: LINE:COLUMN: PATH: MESSAGE` each, in the
order in which they are reported; `# environment: NAME=VALUE` sets a variable, `# writes: FILE`
adds a file beside it (its text follows, each line after `#   `). `{folder}` stands for the folder
of the file. A line `# expect-in FILE: ...` is a problem in another file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrouterd.config import load_policy
from llmrouterd.errors import ConfigError
from llmrouterd.settings import Settings
from tests.support.policies import write_lexicons

POLICIES = Path(__file__).with_name("policies")
BAD = sorted(POLICIES.glob("bad-*.yaml"))
GOOD = sorted(POLICIES.glob("good-*.yaml"))
SECRET = "sk-very-secret-0815"


def _header(text: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The expected problems and the environment; files are written on the way."""
    expected: list[str] = []
    environ: dict[str, str] = {}
    target: Path | None = None
    for line in text.splitlines():
        if line.startswith("#   ") and target is not None:
            with target.open("a") as output:
                output.write(line[4:] + "\n")
        elif line.startswith("# expect: "):
            expected.append(f"{folder / 'router.yaml'}:{line[10:]}")
        elif line.startswith("# expect-in "):
            file, _, rest = line[12:].partition(": ")
            place = file if file == "environment" else str(folder / file)
            expected.append(f"{place}:{rest}")
        elif line.startswith("# environment: "):
            name, _, value = line[15:].partition("=")
            environ[name] = value
        elif line.startswith("# writes: "):
            target = folder / line[10:]
            target.parent.mkdir(exist_ok=True)
            target.unlink(missing_ok=True)
    return [text.replace("{folder}", str(folder)) for text in expected], environ


def _prepare(file: Path, folder: Path) -> tuple[Settings, list[str]]:
    write_lexicons(folder / "rules")
    text = file.read_text()
    (folder / "router.yaml").write_text(text.replace("{folder}", str(folder)))
    expected, environ = _header(text, folder)
    settings = Settings(
        policy=folder / "router.yaml", rules=folder / "rules", state=folder, environ=environ
    )
    return settings, expected


def test_there_is_a_bad_file_for_each_rule() -> None:
    assert len(BAD) >= 60
    assert len(GOOD) >= 4


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_policy_gets_exactly_these_words(file: Path, tmp_path: Path) -> None:
    settings, expected = _prepare(file, tmp_path)
    assert expected, "the file says nothing of what is wrong with it"
    with pytest.raises(ConfigError) as caught:
        load_policy(settings)
    found = [str(problem) for problem in caught.value.problems]
    assert found == expected
    assert SECRET not in "\n".join(found)
    assert str(caught.value) == "\n".join(found)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_good_policy_is_accepted(file: Path, tmp_path: Path) -> None:
    settings, expected = _prepare(file, tmp_path)
    assert expected == []
    policy = load_policy(settings)
    assert policy.rules[-1].when.empty
    assert SECRET not in repr(policy)
