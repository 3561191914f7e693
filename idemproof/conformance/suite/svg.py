"""The elements of a diagram in SVG: wrapped and escaped text, boxes, arrows and a frame."""

from html import escape

WIDTH = 900
LINE = 17
"""The height of a line of text (pixels)."""

_CHARACTER = 7.2
"""The assumed width of a character (pixels): generous, because fonts differ between systems."""

_LIGHT = {
    "paper": "fill: #ffffff",
    "ink": "fill: #1f2328",
    "quiet": "fill: #57606a",
    "halo": "stroke: #ffffff",
    "line": "stroke: #57606a",
    "life": "stroke: #afb8c1",
    "tip": "fill: #57606a",
    "lane": "fill: #eaeef2; stroke: #8c959f",
    "busy": "fill: #d0d7de; stroke: #8c959f",
    "body": "fill: #ddf4ff; stroke: #54aeff",
    "decision": "fill: #fbefff; stroke: #a475f9",
    "remark": "fill: #f6f8fa; stroke: #8c959f",
    "crash": "fill: #ffebe9; stroke: #cf222e",
    "jump": "fill: #ffffff; stroke: #8c959f",
    "ABSENT": "fill: #f6f8fa; stroke: #8c959f",
    "INPROGRESS": "fill: #fff8c5; stroke: #bf8700",
    "COMPLETED": "fill: #dafbe1; stroke: #2da44e",
    "EXPIRED": "fill: #ffe9dc; stroke: #bc4c00",
}

_DARK = {
    "paper": "fill: #0d1117",
    "ink": "fill: #e6edf3",
    "quiet": "fill: #9da7b3",
    "halo": "stroke: #0d1117",
    "line": "stroke: #9da7b3",
    "life": "stroke: #484f58",
    "tip": "fill: #9da7b3",
    "lane": "fill: #21262d; stroke: #6e7681",
    "busy": "fill: #30363d; stroke: #6e7681",
    "body": "fill: #0c2d4d; stroke: #388bfd",
    "decision": "fill: #2b1a4d; stroke: #a371f7",
    "remark": "fill: #161b22; stroke: #6e7681",
    "crash": "fill: #4b1113; stroke: #f85149",
    "jump": "fill: #0d1117; stroke: #6e7681",
    "ABSENT": "fill: #161b22; stroke: #6e7681",
    "INPROGRESS": "fill: #3b2e00; stroke: #d29922",
    "COMPLETED": "fill: #0f3319; stroke: #3fb950",
    "EXPIRED": "fill: #42200d; stroke: #db6d28",
}


def _rules(colours: dict[str, str]) -> str:
    return "\n".join(f"    .{name} {{ {rule}; }}" for name, rule in colours.items())


STYLE = f"""
    text {{ font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }}
    text.title {{ font-size: 18px; font-weight: 600; }}
    text.strong {{ font-weight: 600; }}
    .line, .life {{ fill: none; stroke-width: 1.4; }}
    .life, .reply {{ stroke-dasharray: 5 4; }}
    .halo {{ stroke-width: 5; stroke-linejoin: round; fill: none; }}
{_rules(_LIGHT)}
    @media (prefers-color-scheme: dark) {{
{_rules(_DARK)}
    }}
"""

_FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title description">
  <title id="title">{title}</title>
  <desc id="description">{description}</desc>
  <style>{style}  </style>
  <defs>
    <marker id="tip" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="9" markerHeight="9" \
markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0L10 5L0 10z"/></marker>
  </defs>
  <rect class="paper" width="{width}" height="{height}"/>
{parts}
</svg>
"""


def document(title: str, description: str, height: float, parts: list[str]) -> str:
    """Return a complete diagram with a title at the top."""
    body = "\n".join(f"  {part}" for part in [text(24, 34, title, "ink title", "start"), *parts])
    return _FRAME.format(
        width=WIDTH,
        height=number(height),
        title=escape(title),
        description=escape(description),
        style=STYLE,
        parts=body,
    )


def number(value: float) -> str:
    """Return a coordinate, rounded so that it is the same everywhere."""
    return f"{value:.1f}".removesuffix(".0")


def wrapped(words: str, width: float) -> list[str]:
    """Return ``words`` as lines that fit into ``width``; words that are too long are split."""
    space = max(1, int(width / _CHARACTER))
    lines = [""]
    for word in words.split(" "):
        rest = word
        if lines[-1] and len(lines[-1]) + 1 + len(rest) > space:
            lines.append("")
        while len(rest) > space:
            lines[-1], rest = rest[:space], rest[space:]
            lines.append("")
        lines[-1] = f"{lines[-1]} {rest}" if lines[-1] else rest
    return lines


def width_of(lines: list[str]) -> float:
    """Return the assumed width of ``lines``."""
    return max(len(line) for line in lines) * _CHARACTER


def text(x: float, y: float, words: str, kind: str = "ink", anchor: str = "middle") -> str:
    """Return one line of text, its baseline at ``y``."""
    return (
        f'<text class="{kind}" x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def lines_of_text(
    x: float, y: float, lines: list[str], *, halo: bool = False, anchor: str = "middle"
) -> list[str]:
    """Return lines of text, the first baseline at ``y``; a halo keeps them legible over other lines."""
    kinds = ["halo", "ink"] if halo else ["ink"]
    return [
        text(x, y + LINE * index, line, kind, anchor) for index, line in enumerate(lines) for kind in kinds
    ]


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """Return a box with its upper left corner at (x, y)."""
    return (
        f'<rect class="{kind}" x="{number(x)}" y="{number(y)}" width="{number(width)}" '
        f'height="{number(height)}" rx="6"/>'
    )


def path(points: list[tuple[float, float]], kind: str, *, arrow: bool) -> str:
    """Return a line through ``points``, with a tip at its end if it is an arrow."""
    course = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    tip = ' marker-end="url(#tip)"' if arrow else ""
    return f'<path class="{kind}" d="M{course}"{tip}/>'
