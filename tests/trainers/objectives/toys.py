"""The objectives of docs/write-your-own-objective.md: importing this runs the page's Python, which registers
them.
"""

from tests.pages import run_page

run_page("write-your-own-objective.md", globals())
