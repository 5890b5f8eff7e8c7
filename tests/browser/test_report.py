"""The report in a real browser: what moves, what unfolds, at both widths, in both schemes; what axe-core and the console say.

Needs Debian's chromium (or another one that CRAFT_TEST_CHROMIUM names) and the extra `browser`; `make browser` installs both.
CRAFT_TEST_PICTURES names a folder for screenshots.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from craft_stream.cli import main
from tests.unit.toy import Toy, stream

HOSTILE = (
    "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>\u202ereversed "
    + "x" * 100_000
)
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a selection from 6,000 toy pairs whose domain comes in one stretch, with hostile pairs in between."""
    folder = tmp_path_factory.mktemp("report")
    toy, rng = Toy(), random.Random(5)
    made = stream(toy, 6_000)
    order = sorted(range(6_000), key=lambda k: (made.in_domain[k] and rng.random() < 0.8, k))
    texts = list(zip(made.batch.source.texts(), made.batch.target.texts(), strict=True))
    pairs = [(f"s{k}", *texts[k]) for k in order]
    for k in range(0, 6_000, 150):
        pairs[k] = (HOSTILE, f"{HOSTILE} {k}", f"{HOSTILE} {k + 1}")
    for name, rows in (
        ("stream", pairs),
        ("target", [(f"t{k}", *toy.pair(rng, in_domain=True)) for k in range(200)]),
    ):
        lines = [
            orjson.dumps(
                {"id": i, "src": a, "tgt": b, "url": f"https://host{rng.randrange(30)}.example/{i[:90]}"}
            )
            for i, a, b in rows
        ]
        (folder / f"{name}.jsonl").write_bytes(b"\n".join([*lines, b""]))
    with pytest.MonkeyPatch.context() as patch:
        command = (
            f"select --target {folder}/target.jsonl --input {folder}/stream.jsonl --output {folder}/o.jsonl"
        )
        patch.setattr("sys.argv", ["craft-stream", *command.split(), "--report", str(folder / "report.html")])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a head; as root, as in CI, it has no sandbox."""
    path = os.environ.get("CRAFT_TEST_CHROMIUM") or shutil.which("chromium")
    assert path, "install Debian's package chromium, or name one by CRAFT_TEST_CHROMIUM"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield started
        started.close()


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in ("light", "dark")], ids=str)
def page(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The report, open; nothing may be said on the console, and nothing asked for."""
    width, scheme = request.param
    said: list[str] = []
    opened = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request",
        lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None,
    )
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert said == []


def number(page: Page, name: str) -> float:
    return float((page.locator(f"#{name}").text_content() or "").replace(",", "").rstrip(" %"))


def test_it_is_read_at_every_width_by_everyone(page: Page) -> None:
    """Nothing runs over the side, axe-core finds nothing, hostile text has done nothing; drawn within a second or so."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.title() == "Selected from stream.jsonl"
    assert page.locator("main img, main iframe").count() == 0
    assert "<script>" in (page.locator("#examples").text_content() or "")
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 5_000
    for folded in page.locator("details").all()[:70:10]:
        folded.evaluate("node => { node.open = true }")
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def test_the_threshold_moves(page: Page) -> None:
    """By keyboard: higher takes fewer and none of those below, lower takes more; a button leads back."""
    start = number(page, "t-accepted")
    assert page.locator("#nearest").is_visible()
    slider = page.locator("#slider")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    above = number(page, "t-accepted")
    assert above < start
    moved = number(page, "t-at")
    shown = page.locator("#would .pair").evaluate_all("nodes => nodes.map(node => Number(node.dataset.at))")
    assert shown
    assert min(shown) >= moved - 0.01
    assert number(page, "t-kl") >= 0
    for _ in range(16):
        page.keyboard.press("ArrowLeft")
    assert number(page, "t-accepted") > start
    page.get_by_role("button").click()
    assert number(page, "t-accepted") == start


def test_a_cluster_is_opened_from_the_map(page: Page) -> None:
    """Its words and pairs unfold and get the focus, by Enter as by a click."""
    link = page.locator(".map a").first
    name = (link.get_attribute("href") or "")[1:]
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"document.getElementById('{name}').open")
    assert page.evaluate(f"document.getElementById('{name}').contains(document.activeElement)")
    assert page.locator(f"#{name} .pair").count() > 0


def test_pictures(page: Page) -> None:
    """The head of the page as a picture, where a folder for it is named."""
    if folder := os.environ.get("CRAFT_TEST_PICTURES"):
        width, dark = page.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]")
        page.screenshot(path=f"{folder}/report-{width}-{'dark' if dark else 'light'}.png")
