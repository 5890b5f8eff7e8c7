"""The benchmark itself: its figures are right on streams small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import polib
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bench import near_duplicates
from bench.corpus import Corpus, Labels, Texts
from bench.metrics import kl, quality
from bench.orders import ORDERS, arrange
from bench.scenarios import Scenario, scenario
from craft_stream.errors import ConfigurationError
from craft_stream.parameters import SelectionParameters
from craft_stream.selection.pacing import ahead

NOUNS = {"sea": ("mer", "voile", "port", "vague"), "money": ("banque", "prêt", "taux", "solde")}
ENGLISH = {"mer": "sea", "voile": "sail", "port": "harbour", "vague": "wave"}
ENGLISH |= {"banque": "bank", "prêt": "loan", "taux": "rate", "solde": "balance"}


def _record(domain: str, index: int, noise: str | None = None) -> dict[str, object]:
    one, two = (NOUNS[domain][(index // step) % 4] for step in (1, 4))
    target = f"La {one} et la {two} numéro {index}"
    source = f"The {ENGLISH[one]} and the {ENGLISH[two]} number {index}"
    return {"src": source, "tgt": source if noise == "copy" else target, "domain": domain, "noise": noise}


def _write(path: Path, records: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress(b"\n".join(orjson.dumps(record) for record in records)))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Forty records of the sea, every tenth a copy of its source, among 160 about money."""
    kinds = ["sea" if index % 5 == 0 else "money" for index in range(200)]
    records = [_record(kind, index, "copy" if index % 50 == 0 else None) for index, kind in enumerate(kinds)]
    _write(tmp_path / "corpus" / "stream.jsonl.zst", records)
    for part, first in (("target", 1000), ("test", 2000)):
        held = [_record("sea", index) for index in range(first, first + 80)]
        _write(tmp_path / "corpus" / part / "sea.jsonl.zst", held)
    return Corpus(tmp_path / "corpus", tmp_path / "cache")


def test_stream_is_read_back_from_the_cache(corpus: Corpus) -> None:
    """A second reader takes from the cache what the first one prepared, labels apart from the pairs."""
    assert corpus.pairs.source.text(3) == "The balance and the bank number 3"
    again = Corpus(corpus.folder, corpus.cache.parent)
    assert again.pairs.target.texts() == corpus.pairs.target.texts()
    assert again.labels.of("sea").sum() == 40
    assert again.labels.of("unheard of").sum() == 0


@pytest.fixture
def crawled(tmp_path: Path) -> Corpus:
    """Twenty records whose ids tell where they stood, written backwards, every fifth a copy from elsewhere."""
    records = [
        _record("sea" if place < 10 else "money", place)
        | {"id": f"en-fr-{place:07}{'-d' * (place % 5 == 0)}"}
        for place in reversed(range(20))
    ]
    _write(tmp_path / "crawled" / "stream.jsonl.zst", records)
    return Corpus(tmp_path / "crawled", tmp_path / "cache")


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_holds_every_record_once(crawled: Corpus, name: str) -> None:
    """Another order is a permutation of the stream, the same whenever asked."""
    order = arrange(crawled, name)
    assert sorted(order.tolist()) == list(range(20))
    assert (order == arrange(crawled, name)).all()


def test_the_order_of_ids_is_that_of_the_documents(crawled: Corpus) -> None:
    """Records come by the number in their ids; copies from elsewhere come at places that the seed chooses."""
    order = arrange(crawled, "ids")
    own = order[~crawled.copies[order]]
    assert crawled.places[own].tolist() == [place for place in range(20) if place % 5]
    placed = {tuple(arrange(crawled, "ids", seed).tolist()) for seed in range(5)}
    assert len(placed) > 1


def test_blocks_come_site_by_site(crawled: Corpus) -> None:
    """A site is records of one domain in a row."""
    domains = crawled.labels.domains[arrange(crawled, "blocks")]
    assert (np.diff(domains.astype(int)) != 0).sum() == 1


