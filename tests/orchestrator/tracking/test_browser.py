"""MLflow's own server and a headless browser: what a person sees is what the store holds."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands import ui
from orchestrator.store.store import Store
from orchestrator.tracking import experiment as tracking

CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")
PATIENCE = 90
FILTER = "input[placeholder='Search metric charts']"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--window-size=1600,1400",
)

CURVES = """
return [...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => (plot.data || []).map(
    line => [line.metricKey, line.name || '', Array.from(line.x || []), Array.from(line.y || [])]));
"""
"""The lines of every chart on the page, as its plotting library holds them: metric, name, x, y."""


@pytest.fixture(scope="module")
def server(finished_store: Path) -> Iterator[str]:
    """The address of `crossover ui` on the finished store."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = ui.serve(Store(finished_store), "127.0.0.1", port)
    try:
        ui.wait(process, f"http://localhost:{port}", patience=180)
        yield f"http://localhost:{port}"
    finally:
        ui.stop(process)


@pytest.fixture(scope="module")
def browser(need: Callable[[bool, str], None], server: str) -> Iterator[Any]:
    need(CHROMIUM is not None and DRIVER is not None, "Chromium with its driver")
    need(importlib.util.find_spec("selenium") is not None, "selenium")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


def until(browser: Any, condition: Callable[[Any], Any]) -> Any:
    """What ``condition`` returns once that is true."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, PATIENCE, ignored_exceptions=[StaleElementReferenceException]).until(
        condition
    )


def text_of(browser: Any) -> str:
    return str(browser.find_element("tag name", "body").text)


def test_the_sweeps_page_shows_its_runs_and_a_chart_with_the_stores_values(
    browser: Any, server: str, finished_store: Path
) -> None:
    store = Store(finished_store)
    address = next(line.split()[-1] for line in ui.pages(store, server) if line.startswith("tiny "))
    browser.get(address)
    names = ("AR d16x1 U=5kB s0", "MDM d16x1 U=5kB s0")
    until(browser, lambda b: all(name in text_of(b) for name in names) and "4 matching runs" in text_of(b))

    until(browser, lambda b: b.find_elements("css selector", FILTER))[0].send_keys("val/nll")
    shown: dict[str, tuple[list[float], list[float]]] = {}

    def charted(b: Any) -> bool:
        lines = b.execute_script(CURVES)
        shown.update(
            {name: (x, y) for metric, name, x, y in lines if metric == "val/nll" and name in names and x}
        )
        return len(shown) == len(names)

    until(browser, charted)
    tracker = tracking.Tracker(store)
    for run in tracker.client.search_runs([tracker.experiment], f"tags.`sweep.tiny` = '{tracking.MEMBER}'"):
        if run.info.run_name not in names:
            continue
        history = store.run(run.data.tags[tracking.KEY_TAG]).history()
        held = {e["step"]: e["b"]["nll"] for e in history if e["event"] == "evaluation"}
        steps, values = shown[run.info.run_name]
        assert len(held) > 3 and dict(zip(steps, values, strict=True)) == pytest.approx(held)


def test_a_runs_page_shows_its_last_value(browser: Any, server: str, finished_store: Path) -> None:
    tracker = tracking.Tracker(Store(finished_store))
    key = tracker.store.run_keys()[0]
    last = [e for e in tracker.store.run(key).history() if e["event"] == "evaluation"][-1]
    browser.get(f"{server}/#/experiments/{tracker.experiment}/runs/{tracker.run(key)}")
    until(browser, lambda b: "val/nll_a" in text_of(b))
    lines = text_of(browser).splitlines()
    near = " ".join(lines[lines.index("val/nll") : lines.index("val/nll") + 4])
    assert f"{last['b']['nll']:.3f}"[:-1] in near, near


def test_a_server_that_runs_elsewhere_gets_its_pages_printed(
    server: str, finished_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    monkeypatch.setenv(tracking.URI_ENVIRONMENT, f"{server}/")
    done = CliRunner().invoke(ui.command, ["--store", str(finished_store)])
    assert done.exit_code == 0, done.output
    assert f"{server}/#/experiments/" in done.output and "tiny " in done.output


def test_a_foreign_host_name_is_refused(server: str) -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": "evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 403
