"""The table of the protocol in Markdown, for the documentation."""

from .transition import TABLE

BEGIN = "<!-- table: generated from transition.py -->"
END = "<!-- end of table -->"


def markdown_table() -> str:
    """Return the transition table in Markdown, with one line for each row."""
    lines = ["| row | event | when | next | outcome |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.clause} | {row.event.__name__} | {row.when} | {row.then} | {row.outcome} |" for row in TABLE
    ]
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Return ``text`` with the table between its markers generated again."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{markdown_table()}\n{END}{after}"
