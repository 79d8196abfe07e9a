"""The Python of docs/write-your-own-task.md: importing this runs it, which registers what it defines."""

from tests.pages import run_page

run_page("write-your-own-task.md", globals())
