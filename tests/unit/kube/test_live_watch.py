# SPDX-License-Identifier: Apache-2.0
"""Watches against an API server that misbehaves: whatever breaks, the view ends up as the server's, and doubt
is told when there is doubt and only then."""

import time

import pytest
from fakekube import support, transcript
from kube.process import wait_until

from unit.kube.live import compact, DRIVER, requests, View, write

pytestmark = [pytest.mark.fake, pytest.mark.netns,
              pytest.mark.skipif(not DRIVER.exists(), reason=f"no {DRIVER}: run make unit-programs")]


# --- the view -----------------------------------------------------------------------------------

@pytest.mark.parametrize("watch_list", [True, False], ids=["watch-list", "list"])
def test_view_is_complete_and_follows(plane, proxy, driver, api, leases, watch_list):
    """begin, every object, synced, live; then what happens, in order."""
    plane.control("set", watchList=watch_list)
    view = driver.watch(leases)
    order = [e["what"] for e in driver.events(watch=0)]
    assert order.index("begin") < order.index("put") < order.index("synced") < order.index("live")
    assert order.count("put") == 3 and order.count("begin") == 1 and order.count("live") == 1
    view.wait_equal(api, leases)
    write(api, leases, "a", "x")
    api.create(leases, transcript.lease("d"))
    api.delete(f"{leases}/b")
    driver.wait(None, what="gone", name="b")
    told = [(e["what"], e["name"]) for e in driver.events(watch=0) if e["what"] in ("put", "gone")]
    assert told[3:] == [("put", "a"), ("put", "d"), ("gone", "b")]
    view.wait_equal(api, leases)
    verbs = [r["verb"] for r in requests(proxy, path=leases)]
    assert verbs == (["WATCH"] if watch_list else ["WATCH", "GET", "WATCH"])


def test_remembers_that_watch_list_is_refused(plane, proxy, driver, leases):
    """Only the first try costs a refusal."""
    plane.control("set", watchList=False)
    driver.watch(leases)
    since = driver.mark()
    compact(plane)
    plane.control("endWatches")
    driver.wait(None, since, what="synced")
    driver.wait(None, since, what="live", live=True)
    assert len(requests(proxy, "WATCH", f"{leases}.*sendInitialEvents")) == 1


def test_field_selector(driver, api, leases):
    """Only what was asked for is in view."""
    driver.watch(leases, selector="metadata.name=b")
    write(api, leases, "a", "x")
    write(api, leases, "b", "x")
    driver.wait(lambda e: e["name"] == "b" and (e["spec"] or {}).get("holderIdentity") == "x", what="put")
    assert {e["name"] for e in driver.events(what="put")} == {"b"}


def test_pages(plane, proxy, driver, api, leases):
    """A list of 1,203 comes in pages and is one view."""
    plane.control("set", watchList=False)
    with support.session(plane.api) as ask:
        for number in range(1200):
            status, _ = ask("POST", leases, transcript.lease(f"n{number}"))
            assert status == 201
    view = driver.watch(leases)
    assert len(view.objects()) == 1203 and view.begun_anew(0) == 1
    view.wait_equal(api, leases)
    assert len(requests(proxy, "GET", f"{leases}.*limit=500")) == 3


def test_a_page_that_expires_starts_the_view_again(plane, proxy, driver, api, leases):
    """410 to a continue token: another complete view; what went meanwhile is gone."""
    plane.control("set", watchList=False)
    with support.session(plane.api) as ask:
        for number in range(600):
            ask("POST", leases, transcript.lease(f"n{number}"))
    number = proxy.rule("delay", verb="GET", path="continue=", ms=1500)
    proxy.rule("answer", verb="GET", path="continue=", code=410, count=1)
    driver.do("watch", 0, "general", 600000, leases)
    driver.wait(None, what="put", name="b")
    api.delete(f"{leases}/b")       # told already, and gone before the second view begins
    proxy.clear(number)
    driver.wait(None, what="live", live=True, seconds=30)
    View(driver, 0).wait_equal(api, leases)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_of_any_size(proxy, driver, api, leases, size):
    """A stream that drips is the same stream."""
    api.patch(f"{leases}/a", {"metadata": {"annotations": {"x": "\u20ac\U0001f600\"\\}{][" * 20}}})
    proxy.rule("drip", verb="WATCH", path=leases, size=size, ms=0)
    view = driver.watch(leases)
    write(api, leases, "c", "x")
    view.wait_equal(api, leases, seconds=30)
    assert view.begun_anew(0) == 1 and view.lives(0) == [True]


