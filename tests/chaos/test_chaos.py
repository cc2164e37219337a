"""A minute of chaos with the single answerer proven, and the proof that the judge sees what it is there for."""

import subprocess
import sys

import pytest

from chaos.chaos import HEAL_MS, Judge
from chaos.faults import KINDS, rng_for, schedule
from e2e.agents import BINARY, REPOSITORY, have_agent
from netns.probe import ClaimsTrace

MS = 10**6


def claims(mac, *times, kind="arp-reply"):
    return [ClaimsTrace.Claim(t * MS, "192.0.2.200", "node1", mac, kind) for t in times]


def test_the_judge_sees_two_answerers_across_pieces_of_the_record():
    judge = Judge(str)
    judge.hear(claims("a", *range(0, 1000, 20)))
    judge.hear(claims("b", *range(1001, 2000, 20)))
    assert judge.violations([]) == [], "a move"
    judge.hear(claims("a", 1990))
    judge.hear(claims("b", *range(2001, 2400, 20)))
    one, = judge.violations([])
    assert (one.macs, one.start // MS, one.end // MS) == (("a", "b"), 1981, 2001)
    assert judge.violations([(1900 * MS, 2001 * MS + HEAL_MS * MS)]) == [], "while the LAN is split, under hold"
    assert judge.violations([(1990 * MS, 2500 * MS)]) == [one]


def test_the_judge_leaves_data_alone():
    judge = Judge(str)
    judge.hear(claims("a", *range(0, 400, 20)) + claims("b", *range(5, 400, 20), kind="ip"))
    assert judge.violations([]) == []


def test_a_seed_makes_the_same_schedule_and_every_kind_comes_up():
    one, two, other = (schedule(rng_for(seed, 3), 24, 400, 5, 20) for seed in (7, 7, 8))
    assert one == two and one != other
    assert {f.kind for f in one} == set(KINDS)
    assert all(0 <= f.at and f.at + f.length <= 24.001 for f in one)


@pytest.mark.slow
@pytest.mark.netns
@pytest.mark.timeout(240)
def test_a_minute_of_chaos():
    if not have_agent():
        pytest.skip(f"no agent at {BINARY}: run make, or set LEASEHOLD_BIN")
    done = subprocess.run([sys.executable, "-B", str(REPOSITORY / "tests/chaos/chaos.py"), "--seconds", "60"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=220, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout.splitlines()[-2:]
