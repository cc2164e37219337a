# SPDX-License-Identifier: Apache-2.0
"""How tests/run.py counts: second tries and times, on small suites that pytest really runs, and programs."""

import textwrap

import run

SUITE = '''
    from pathlib import Path

    import pytest

    def first_time(name):
        try:
            (Path(__file__).parent / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    @pytest.fixture
    def unsteady():
        assert not first_time("fixture"), "the unsteady fixture"

    @pytest.fixture
    def broken():
        raise OSError("the broken fixture")

    @pytest.fixture
    def shows_log():
        yield
        print("the log of an agent")

    def test_that_passes():
        pass
'''


def tried(tmp_path, capsys, cases):
    """What run.py counts and prints of a suite of these cases beside one that passes."""
    (tmp_path / "test_small.py").write_text(textwrap.dedent(SUITE) + textwrap.dedent(cases))
    counts = run.Counts()
    run.pytest(counts, "small", [str(tmp_path)], 60)
    return counts, capsys.readouterr().out


def names(cases):
    return [case.split("::")[-1] for case in cases]


def test_a_case_whose_name_holds_spaces_passes_the_second_time(tmp_path, capsys):
    counts, out = tried(tmp_path, capsys, '''
        @pytest.mark.parametrize("where", ["on the holder", "else::where [2001:db8::1]"])
        def test_unsteady(shows_log, where):
            assert not first_time(where.replace(" ", "_")), f"the first time {where}"
        ''')
    assert (counts.passed, counts.failed, counts.skipped) == (3, 0, 0), out
    assert len(counts.second_tries) == 2 and "test_unsteady[on the holder]" in counts.second_tries[0]
    assert "ok     small (3 passed, 0 failed, 0 skipped" in out
    for text in ["first time on the holder", "first time else::where [2001:db8::1]", "the log of an agent"]:
        assert text in out, "why it failed is told although it passed then"


def test_a_fixture_that_fails_once_is_tried_again(tmp_path, capsys):
    counts, out = tried(tmp_path, capsys, '''
        @pytest.mark.parametrize("where", ["on the holder"])
        def test_with_it(unsteady, where):
            pass
        ''')
    assert (counts.passed, counts.failed) == (2, 0) and "the unsteady fixture" in out
    assert names(counts.second_tries) == ["test_with_it[on the holder]"]


def test_what_fails_both_times_has_failed(tmp_path, capsys):
    counts, out = tried(tmp_path, capsys, '''
        @pytest.mark.parametrize("where", ["on the holder", "elsewhere"])
        def test_wrong(where):
            assert where == "elsewhere", "wrong each time"

        def test_with_it(broken):
            pass

        def test_leaves_nothing(unsteady):
            pass
        ''')
    assert (counts.passed, counts.failed) == (3, 2)
    assert names(counts.failures) == ["test_wrong[on the holder]", "test_with_it"]
    assert names(counts.second_tries) == ["test_wrong[on the holder]", "test_with_it", "test_leaves_nothing"]
    for text in ["FAILED small", "wrong each time", "the broken fixture", "the unsteady fixture"]:
        assert text in out


def test_many_that_fail_at_once_are_not_tried_again(tmp_path, capsys):
    many = run.SECOND_TRIES_MAX + 1
    counts, _ = tried(tmp_path, capsys, f'''
        @pytest.mark.parametrize("n", range({many}))
        def test_unsteady(n):
            assert not first_time(str(n))
        ''')
    assert (counts.passed, counts.failed, counts.second_tries) == (1, many, [])


def test_skipped_and_unreadable(tmp_path, capsys):
    (tmp_path / "test_other.py").write_text("import pytest\npytest.skip('not here', allow_module_level=True)\n")
    counts, _ = tried(tmp_path, capsys, '''
        def test_skips():
            pytest.skip("not now")
        ''')
    assert (counts.passed, counts.failed, counts.skipped) == (1, 0, 2)
    assert "not here" in counts.skips[0] and "not now" in counts.skips[1]
    (tmp_path / "test_unreadable.py").write_text("this is no Python\n")
    counts, out = tried(tmp_path, capsys, "")
    assert counts.failed > 0 and "this is no Python" in out


def test_a_suite_that_does_not_end_has_failed(tmp_path, capsys):
    (tmp_path / "test_slow.py").write_text("import time\ndef test_slow():\n    time.sleep(60)\n")
    counts = run.Counts()
    run.pytest(counts, "slow", [str(tmp_path)], 3)
    assert counts.failed == 1 and "ended after 3 s" in capsys.readouterr().out


def test_a_program_that_was_not_built_fails_and_the_rest_goes_on(tmp_path, capsys):
    counts = run.Counts()
    run.one(counts, "the simulation", [str(tmp_path / "sim"), "--seeds", "1"])
    assert (counts.passed, counts.failures) == (0, ["the simulation"])
    assert "No such file or directory" in capsys.readouterr().out


def test_the_time_of_a_case_is_that_of_its_fixtures_too(tmp_path, capsys):
    counts, _ = tried(tmp_path, capsys, '''
        import time

        @pytest.fixture
        def slow():
            time.sleep(0.2)
            yield
            time.sleep(0.2)

        def test_slow(slow):
            time.sleep(0.2)
        ''')
    (slow, name), (quick, other) = sorted(counts.seconds, reverse=True)
    assert slow >= 0.6 > quick >= 0
    assert name.startswith("small: ") and names([name, other]) == ["test_slow", "test_that_passes"]


def test_a_suite_that_cannot_be_started_has_failed():
    counts = run.run_suite(("small", ["tests"], 60, {"NOT A WORD": 1}))
    assert counts.failed == 1 and counts.failures[0].startswith("small: ")


def test_every_unit_test_program_counts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "TOP", tmp_path)
    folder = tmp_path / "build/release/unit/core"
    folder.mkdir(parents=True)
    for n in range(12):
        program = folder / f"test_{n:02}"
        last = "[  FAILED  ] test_wrong' >&2; exit 1" if n in (3, 7) else "[  PASSED  ] 5 test(s).'"
        program.write_text(f"#!/bin/sh\necho '{last}\n")
        program.chmod(0o755)
    (folder / "test_no_program.d").touch()
    counts = run.Counts()
    run.unit_tests(counts, "release")
    assert (counts.passed, counts.failures) == (50, [f"release unit/core/test_{n} test_wrong" for n in ("03", "07")])
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 14  # a line each, and what the two said
    for n in ("03", "07"):
        at = next(i for i, line in enumerate(out) if line.startswith(f"  FAILED release unit/core/test_{n}"))
        assert out[at + 1] == "    [  FAILED  ] test_wrong"
