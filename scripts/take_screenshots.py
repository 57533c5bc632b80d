"""Take the screenshots of the documentation from a finished project, such as the demo:

    python scripts/take_screenshots.py            # writes docs/images/*.png

Needs Chromium and its driver. Serves MLflow on 127.0.0.1 meanwhile.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

from fmri2img.project.params_file import load_params
from fmri2img.tracking.store import open_store
from fmri2img.tracking.versions import champion_of

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
_SECONDS_TO_START, _SECONDS_TO_DRAW = 60, 9
_SHOW = """
const title = [...document.querySelectorAll("*")].find(
  one => !one.children.length && one.textContent.trim() === arguments[0]);
title?.scrollIntoView({ block: "start" });
"""
_CHARTS = "compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey=scores"


@contextmanager
def _browser() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        sys.exit("Chromium and its driver are not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


@contextmanager
def _mlflow() -> Iterator[str]:
    """Serve the project's store; yields the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", "sqlite:///mlflow.db"]
    settings = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    nowhere = subprocess.DEVNULL
    server = subprocess.Popen(command, env=settings, stdout=nowhere, stderr=nowhere)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(_SECONDS_TO_START):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(1)
        yield address
    finally:
        server.terminate()
        server.wait()


def _take(
    browser: webdriver.Chrome,
    address: str,
    name: str,
    width: int,
    height: int,
    *,
    section: str = "",
) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    time.sleep(_SECONDS_TO_DRAW if address.startswith("http") else 2)
    if address.startswith("http"):  # MLflow greets whoever comes for the first time
        webdriver.ActionChains(browser).send_keys(Keys.ESCAPE).perform()
        time.sleep(1)
    if section:  # of the chart view
        browser.execute_script(_SHOW, section)
        time.sleep(_SECONDS_TO_DRAW)
    browser.save_screenshot(str(IMAGES / f"{name}.png"))
    print(f"docs/images/{name}.png")


def main() -> None:
    """Take them all."""
    subject = load_params().subjects[0]
    client, experiment = open_store()
    champion = champion_of(client, subject)
    if champion is None:
        sys.exit(f"{subject} has no champion; run: make demo")
    pages = {
        "page-index": ("index.html", 900),
        "page-pictures": ("pictures.html", 900),
        "brain": (f"brains/{subject}.html", 1150),
    }
    with _browser() as browser:
        for name, (page, height) in pages.items():
            _take(browser, (Path("reports") / page).absolute().as_uri(), name, 1280, height)
        with _mlflow() as address:
            here = f"{address}/#/experiments/{experiment}"
            shots = {
                "mlflow-scores": f"{here}/runs?{_CHARTS}",
                "mlflow-models": f"{here}/models?workflowType=machine_learning",
                "mlflow-run": f"{here}/runs/{champion.run_id}?workflowType=machine_learning",
                "mlflow-registry": f"{address}/#/models?workflowType=machine_learning",
            }
            for name, one in shots.items():
                _take(browser, one, name, 1400, 1100)
            charts = f"{here}/runs?{_CHARTS}"
            sections = {"mlflow-pictures": "Seen, ceiling, decoded"}
            # Encoders in closed form have no curve.
            runs = client.search_runs([experiment], "metrics.`curve/train_loss` > 0")
            sections |= {"mlflow-training": "Training"} if runs else {}
            for name, section in sections.items():
                _take(browser, charts, name, 1400, 1100, section=section)


if __name__ == "__main__":
    main()