# --- broken streams -----------------------------------------------------------------------------

def test_ordinary_end_is_no_doubt(plane, driver, api, leases):
    """The stream ends, is resumed where it was, and nobody doubts."""
    view = driver.watch(leases)
    time.sleep(1.1)     # a stream that ends within a second is no ordinary one
    since = driver.mark()
    plane.control("endWatches")
    write(api, leases, "a", "x")
    driver.wait(None, since, what="put", name="a")
    write(api, leases, "b", "x")
    view.wait_equal(api, leases)
    assert view.lives(since) == [] and view.begun_anew(since) == 0


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("at", ["middle", "utf8", "end"])
def test_torn_stream_loses_nothing(proxy, driver, api, leases, at, then):
    """Whatever was torn off comes again, once, without a new complete view."""
    proxy.rule("tear", verb="WATCH", path=f"{leases}.*resourceVersion=\\d", count=1, events=2, at=at, then=then)
    proxy.rule("tear", verb="WATCH", path=f"{leases}.*sendInitialEvents", count=1, events=5, at=at, then=then)
    view = driver.watch(leases)     # three objects and a bookmark are the first four events
    for number, name in enumerate("abcabcabc"):
        api.patch(f"{leases}/{name}", {"metadata": {"annotations": {"x": f"\u20ac{number}"}}})
        time.sleep(0.02)
    view.wait_equal(api, leases)
    assert view.begun_anew(0) == 1
    versions = [int(e["version"]) for e in driver.events(what="put")][3:]
    assert versions == sorted(set(versions)) and len(versions) == 9
    view.wait_equal(api, leases)
    wait_until(lambda: driver.events(what="live")[-1]["live"], 10, "an end of the doubt")


def test_torn_first_view_is_begun_again(proxy, driver, api, leases):
    """Initial events give no version to resume from."""
    proxy.rule("tear", verb="WATCH", path=leases, count=1, events=2)
    view = driver.watch(leases)
    assert view.begun_anew(0) == 2
    view.wait_equal(api, leases)


def test_broken_and_unreachable_is_doubt_at_once(proxy, driver, api, leases):
    """The stream breaks and the server refuses: doubt; when it is back: the view, without relist."""
    view = driver.watch(leases)
    since = driver.mark()
    proxy.mode("refuse")
    event = driver.wait(None, since, what="live", live=False)
    assert event["why"]
    write(api, leases, "a", "x")
    assert driver.mark() == event["index"] + 1 or not driver.events(since, what="put")
    proxy.mode("pass")
    driver.wait(None, since, what="live", live=True)
    view.wait_equal(api, leases)
    assert view.lives(since) == [False, True] and view.begun_anew(since) == 0


def test_slow_resume_is_doubt(proxy, driver, api, leases):
    """The resume takes longer than a moment: doubt until it is there."""
    view = driver.watch(leases)
    time.sleep(1.1)     # see test_ordinary_end_is_no_doubt
    proxy.rule("delay", verb="WATCH", path=leases, ms=1500)
    since = driver.mark()
    proxy.cut()
    driver.wait(None, since, what="live", live=False, seconds=1.4)
    driver.wait(None, since, what="live", live=True)
    view.wait_equal(api, leases)


@pytest.mark.parametrize("as_http", [True, False], ids=["status", "event"])
@pytest.mark.parametrize("watch_list", [True, False], ids=["watch-list", "list"])
def test_expired_version_begins_again(plane, proxy, driver, api, leases, as_http, watch_list):
    """410, as an answer or as an event: a complete view, in which what is gone is gone."""
    plane.control("set", goneAsHttp=as_http, watchList=watch_list)
    view = driver.watch(leases)
    proxy.mode("refuse")
    api.delete(f"{leases}/a")
    write(api, leases, "b", "x")
    api.create(leases, transcript.lease("d"))
    plane.control("compact")
    since = driver.mark()
    proxy.mode("pass")
    synced = driver.wait(None, since, what="synced")["index"]
    driver.wait(None, synced, what="live", live=True)
    assert view.begun_anew(since) == 1
    # The event comes after an answer of 200, so that the view may seem alive for a moment.
    lives = view.lives(0)
    assert lives[:2] == [True, False] and len(lives) == (3 if as_http else len(lives))
    view.wait_equal(api, leases)


