"""The report in a real browser: what moves, what unfolds, what axe-core and the console say."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Page

from craft_stream.cli import main
from tests.browser.conftest import Open, picture, reads_well
from tests.unit.toy import Toy, stream

HOSTILE = (
    "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>\u202ereversed "
    + "x" * 100_000
)


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


@pytest.fixture
def page(opened: Open, report: Path) -> Page:
    """The report, open."""
    return opened(report.as_uri())


def number(page: Page, name: str) -> float:
    return float((page.locator(f"#{name}").text_content() or "").replace(",", "").rstrip(" %"))


def test_it_is_read_at_every_width_by_everyone(page: Page) -> None:
    """Nothing runs over the side, axe-core finds nothing, hostile text has done nothing; drawn within a second or so."""
    assert page.title() == "Selected from stream.jsonl"
    assert page.locator("main img, main iframe").count() == 0
    assert "<script>" in (page.locator("#examples").text_content() or "")
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 5_000
    for folded in page.locator("details").all()[:70:10]:
        folded.evaluate("node => { node.open = true }")
    reads_well(page)


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
    picture(page, "report")
