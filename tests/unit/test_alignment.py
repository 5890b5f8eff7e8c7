"""Alignment: blocks that are missing, sorted anew or moved; sentences inside; what is no translation."""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("icu4py")

from connectors.crawl.alignment import align, length_score
from connectors.crawl.blocks import MAX_BLOCKS, Block, extract
from connectors.crawl.structure import align_blocks

LANGUAGES = ("en", "fr")


def words(count: int, path: str = "div/p") -> Block:
    return Block(path, "word " * count)


def test_blocks_align_around_a_missing_one() -> None:
    """A paragraph that one side lacks costs itself only."""
    source = [words(5 + 7 * (k % 5)) for k in range(30)]
    target = [Block("div/p", block.text + "x") for block in source]
    del target[11]
    expected = [(k, k if k < 11 else k - 1) for k in range(30) if k != 11]
    assert align_blocks(source, target) == expected


def test_an_index_that_is_sorted_anew() -> None:
    """Entries whose links lead elsewhere never meet, however alike; those with the same links do, in any order."""
    source = [Block("dl/dt", f"Entry {k}", (f"page-{k}",)) for k in range(40)]
    order = list(range(40))
    random.Random(1).shuffle(order)
    target = [Block("dl/dt", f"Article {k}", (f"page-{k}",)) for k in order]
    assert align_blocks(source, target) == [(k, order.index(k)) for k in range(40)]


def test_entries_with_the_same_links_go_by_length() -> None:
    """Two entries that lead to one page: the short one beside the short one; four are left alone."""
    between = [Block("dt", f"{letter} {letter}", (letter,)) for letter in "qrs"]
    short, long = Block("dt", "Colour", ("p",)), Block("dt", "Alpha channel, removing it" * 9, ("p",))
    court, longue = Block("dt", "Couleur", ("p",)), Block("dt", "Canal alpha, comment l’enlever" * 9, ("p",))
    found = align_blocks([short, *between, long], [longue, *between, court])
    assert found == [(0, 4), (1, 1), (2, 2), (3, 3), (4, 0)]
    many = [Block("dt", letter * 9, ("p",)) for letter in "abcd"]
    assert len(align_blocks([*many, *between, *between], [*between, *between, *many])) == 6


def test_places_in_pages_count_where_both_name_them() -> None:
    """`page#gif` tells entries apart; a name that a tool made anew for each language leaves the page."""
    source = [
        Block("dt", "GIF", ("out#gif",)),
        Block("dt", "PNG", ("out#png",)),
        Block("dt", "More", ("tool#idm12",)),
    ]
    target = [
        Block("dt", "Plus", ("tool#idm99",)),
        Block("dt", "PNG", ("out#png",)),
        Block("dt", "GIF", ("out#gif",)),
    ]
    assert align_blocks(source, target) == [(0, 2), (1, 1), (2, 0)]


def test_a_glossary_that_is_sorted_anew() -> None:
    """Sections with the same anchors meet, each with all that stands in it, and the rest of the page stays in order."""
    entries = {
        "layer": ("Layer", "Calque", 9),
        "path": ("Path", "Chemin", 14),
        "brush": ("Brush", "Brosse", 23),
    }

    def page(side: int) -> str:
        terms = sorted(entries, key=lambda name: str(entries[name][side]))
        return f"<h1>{('Glossary', 'Glossaire')[side]}</h1><dl>" + "".join(
            f'<dt><a id="term-{name}"></a><a id="idm{k}5120{side}"></a>{entries[name][side]}</dt><dd>'
            + f"{name} {('of', 'de')[side]} " * entries[name][2]
            + "</dd>"
            for k, name in enumerate(terms)
        ) + "</dl><p>The end</p>"  # fmt: skip

    source, target = (extract(page(side)).blocks for side in (0, 1))
    assert source[1].anchors == ("term-brush",)
    found = {(source[i].text, target[j].text) for i, j in align_blocks(source, target)}
    assert {("Layer", "Calque"), ("Path", "Chemin"), ("Brush", "Brosse"), ("Glossary", "Glossaire")} <= found
    assert all(one.split()[0] == other.split()[0] for one, other in found if one.islower())
    assert len(found) == len(source) == 8


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), max_size=12),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), max_size=12),
)
def test_no_block_is_used_twice(one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]) -> None:
    """Whatever the links and anchors, each block has one partner at most, and the order is that of the source."""

    def block(size: int, link: int, anchor: int) -> Block:
        return Block("p", "x" * (1 + size), (f"l{link}",) * (link > 0), (f"a{anchor}",) * (anchor > 0))

    source, target = ([block(*numbers) for numbers in side] for side in (one, other))
    pairs = align_blocks(source, target)
    assert pairs == sorted(pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(0 <= i < len(source) and 0 <= j < len(target) for i, j in pairs)


@pytest.mark.timeout(60)
def test_the_largest_pages_align_in_bounded_memory() -> None:
    """Two pages of as many blocks as are taken, each with links of its own, take 100 MB at most."""
    source = [Block("p", f"text {k}" * (k % 9), (f"page-{k}", "home")) for k in range(MAX_BLOCKS)]
    tracemalloc.start()
    pairs = align_blocks(source, source[::-1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs
    assert peak < 100 << 20


def test_sentences_align_inside_a_block() -> None:
    """Sentences meet one by one; what is left as it was is no pair."""
    source = [Block("p", "It rains today. We stay at home and read a long book."), Block("p", "GIMP 2.10")]
    target = [
        Block("p", "Il pleut aujourd’hui. Nous restons à la maison et lisons un long livre."),
        Block("p", "GIMP 2.10"),
    ]
    pairs = align(source, target, LANGUAGES)
    assert [pair.source for pair in pairs] == ["It rains today.", "We stay at home and read a long book."]
    assert [pair.sentence for pair in pairs] == [(0, 0), (1, 1)]
    assert all(0 < pair.score <= 1 for pair in pairs)
    assert length_score(10, 10) == 1
    assert length_score(10, 100) < 0.01


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("The apt-cache policy command displays the priorities of each source as told in Section 6, « Priorités ».", False),
        ("La commande apt-cache policy affiche les priorités de chaque source, voyez Section 6, « Priorités ».", True),
        ("Consultez « tmpfs.txt » dans la documentation de Linux (« linux-doc-*/Documentation/filesystems/tmpfs.txt »).", True),
    ],
)  # fmt: skip
def test_sentences_left_untranslated(target: str, kept: bool) -> None:
    """On a page of two languages a sentence that holds the source's words is no translation; English names are no sign."""
    source = "The apt-cache policy command displays the priorities of each source as told in Section 6, “Priorities”."
    assert bool(align([Block("p", source)], [Block("p", target)], LANGUAGES, mixed=True, least=0)) is kept
