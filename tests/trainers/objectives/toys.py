"""The objectives of docs/write-your-own-objective.md: importing this runs the page's Python, which registers
them.
"""

from tests.paths import ROOT

PAGE = ROOT / "docs" / "write-your-own-objective.md"


def page_code() -> str:
    """The page's Python blocks, everything else blank, so that line numbers are the page's."""
    lines, inside = [], False
    for line in PAGE.read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        lines.append(line if inside else "")
    return "\n".join(lines)


exec(compile(page_code(), str(PAGE), "exec"))
