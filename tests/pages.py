"""The Python of the pages in docs/, which tests run as it stands."""

from tests.paths import ROOT


def page_code(page: str) -> str:
    """The Python blocks of ``docs/<page>``, everything else blank, so that line numbers are the page's."""
    lines, inside = [], False
    for line in (ROOT / "docs" / page).read_text().splitlines():
        if line.startswith("```"):
            inside, line = line == "```python", ""
        lines.append(line if inside else "")
    return "\n".join(lines)


def run_page(page: str, namespace: dict[str, object]) -> None:
    """Run a page's Python in a namespace."""
    exec(compile(page_code(page), str(ROOT / "docs" / page), "exec"), namespace)
