"""`commands.md`: every command and option, from the typer application that parses them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer.main

from tests.reference.markdown import code, head, page, table
from wardgate.cli import app


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words (`token get`), what typer knows of it, and those below it."""

    words: str
    given: Any
    children: tuple[Command, ...] = ()

    def options(self) -> list[Any]:
        """Its options, `--help` aside."""
        return [one for one in self.given.params if one.param_type_name == "option" and not one.hidden]

    def arguments(self) -> list[Any]:
        return [one for one in self.given.params if one.param_type_name == "argument"]


def commands() -> list[Command]:
    """All of them: `wardgate` itself first, groups before what is in them."""
    return list(_flat(_command("wardgate", typer.main.get_command(app))))


def text() -> str:
    """The page."""
    intro = head(
        "Commands",
        "`wardgate COMMAND --help` prints the same. Exit codes: 0 done (for `explain`: allowed), 1 something did not "
        "work (for `explain`: not allowed), 2 the configuration or the command line is wrong.",
        "`wardgate --config FILE …` without a command is `wardgate run`: a container that was started with a "
        "gatekeeper's arguments needs no other ones.",
    )
    return page([*intro, *(line for command in commands() for line in _section(command))])


def _command(words: str, given: Any) -> Command:
    below = getattr(given, "commands", {})
    return Command(words, given, tuple(_command(f"{words} {name}", one) for name, one in below.items()))


def _flat(command: Command) -> Iterator[Command]:
    yield command
    for child in command.children:
        yield from _flat(child)


def _section(command: Command) -> Iterator[str]:
    yield from (f"## {command.words}", "")
    arguments = " ".join(one.metavar or one.name.upper() for one in command.arguments())
    rest = "COMMAND" if command.children else arguments
    options = "[OPTIONS]" if command.options() else ""
    yield from ("```text", " ".join(filter(None, (command.words, options, rest))), "```", "")
    yield from (inspect.cleandoc(command.given.help or ""), "")
    yield from table(("Command", "Does"), [_child_row(child) for child in command.children])
    yield from table(("Argument", "Meaning"), [_argument_row(one) for one in command.arguments()])
    yield from table(("Option", "Meaning", "Default"), [_option_row(one) for one in command.options()])


def _child_row(child: Command) -> tuple[str, str]:
    words = " ".join((child.given.help or "").split("\n\n")[0].split())
    link = "-".join(child.words.split())
    return f"[`{child.words}`](#{link})", words


def _argument_row(argument: Any) -> tuple[str, str]:
    return code(argument.metavar or argument.name.upper()), argument.help or ""


def _option_row(option: Any) -> tuple[str, str, str]:
    names = ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {code(option.metavar or option.name.upper())}"
    words = option.help or ""
    words += " May be repeated." if option.multiple and "repeat" not in words else ""
    words += f" Also by the environment variable `{option.envvar}`." if option.envvar else ""
    default = "required" if option.required else "" if option.default in (None, False, "") else option.default
    return names + value, words, code(str(default)) if default and default != "required" else str(default)