def test_away_counts_what_was_taken_where_the_domain_is_not() -> None:
    """Shares of the budget: good pairs of it, and pairs taken from stretches without the domain."""
    domains = np.zeros(2048, np.uint8)
    domains[:10] = 1
    labels = Labels(("other", "sea"), domains, np.zeros(2048, np.uint8), np.arange(2048).astype(np.uint64))
    clusters = (np.zeros(2048, np.uint8), np.ones(1))
    figures = quality(np.array([0, 1, 2, 1500]), labels, "sea", 6, clusters)
    assert figures["away"] == 0.25
    assert figures["of_budget"] == 0.5


def test_quality_counts_first_clean_copies_only() -> None:
    """Good is in-domain, clean and the first copy selected; each fault is counted under its own name."""
    labels = Labels(
        domain=("a", "b"),
        domains=np.array([0, 0, 0, 1, 0], np.uint8),
        noise=np.array([0, 5, 2, 0, 0], np.uint8),
        keys=np.array([1, 1, 2, 3, 4], np.uint64),
    )
    clusters = np.array([0, 0, 1, 1, 1], np.uint8), np.array([0.5, 0.5])
    figures = quality(np.array([0, 1, 2, 3]), labels, "a", 5, clusters)
    assert figures["good"] == 1 / 4
    assert figures["dup"] == 1 / 4
    assert figures["noise"] == figures["copy"] == 1 / 4
    assert figures["recall"] == 1 / 2
    assert figures["realised"] == 4 / 5
    assert figures["kl"] == pytest.approx(0, abs=1e-6)


def test_quality_of_nothing_selected(corpus: Corpus) -> None:
    """A selector that spends nothing gets zeros, not errors."""
    figures = quality(np.zeros(0, np.int64), corpus.labels, "sea", 0, corpus.clusters("sea"))
    assert figures["good"] == figures["noise"] == figures["realised"] == 0