def test_expired_version_is_doubt_even_when_the_server_is_there(plane, driver, api, leases):
    """A version that is too old proves a gap: the view is in doubt until the new one is complete."""
    view = driver.watch(leases)
    time.sleep(1.1)     # see test_ordinary_end_is_no_doubt
    since = driver.mark()
    compact(plane)
    plane.control("endWatches")
    driver.wait(None, since, what="synced")
    wait_until(lambda: view.lives(since)[-1:] == [True], 10, "an end of the doubt")
    assert view.lives(since) == [False, True]
    live = driver.events(since, what="live")
    assert live[0]["index"] < driver.events(since, what="synced")[0]["index"] < live[1]["index"]


def test_waits_as_long_as_it_is_told(plane, proxy, driver, api, leases):
    """429 with Retry-After."""
    view = driver.watch(leases)
    proxy.rule("answer", verb="WATCH", path=leases, code=429, retry_after=2, count=1)
    since = driver.mark()
    plane.control("endWatches")
    driver.wait(None, since, what="live", live=False)
    driver.wait(None, since, what="live", live=True)
    times = [r["time"] for r in requests(proxy, "WATCH", leases)[-2:]]
    assert 1.9 <= times[1] - times[0]
    assert view.begun_anew(since) == 0
    view.wait_equal(api, leases)


def test_version_of_the_future(plane, proxy, driver, api, leases):
    """A server that is behind for a while is waited for; one that never catches up (etcd was restored
    from a backup) is listed again."""
    view = driver.watch(leases)
    number = proxy.rule("answer", verb="WATCH", path=f"{leases}.*resourceVersion=\\d", code=504, retry_after=1)
    since = driver.mark()
    plane.control("endWatches")
    driver.wait(None, since, what="live", live=False)
    driver.wait(None, since, what="begin", seconds=40)
    driver.wait(None, since, what="synced")
    proxy.clear(number)
    wait_until(lambda: view.lives(since)[-1:] == [True], 20, "an end of the doubt")
    view.wait_equal(api, leases)


def test_forbidden_is_told_and_tried_again(proxy, driver, leases):
    """The refusal is in the problem's text."""
    proxy.rule("answer", verb="WATCH", path=leases, code=403, count=2)
    driver.do("watch", 0, "general", 600000, leases)
    problem = driver.wait(None, what="problem")
    assert "403" in problem["error"] and leases in problem["error"]
    driver.wait(None, what="live", live=True)


def test_silence_is_doubt(proxy, driver, api, leases):
    """No byte for silence_ms: doubt, and the watch is resumed on another connection."""
    proxy.rule("tear", verb="WATCH", path=leases, count=1, events=4, at="end", then="hang")
    view = driver.watch(leases, silence_ms=1500)
    since = driver.mark()
    write(api, leases, "a", "x")
    driver.wait(None, since, what="live", live=False)
    driver.wait(None, since, what="live", live=True)
    view.wait_equal(api, leases)
    assert view.begun_anew(since) == 0


def test_bookmarks_break_the_silence(plane, driver, leases):
    """A watch without events but with bookmarks is left alone."""
    plane.control("set", bookmarkSeconds=0.4)
    view = driver.watch(leases, silence_ms=1200)
    since = driver.mark()
    time.sleep(3)       # several silences long: nothing may happen
    assert view.lives(since) == [] and not driver.events(since, what="done")


def test_restart_of_the_server(plane, driver, api, leases):
    """The server dies and comes back: doubt, then the view."""
    view = driver.watch(leases)
    since = driver.mark()
    plane.kill()
    try:
        driver.wait(None, since, what="live", live=False)
    finally:
        plane.restart()
    driver.wait(None, since, what="live", live=True)
    write(api, leases, "a", "x")
    view.wait_equal(api, leases)


def test_end_within_an_outage(proxy, driver, leases):
    """A watch can be ended in any state, and started again."""
    driver.watch(leases)
    proxy.mode("refuse")
    driver.wait(None, what="live", live=False)
    driver.do("unwatch", 0)
    since = driver.mark()
    proxy.mode("pass")
    assert driver.ask("GET", leases)["status"] == 200
    assert driver.events(since, watch=0) == []
    driver.watch(leases)
