"""The block of docs/write-your-own-block.md: importing this runs the page's Python, which registers it."""

from tests.pages import run_page

run_page("write-your-own-block.md", globals())
