"""The page on the command line is the parser's own words, uniform; that its examples are understood, test_docs.py says.

``python -m tests.test_command_line`` writes the tables of docs/command_line.md anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from xpycro.cli import parser

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "command_line.md"
BEGIN, END = "<!-- commands: begin -->", "<!-- commands: end -->"


def commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return choices


def arguments(command: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """How each argument is typed, and its help."""
    found = []
    for action in command._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        metavar = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else "")
        if action.option_strings:
            typed = ", ".join(
                f"{name} {metavar}".rstrip() if action.nargs != 0 else name for name in action.option_strings
            )
        else:
            typed = {"?": f"[{metavar}]", "+": f"{metavar} ..."}.get(action.nargs, metavar)
        found.append((typed, action.help))
    return found


def tables() -> str:
    """The commands in Markdown."""
    lines = []
    for name, command in commands().items():
        example = command.epilog.removeprefix("for example: ")
        lines += [f"## xpycro {name}", "", command.description, "", "```bash", example, "```", ""]
        lines += ["| argument | what it says |", "|---|---|"]
        lines += [f"| `{typed}` | {text} |" for typed, text in arguments(command)]
        lines.append("")
    return "\n".join(lines).strip()


def write_page() -> None:
    """Put the tables between the markers of the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def test_the_page_is_current():
    written = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert written == tables(), "write it anew with: python -m tests.test_command_line"


def test_helps_are_uniform():
    """Small letters, no full stop; what is optional says what holds without it, but for switches that add something."""
    for name, command in commands().items():
        assert command.description.endswith(".") and command.epilog.startswith(f"for example: xpycro {name}")
        for action in command._actions[1:]:
            text = action.help
            assert text and text[0].islower() and not text.endswith("."), (name, action.dest)
            said = "(default: " in text or "repeated" in text or "lists them" in text
            assert said or action.required or action.nargs == 0, (name, action.dest)


if __name__ == "__main__":
    write_page()
