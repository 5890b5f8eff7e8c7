"""What mutation tests leave out, and that what they name is there."""

from __future__ import annotations

from pathlib import Path

from tests.mutants import ROOT, Accepted, Change, accepted, nearest_first, pointless, rooms, stale, within

CODE = """\
@wrapped(cache=True)
def f(a: int | None = 1) -> int | str:
    b: int | None = a + 2
    if b > 3:
        raise ValueError("a" + "b")
    return b
"""


def test_annotations_decorators_and_messages_are_left_out(tmp_path: Path) -> None:
    """What is never evaluated, or is only read by people, is not mutated; defaults, conditions and sums are."""
    path = tmp_path / "code.py"
    path.write_text(CODE)
    spans = list(pointless(path))
    lines = CODE.splitlines()

    def out(line: int, text: str) -> bool:
        return within((line, lines[line - 1].index(text)), spans)

    assert out(1, "True")
    assert out(2, "int | None")
    assert out(2, "int | str")
    assert out(3, "int | None")
    assert out(5, '"a"')
    assert not out(2, "1")
    assert not out(3, "2")
    assert not out(4, "3")


def test_rooms_name_code_and_tests_that_exist() -> None:
    """`make mutants` would otherwise test nothing."""
    named = [path for room in rooms().values() for path in (*room.code, *room.tests)]
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_accepted_survivors_are_of_today() -> None:
    """Each names one line of a room's code; one that does not is told."""
    assert stale(accepted(), ROOT) == []
    first = accepted()[0]
    gone = [first._replace(line="no such line"), Accepted("craft_stream/errors.py", "x", ["y"], "z")]
    assert len(stale(gone, ROOT)) == 3


def test_a_change_is_known_by_what_it_makes_of_its_line() -> None:
    """An entry names this change of the line, no other of the same operator."""
    known = Accepted("a.py", "x = y + z", ["x = y - z"], "why")
    diff = "--- mutation diff ---\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = y + z\n+    x = y -z\n"
    change = Change("a.py", 1, "x = y + z", "ReplaceBinaryOperator_Add_Sub", diff)
    assert change.place in known.places
    assert change._replace(diff=diff.replace("y -z", "y *z")).place not in known.places


def test_the_nearest_tests_run_first() -> None:
    """Those that import what was changed come before all others, and none is left out."""
    tests = rooms()["selection"].tests
    order = nearest_first(tests, ["craft_stream/selection/histogram.py"])
    assert sorted(order) == sorted(tests)
    assert order[0] == "tests/unit/test_histogram.py"
    assert nearest_first(tests, ["craft_stream/selection/seen.py"])[0] == "tests/unit/test_seen.py"