def test_kl_of_equal_shares_is_nothing() -> None:
    """KL is zero where the shares agree and log(1/share) where all of the target sits in one cluster."""
    assert kl(np.array([0.25, 0.75]), np.array([0.25, 0.75])) == pytest.approx(0, abs=1e-9)
    assert kl(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(np.log(2), abs=1e-5)


@given(st.lists(st.frozensets(st.integers(0, 12), max_size=8), max_size=25))
def test_near_duplicates_equal_brute_force(sets: list[frozenset[int]]) -> None:
    """The prefix filter misses no pair above the threshold and invents none."""

    def above(one: frozenset[int], other: frozenset[int]) -> bool:
        return len(one & other) > 0.6 * len(one | other)

    near = sum(any(above(found, sets[j]) for j in range(i)) for i, found in enumerate(sets))
    assert near_duplicates.exact_share(sets) == near / max(len(sets), 1)


def test_minhash_sees_copies_and_passes_strangers() -> None:
    """Half of a list that comes twice are near duplicates; unlike pairs are none."""
    texts = [f"{word} {word}s are {word}ly {index}" for index, word in enumerate("abcdefghij" * 2)]
    strangers = near_duplicates.bigrams(texts[:10], texts[:10])
    assert near_duplicates.minhash_share(strangers) == 0
    assert near_duplicates.minhash_share(strangers + strangers) == 0.5


def test_thinned_stream_holds_the_share_asked_for(corpus: Corpus) -> None:
    """Thinning removes in-domain records only, down to their share; `scarce` still asks the plain rate."""
    thin, scarce = (scenario(corpus, f"{kind}:0.05", "sea") for kind in ("thin", "scarce"))
    inside = corpus.labels.take(thin.order).of("sea")
    assert inside.mean() == pytest.approx(0.05, abs=0.003)
    assert (~inside).sum() == 160
    assert thin.budget == 4
    assert scarce.rate == pytest.approx(scenario(corpus, "plain", "sea").rate, rel=0.05)
    assert corpus.labels.take(scenario(corpus, "absent", "sea").order).of("sea").sum() == 0


def test_copies_take_the_place_of_other_records(corpus: Corpus) -> None:
    """A stream as long, of a quarter of the records, in any order or again and again; the budget is half of the domain's."""
    n, inside = len(corpus.labels.domains), corpus.labels.of("sea")
    copies, again = (scenario(corpus, f"{kind}:0.75", "sea") for kind in ("copies", "again"))
    quarter = round(n / 4)
    assert again.order.tolist() == [place % quarter for place in range(n)]
    assert sorted(copies.order.tolist()) == sorted(again.order.tolist())
    assert copies.budget == again.budget == int(inside[:quarter].sum() * 0.5)


def test_unknown_scenario_is_named(corpus: Corpus) -> None:
    """A misspelt scenario says which there are."""
    with pytest.raises(ValueError, match="known: plain"):
        scenario(corpus, "pain", "sea")


def _good(corpus: Corpus, setting: Scenario, chosen: np.ndarray) -> float:
    return float(corpus.labels.take(setting.order).of("sea")[chosen].mean())


def test_batch_craft_spends_its_budget_in_the_domain(corpus: Corpus) -> None:
    """The paper's method takes exactly the budget, in-domain where the clusters tell the domains apart."""
    from bench import craft_batch

    setting = scenario(corpus, "plain", "sea")
    for regression in (False, True):
        chosen = craft_batch.select(corpus, setting, regression, clusters=4).chosen
        assert len(chosen) == len(set(chosen)) == setting.budget
        assert _good(corpus, setting, chosen) > 0.9


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any), st.integers(0, 500))
def test_quotas_add_up(counts: list[int], budget: int) -> None:
    """Largest remainders: quotas sum to the budget and are within one of the exact share."""
    from bench.craft_batch import apportion

    quotas = apportion(np.array(counts), budget)
    assert quotas.sum() == budget
    assert np.abs(quotas - np.array(counts) * budget / sum(counts)).max() < 1


def test_dsir_prefers_the_domain(corpus: Corpus) -> None:
    """The authors' package runs through our files and finds the domain; its answer is kept in the cache."""
    pytest.importorskip("data_selection")
    from bench import dsir

    setting = scenario(corpus, "plain", "sea")
    chosen = dsir.select(corpus, setting, both_sides=True, top_k=True).chosen
    assert len(chosen) == setting.budget
    assert _good(corpus, setting, chosen) > 0.9
    assert dsir.select(corpus, setting, both_sides=True, top_k=True).chosen.tolist() == chosen.tolist()


def test_bits_per_token_by_hand() -> None:
    """Trained on one word pair, the cost is that of the fitted mixture, and unknown words are counted."""
    from bench.downstream import bits_per_token

    one = Texts(["sea"], ["mer"])
    bits, unknown = bits_per_token(one, one, one)
    assert bits == pytest.approx(0, abs=0.05)
    assert unknown == 0
    bits, unknown = bits_per_token(one, Texts(["sea"] * 2, ["mer", "port"]), Texts(["sea"], ["port"]))
    assert unknown == 1
    assert bits == pytest.approx(np.log2(200_000) + 1, abs=0.01)


def test_words_keep_their_vowel_signs() -> None:
    """A word of Hindi is one token downstream, as one of French is: marks that combine do not end it."""
    from bench.downstream import bits_per_token

    train = Texts(["red house."], ["लाल घर है।"])
    _, unknown = bits_per_token(train, train, Texts(["red"], ["लाल है की"]))
    assert unknown == pytest.approx(1 / 3)


