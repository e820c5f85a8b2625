"""The README's commands exist, and so do their options."""

import re
import shlex
from pathlib import Path

import click
import pytest

from exitnas.cli.main import COMMANDS, main

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def bash_lines() -> list[str]:
    """Command lines of all bash blocks, continued lines joined, comments dropped, `a && b` taken apart."""
    blocks = re.findall(r"^```bash\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [part.strip() for line in lines for part in line.split("&&") if part.strip() and not line.startswith("#")]


CALLS = [line for line in bash_lines() if line.startswith("exitnas ")]


def test_the_two_commands():
    section = re.search(r"^## Two commands\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert section is not None, "no heading '## Two commands'"
    installs = [line for line in section[1].splitlines() if line.startswith("pip install -c constraints.txt")]
    assert len(installs) == 2
    assert (README.parent / "constraints.txt").is_file()


def test_there_are_calls_to_check():
    assert len(CALLS) >= 3


@pytest.mark.parametrize("call", CALLS)
def test_a_call_parses(call: str):
    """Strictly, but without running: `make_context` refuses unknown options, missing arguments and wrong choices."""
    words = shlex.split(call, comments=True)[1:]
    if words[0].startswith("-"):
        words = ["list", *words[:1]]
        assert words[1] in ("--help", "-h", "--version")
        return
    assert words[0] in COMMANDS
    command = main.get_command(click.Context(main), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])


def test_files_the_readme_links_to_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    missing = [link for link in links if not (README.parent / link).exists() and not link.startswith("experiments/")]
    assert missing == []
