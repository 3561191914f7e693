"""Lets copy buttons copy commands alone.

A page shows a session as ``console``: prompts, commands and output. The site shows each command in a block
with a copy button, and its output in one without.
"""

import re

CONSOLE = re.compile(r"^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^```text$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Split sessions into commands and output."""
    return OUTPUT.sub("``` { .text .no-copy }", CONSOLE.sub(_split, markdown))


def _split(session: re.Match[str]) -> str:
    blocks: list[str] = []
    commands: list[str] = []
    for part in re.split(r"^\$ ", session["text"], flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        commands.append(command)
        if output:
            blocks += [_block("sh", commands), _block("text .no-copy .output", output.splitlines())]
            commands = []
    if commands:
        blocks.append(_block("sh", commands))
    return "\n\n".join(blocks)


def _block(kind: str, lines: list[str]) -> str:
    return "\n".join([f"``` {{ .{kind} }}", *lines, "```"])