def test_translations_of_the_domain_help_downstream(corpus: Corpus) -> None:
    """In-domain training pairs cost fewer bits and retrieve better translations than as many out of it."""
    pytest.importorskip("sacrebleu")
    pytest.importorskip("sklearn")
    from bench.downstream import figures

    inside, outside = (np.flatnonzero(corpus.labels.of(domain))[:40] for domain in ("sea", "money"))
    within, without = figures(corpus, "sea", inside), figures(corpus, "sea", outside)
    assert within["bits"] < without["bits"]
    assert within["chrf"] > without["chrf"]


def test_report_fills_the_frame_and_nothing_else() -> None:
    """Tables go between their marks, the later of two equal runs counts, and the text around them stays."""
    from bench.report import written

    row = {"domain": "sea", "scenario": "plain", "method": "random", "budget": 10, "us": {}, "command": "run"}
    frame = "before\n<!-- bench:quality -->\nold\n<!-- /bench:quality -->\nafter"
    text = written(frame, [{**row, "good": 0.25}, {**row, "good": 0.5}])
    assert text.startswith("before\n")
    assert text.endswith("\nafter")
    assert "| random | .500 |" in text
    assert ".250" not in text
    assert "old" not in text
    assert written(frame, [row], ["ablations"]) == frame


def test_report_names_the_part_that_was_off() -> None:
    """A row of `--ablate` is told by its part, with the difference to the whole of the same domain."""
    from bench.report import written

    row = {
        "domain": "sea",
        "scenario": "plain",
        "method": "craft-plus",
        "us": {},
        "command": "run",
        "good": 0.5,
    }
    off = {**row, "set": {"balance": 0.0}, "without": "balance", "good": 0.25}
    text = written("<!-- bench:ablations --><!-- /bench:ablations -->", [row, off], ["ablations"])
    assert "| without balance (balance = 0.0) | sea | 0.250 (-0.250) |" in text


def test_command_line_measures_and_appends(corpus: Corpus, tmp_path: Path) -> None:
    """A run through the command line writes one JSON row a variant, without this machine's paths."""
    from bench.quality import main

    output = tmp_path / "rows.jsonl"
    arguments = [
        "--corpus",
        str(corpus.folder),
        "--cache",
        str(tmp_path / "cache"),
        "--domain",
        "sea",
        "--json",
    ]
    assert main([*arguments, "--method", "random", "--set", "seed=1,2", "--output", str(output)]) == 0
    rows = [orjson.loads(line) for line in output.read_text().splitlines()]
    assert [row["set"]["seed"] for row in rows] == [1, 2]
    assert rows[0]["selected"] == 20
    assert str(tmp_path) not in rows[0]["command"]


def test_craft_plus_runs_through_the_engine(corpus: Corpus) -> None:
    """The adapter primes, decides every pair, stays in the budget and finds the domain."""
    from bench import engine

    setting = scenario(corpus, "plain", "sea")
    selection = engine.select(corpus, setting, {"method": "craft-plus", "abstain": False})
    assert selection.notes["summary"]["seen"] == len(setting.order)
    assert len(selection.chosen) <= setting.budget + ahead(
        SelectionParameters(rate=setting.rate), len(setting.order)
    )
    assert selection.notes["versions"] >= 1
    with pytest.raises(
        ConfigurationError, match='unknown parameter "near_duplicat"; the nearest known one is "near_'
    ):
        engine.select(corpus, setting, {"near_duplicat": 1})


WORDS = {"fr": ("Ouvrir", "port", "élevé"), "de": ("Öffnen", "Hafen", "hoch"), "hi": ("खोलें", "बंदरगाह", "ऊँचा")}


def _catalogue(path: Path, language: str, name: str, messages: int, mark: str = "") -> None:
    verb, noun, adjective = WORDS[language]
    catalogue = polib.POFile()
    for index in range(messages):
        text = f"_Open the {name} {index} of the high {index % 7} harbour"
        catalogue.append(
            polib.POEntry(msgid=text, msgstr=f"{verb} {name} {index} {noun} {index % 7} {adjective}{mark}")
        )
    catalogue.append(polib.POEntry(msgid="label_open", msgstr=verb))
    catalogue.append(polib.POEntry(msgid=f"{name} only", msgstr=f"{name} only"))
    path.parent.mkdir(parents=True)
    catalogue.save(str(path))


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Two packages in three languages; the second in Hindi half as long, and one catalogue that is none."""
    root = tmp_path / "packages"
    for language in WORDS:
        _catalogue(root / "ships" / "locale" / language / "ships.po", language, "ship", 200)
        _catalogue(root / "banks" / f"i18n-{language}" / f"{language}.po", language, "bank", 200)
    (root / "banks" / "i18n-hi" / "hi.po").unlink()
    (root / "banks" / "i18n-hi").rmdir()
    _catalogue(root / "banks" / "i18n-hi" / "hi.po", "hi", "bank", 100)
    (root / "ships" / "locale" / "hi" / "broken.mo").write_bytes(b"none")
    (tmp_path / "domains.toml").write_text('[domains]\nsea = ["ships/*"]\nmoney = ["banks/*"]\n')
    return root


def _build(packages: Path, language: str, *arguments: str, output: str = "") -> Corpus:
    from bench.catalogue_corpus import main

    domains = packages.parent / "domains.toml"
    folder = packages.parent / (output or language)
    common = ["--packages", str(packages), "--domains", str(domains), "--language", language]
    assert main([*common, "--output", str(folder), *arguments]) == 0
    return Corpus(folder, packages.parent / "cache")


def test_catalogues_become_a_corpus(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Noise has its shares and kinds, what is held out is not in the stream, and a seed gives the same bytes."""
    corpus = _build(packages, "hi", "--other", "de,fr")
    assert "broken.mo is no gettext catalogue" in capsys.readouterr().err
    sources, targets = corpus.pairs.source.texts(), corpus.pairs.target.texts()
    noise = corpus.labels.noise
    shares = np.bincount(noise, minlength=6) / len(noise)
    assert shares == pytest.approx([0.67, 0.15, 0.05, 0.05, 0.03, 0.05], abs=0.01)
    assert not any("_" in text or "only" in text for text in sources)
    assert not set(sources) & {*corpus.target("sea").sources, *corpus.test("sea").sources}
    assert len(corpus.target("sea").sources) == len(corpus.test("sea").sources) == 200 // 7
    for source, target, kind in zip(sources, targets, noise, strict=True):
        aligned = target.startswith("खोलें") and source.split()[2:4] == target.split()[1:3]
        assert (kind in (0, 5)) <= aligned
        assert (kind == 2) == (source == target)
        assert (kind == 3) == target.startswith(("Ö", "Ou"))
    again = _build(packages, "hi", "--other", "de,fr", output="again")
    stream = "stream.jsonl.zst"
    assert (again.folder / stream).read_bytes() == (corpus.folder / stream).read_bytes()
    other = _build(packages, "hi", "--other", "de,fr", "--seed", "1", output="other")
    assert (other.folder / stream).read_bytes() != (corpus.folder / stream).read_bytes()


def test_shared_messages_make_corpora_that_differ_in_the_language_alone(packages: Path) -> None:
    """The same messages in the same order, domains, sets and noise: what one language lacks, none has."""
    french, hindi = _build(packages, "fr", "--shared", "hi"), _build(packages, "hi", "--shared", "fr")
    assert french.pairs.source.texts() == hindi.pairs.source.texts()
    assert french.target("money").sources == hindi.target("money").sources
    assert len(french.target("money").sources) == 100 // 7
    assert french.labels.noise.tolist() == hindi.labels.noise.tolist()
    assert french.labels.domains.tolist() == hindi.labels.domains.tolist()
    assert french.pairs.target.texts() != hindi.pairs.target.texts()


def test_a_corpus_without_another_language_is_refused(packages: Path) -> None:
    """Text of a wrong language must come from somewhere: the command line says so."""
    with pytest.raises(SystemExit, match="2"):
        _build(packages, "hi")
