# SPDX-License-Identifier: Apache-2.0
"""The API client against API servers that misbehave: every request has one answer in time, the next server is
found, credentials are kept fresh and checked, and nothing waits for something else."""

import contextlib
import os
import socket
import ssl
import threading
import time

import pytest
from fakekube import netns, support, transcript
from kube.pki import Authority
from kube.process import in_netns, run, wait_until

from unit.kube.live import compact, DRIVER, Driver, numbers, PORTS, requests, write

pytestmark = [pytest.mark.fake, pytest.mark.netns,
              pytest.mark.skipif(not DRIVER.exists(), reason=f"no {DRIVER}: run make unit-programs")]


# --- several servers ----------------------------------------------------------------------------

def test_goes_to_the_next_server_and_stays(proxies, driver_of_two, leases):
    """The first refuses: the next try goes to the second, and so do all after it."""
    driver = driver_of_two
    assert driver.ask("GET", leases, channel="lease")["server"] == proxies[0].url
    proxies[0].mode("refuse")
    assert driver.ask("GET", leases, channel="lease")["status"] == 0
    for _ in range(3):
        reply = driver.ask("GET", leases, channel="lease")
        assert (reply["status"], reply["server"]) == (200, proxies[1].url)
    proxies[0].mode("pass")
    assert driver.ask("GET", leases, channel="lease")["server"] == proxies[1].url


def test_black_hole(proxies, driver_of_two, api, leases):
    """A server that swallows everything: a Lease request ends in its time, the next goes elsewhere, and so
    do the watches."""
    driver = driver_of_two
    view = driver.watch(leases, silence_ms=4000, channel="lease")
    proxies[0].mode("black_hole")
    since = driver.mark()
    reply = driver.ask("GET", leases, channel="lease", timeout_ms=300)
    assert reply["status"] == 0 and proxies[0].url in reply["error"]
    assert reply["took_ms"] < 2000
    reply = driver.ask("GET", leases, channel="lease", timeout_ms=3000)
    assert (reply["status"], reply["server"]) == (200, proxies[1].url)
    driver.wait(None, since, what="live", live=False, seconds=20)
    driver.wait(None, since, what="live", live=True, seconds=20)
    write(api, leases, "a", "x")
    view.wait_equal(api, leases)
    assert requests(proxies[1], "WATCH", leases)


def test_lost_packets(plane, proxies, driver_of_two, api, leases):
    """A path that loses everything, so that not even TCP answers: the kernel gives the connection up long
    before silence_ms, and the other server takes over."""
    driver = driver_of_two
    view = driver.watch(leases, channel="lease")
    since = driver.mark()
    rules = "table inet lost { chain c { type filter hook output priority 0; tcp dport %d drop; }; }" % PORTS[0]
    run(in_netns(plane.servers[0].netns, ["nft", rules]))
    try:
        driver.wait(None, since, what="live", live=False, seconds=20)
        driver.wait(None, since, what="live", live=True, seconds=20)
        write(api, leases, "a", "x")
        view.wait_equal(api, leases)
        assert view.begun_anew(since) == 0
        assert driver.ask("GET", leases, channel="lease")["server"] == proxies[1].url
    finally:
        run(in_netns(plane.servers[0].netns, ["nft", "delete table inet lost"]))


def test_sick_server_is_left(proxies, driver_of_two, leases):
    """5xx counts as a failure of that server."""
    proxies[0].rule("answer", path=leases, code=503)
    assert driver_of_two.ask("GET", leases)["status"] == 503
    assert driver_of_two.ask("GET", leases)["status"] == 200


def test_a_relist_is_no_failure_of_the_server(plane, proxies, driver_of_two, leases):
    """410 says nothing against the server that said it."""
    driver = driver_of_two
    driver.watch(leases)
    time.sleep(1.1)     # see test_ordinary_end_is_no_doubt
    since = driver.mark()
    compact(plane)
    plane.control("endWatches")
    driver.wait(None, since, what="synced")
    assert driver.ask("GET", leases)["server"] == proxies[0].url


# --- requests -----------------------------------------------------------------------------------

def test_replies(driver, api, leases):
    """Status, reason, message and version as the server gave them."""
    path = f"{leases}/a"
    assert driver.ask("GET", path)["status"] == 200
    reply = driver.ask("GET", f"{leases}/missing")
    assert (reply["status"], reply["reason"]) == (404, "NotFound") and "missing" in reply["error"]
    reply = driver.ask("POST", leases, transcript.lease("a"))
    assert (reply["status"], reply["reason"]) == (409, "AlreadyExists")
    lease = api.get(path)
    write(api, leases, "a", "someone")
    reply = driver.ask("PUT", path, lease)
    assert (reply["status"], reply["reason"]) == (409, "Conflict")
    reply = driver.ask("PUT", path, api.get(path))
    assert reply["status"] == 200
    assert driver.ask("POST", leases, transcript.lease("new"))["status"] == 201
    assert driver.ask("PATCH", path, {"spec": {"holderIdentity": "p"}})["status"] == 200
    assert api.get(path)["spec"]["holderIdentity"] == "p"
    assert driver.ask("DELETE", f"{leases}/new")["status"] == 200
    assert not api.exists(f"{leases}/new")


def test_throttled(proxy, driver, leases):
    """429 carries the delay."""
    proxy.rule("answer", path=leases, code=429, retry_after=3, count=1)
    reply = driver.ask("GET", leases)
    assert (reply["status"], reply["retry_after_ms"]) == (429, 3000)
    assert driver.ask("GET", leases)["retry_after_ms"] == -1


@pytest.mark.parametrize("action", ["drop_request", "drop_reply"])
@pytest.mark.parametrize("then", ["close", "reset", "hang"])
def test_no_answer(proxy, driver, leases, action, then):
    """One reply with status 0 and a reason, in time; the next request is fine."""
    proxy.rule(action, verb="GET", path=leases, count=1, then=then)
    reply = driver.ask("GET", leases, timeout_ms=1000)
    assert reply["status"] == 0 and reply["error"]
    assert driver.ask("GET", leases)["status"] == 200


@pytest.mark.parametrize("then", ["close", "reset"])
def test_lost_reply_to_a_write(proxy, driver, api, leases, then):
    """The write happened and its reply is lost: no answer, or 409 where libcurl tried again by itself on
    another connection; the write is there once, and the next is fine."""
    path = f"{leases}/a"
    assert driver.ask("PUT", path, api.get(path), channel="lease")["status"] == 200   # opens the connection
    proxy.rule("drop_reply", verb="PUT", path=path, count=1, then=then)
    lease = api.get(path)
    lease["spec"]["holderIdentity"] = "me"
    assert driver.ask("PUT", path, lease, channel="lease")["status"] in (0, 409)
    after = api.get(path)
    assert after["spec"]["holderIdentity"] == "me"
    assert driver.ask("PUT", path, after, channel="lease")["status"] == 200


def test_request_from_within_a_callback(driver, api, leases):
    """An election answers an event with a write, from inside the call-back."""
    view = driver.watch(leases, channel="lease")
    driver.do("react", 0, f"{leases}/a")
    since = driver.mark()
    write(api, leases, "b", "x")
    driver.wait(None, since, what="put", name="b")
    reply = driver.wait(lambda e: e["what"] in ("reply", "not_started"), since, reaction=True)
    assert (reply["what"], reply.get("status")) == ("reply", 200), reply
    view.wait_equal(api, leases)


def test_burst_is_bounded_and_answered(proxy, driver, leases):
    """300 requests at once: all answered, over few connections."""
    proxy.rule("delay", path=leases, ms=50)
    driver.do("burst", 300, "general", 60000, leases)
    most = 0
    while len(driver.events(what="reply")) < 300:
        most = max(most, driver.usage()["sockets"])
    assert all(r["status"] == 200 for r in driver.events(what="reply"))
    assert sorted(r["id"] for r in driver.events(what="reply")) == list(range(300))
    assert 1 < most <= 20


def test_time_in_the_queue_counts(proxy, driver, leases):
    """timeout_ms is the whole request's, also when it is the server that keeps others waiting."""
    proxy.rule("drop_request", path=leases, then="hang")
    begin = time.monotonic()
    driver.do("burst", 100, "general", 1000, leases)
    wait_until(lambda: len(driver.events(what="reply")) == 100, 30, "all replies")
    assert time.monotonic() - begin < 5
    assert all(r["status"] == 0 for r in driver.events(what="reply"))


def test_lease_never_waits_for_others(proxy, driver, leases):
    """However many requests are under way, one for the Lease starts at once."""
    proxy.rule("delay", path="/api/v1/namespaces/default/services", ms=3000)
    assert driver.ask("GET", f"{leases}/a", channel="lease")["status"] == 200
    driver.do("burst", 200, "general", 60000, "/api/v1/namespaces/default/services")
    reply = driver.ask("GET", f"{leases}/a", channel="lease", timeout_ms=2500)
    assert reply["status"] == 200
    assert len(driver.events(what="reply", reaction=False)) == 2    # none of the burst


def test_lease_connection_is_kept(plane, proxy, driver, leases):
    """Lease requests use one connection, whatever happens on the general channel."""
    del plane
    for _ in range(3):
        driver.ask("GET", f"{leases}/a", channel="lease")
    driver.do("burst", 60, "general", 60000, leases)
    wait_until(lambda: len(driver.events(what="reply")) == 63, 30, "all replies")
    before = driver.usage()["sockets"]
    for _ in range(5):
        driver.ask("GET", f"{leases}/a", channel="lease")
    assert driver.usage()["sockets"] == before
    assert max(r["took_ms"] for r in driver.events(what="reply")[-5:]) < 1000


# --- credentials --------------------------------------------------------------------------------

def _account(plane, name):
    """A ServiceAccount with all rights."""
    with contextlib.suppress(support.ApiError):
        plane.api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
            "metadata": {"name": f"{name}-admin"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]})
    return plane.token_for_serviceaccount("default", name)


def _revoke(plane, name):
    plane.api.delete(f"/api/v1/namespaces/default/serviceaccounts/{name}")


@pytest.mark.parametrize("in_cluster", [True, False], ids=["pod", "kubeconfig"])
def test_token_rotation(plane, proxy, api, leases, tmp_path, in_cluster):
    """The old token dies, the new one is in its file (swapped as kubelet does): nobody notices."""
    name = f"rotating-{in_cluster}".lower()
    for number in (1, 2):
        (tmp_path / f"data{number}").mkdir()
        (tmp_path / f"data{number}" / "ca.crt").write_bytes(plane.ca_file.read_bytes())
    (tmp_path / "data1" / "token").write_text(_account(plane, name) + "\n")
    (tmp_path / "current").symlink_to("data1")
    (tmp_path / "token").symlink_to("current/token")
    (tmp_path / "ca.crt").symlink_to("current/ca.crt")
    if in_cluster:
        arguments = ["--in-cluster", tmp_path, support.ADDRESS, PORTS[0]]
    else:
        arguments = ["--kubeconfig", plane.write_kubeconfig(
            f"rotating-{next(numbers)}", proxy.url, {"tokenFile": tmp_path / "token"})]
    with Driver(plane.servers[0].netns, *arguments) as driver:
        view = driver.watch(leases, channel="lease")
        assert driver.ask("GET", leases)["status"] == 200
        since = driver.mark()
        _revoke(plane, name)
        (tmp_path / "data2" / "token").write_text(_account(plane, name))
        (tmp_path / "next").symlink_to("data2")
        os.rename(tmp_path / "next", tmp_path / "current")
        # All at once: each of them meets the old token or the new one, and none may fail.
        sent = [driver.send("GET", leases, channel=channel) for channel in ("lease", "general") * 4]
        for number in sent:
            assert driver.wait(None, what="reply", id=number)["status"] == 200
        proxy.cut()
        write(api, leases, "a", "x")
        view.wait_equal(api, leases)
        assert not driver.events(since, what="problem")


def test_watch_with_a_dead_token_recovers(plane, proxy, api, leases, tmp_path):
    """The watch itself meets the 401, and goes on with the new token as if nothing had been."""
    token = tmp_path / "token"
    token.write_text(_account(plane, "watcher"))
    kubeconfig = plane.write_kubeconfig(f"watcher-{next(numbers)}", proxy.url, {"tokenFile": token})
    with Driver(plane.servers[0].netns, "--kubeconfig", kubeconfig) as driver:
        view = driver.watch(leases, channel="lease")
        time.sleep(1.2)     # a stream that breaks within a second counts as a failure
        since = driver.mark()
        _revoke(plane, "watcher")
        fresh = tmp_path / "fresh"
        fresh.write_text(_account(plane, "watcher"))
        proxy.rule("delay", verb="WATCH", ms=0)
        os.rename(fresh, token)
        proxy.cut()
        write(api, leases, "a", "x")
        view.wait_equal(api, leases)
        wait_until(lambda: driver.events(what="live")[-1]["live"], 10, "an end of the doubt")
        assert view.begun_anew(since) == 0


def test_dead_token_is_told(plane, proxy, leases, tmp_path):
    """No new token: 401, as it is."""
    token = tmp_path / "token"
    token.write_text(_account(plane, "dead"))
    kubeconfig = plane.write_kubeconfig(f"dead-{next(numbers)}", proxy.url, {"tokenFile": token})
    with Driver(plane.servers[0].netns, "--kubeconfig", kubeconfig) as driver:
        assert driver.ask("GET", leases)["status"] == 200
        _revoke(plane, "dead")
        reply = driver.ask("GET", leases)
        assert (reply["status"], reply["reason"]) == (401, "Unauthorized")
        token.write_text(_account(plane, "dead"))
        assert driver.ask("GET", leases)["status"] == 200


def _kubeconfig(path, server, ca_file, token="t", **cluster):
    fields = "".join(f"    {key.replace('_', '-')}: {value}\n" for key, value in cluster.items())
    path.write_text(f"""apiVersion: v1
kind: Config
current-context: x
contexts:
- name: x
  context: {{cluster: x, user: x}}
clusters:
- name: x
  cluster:
    server: {server}
    certificate-authority: {ca_file}
{fields}users:
- name: x
  user: {{token: {token}}}
""")
    return path


def test_unknown_authority_is_refused(plane, proxy, leases, tmp_path):
    """A server whose certificate another authority signed gets no request."""
    other = Authority(tmp_path / "other").ca_file
    kubeconfig = _kubeconfig(tmp_path / "config", proxy.url, other)
    before = len(proxy.log())
    with Driver(plane.servers[0].netns, "--kubeconfig", kubeconfig) as driver:
        reply = driver.ask("GET", leases)
        assert reply["status"] == 0 and "certificate" in reply["error"].lower()
    assert len(proxy.log()) == before


def test_the_systems_authorities_do_not_count(plane, proxy, leases, tmp_path):
    """With an authority in the kubeconfig, those of the system are not trusted beside it."""
    other = tmp_path / "other.pem"     # with a name of its own: OpenSSL looks authorities up by name
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
         tmp_path / "other.key", "-out", other, "-subj", "/CN=another-authority", "-days", "3"])
    kubeconfig = _kubeconfig(tmp_path / "config", proxy.url, other)
    # The system's directory, in this process alone, holds the true authority.
    script = ("mount -t tmpfs t /etc/ssl/certs && cp $0 /etc/ssl/certs/a.pem && cp $0 /etc/ssl/certs/ca-certificates.crt"
              " && openssl rehash /etc/ssl/certs && exec \"$@\"")
    with Driver(plane.servers[0].netns, "--kubeconfig", kubeconfig,
                prefix=["unshare", "-m", "--propagation", "private", "sh", "-c", script, str(plane.ca_file)]) as driver:
        reply = driver.ask("GET", leases)
        assert reply["status"] == 0 and "certificate" in reply["error"].lower()


def test_server_name(plane, proxy, leases, tmp_path):
    """tls-server-name: checked against the certificate and sent as SNI, while the address is dialled."""
    token = _account(plane, "named")
    good = _kubeconfig(tmp_path / "good", proxy.url, plane.ca_file, token, tls_server_name="kubernetes")
    bad = _kubeconfig(tmp_path / "bad", proxy.url, plane.ca_file, token, tls_server_name="example.com")
    with Driver(plane.servers[0].netns, "--kubeconfig", good) as driver:
        reply = driver.ask("GET", leases)
        assert (reply["status"], reply["server"]) == (200, proxy.url)
    with Driver(plane.servers[0].netns, "--kubeconfig", bad) as driver:
        reply = driver.ask("GET", leases)
        assert reply["status"] == 0 and "example.com" in reply["error"]


class OneAnswerServer:
    """A TLS server that answers one GET a connection and notes which connections took up an earlier session."""

    def __init__(self, name, certificate, key):
        self.reused = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        with netns.inside(name):
            self._listener = socket.create_server((support.ADDRESS, 0))
        self.url = f"https://{support.ADDRESS}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                plain = self._listener.accept()[0]
            except OSError:
                return
            with plain, contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as peer:
                self.reused.append(peer.session_reused)
                while b"\r\n\r\n" not in peer.recv(4096):
                    pass
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    def close(self):
        """Ends it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def test_a_new_connection_takes_up_the_session(plane, tmp_path):
    """Whichever handle made the last one: without certificates and signatures a connection is made in half the time."""
    authority = Authority(tmp_path / "pki")
    certificate, key = authority.issue("server", "server", names=[support.ADDRESS])
    with contextlib.closing(OneAnswerServer(plane.servers[0].netns, certificate, key)) as server:
        kubeconfig = _kubeconfig(tmp_path / "config", server.url, authority.ca_file)
        with Driver(plane.servers[0].netns, "--kubeconfig", kubeconfig) as driver:
            for channel in ("lease", "lease", "general"):
                assert driver.ask("GET", "/version", channel=channel)["status"] == 200
    assert server.reused == [False, True, True]


def test_no_proxy_from_the_environment(plane, proxy, driver, leases):
    """The environment's proxies are none of ours."""
    del driver
    with Driver(plane.servers[0].netns, "--kubeconfig", proxy.admin_kubeconfig,
                prefix=["env", "https_proxy=http://192.0.2.1:9", "HTTPS_PROXY=http://192.0.2.1:9",
                        "ALL_PROXY=http://192.0.2.1:9"]) as other:
        assert other.ask("GET", leases)["status"] == 200


def test_names_without_dns_hold_nothing_up(plane, proxy, leases, tmp_path):
    """A resolver that never answers delays the requests for that name and nothing else."""
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(f"nameserver {support.ADDRESS}\noptions timeout:10 attempts:3\n")
    script = "mount --bind $0 /etc/resolv.conf && exec \"$@\""
    with netns.inside(plane.servers[0].netns):
        mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mute.bind((support.ADDRESS, 53))
    with mute, Driver(plane.servers[0].netns, "--kubeconfig", proxy.admin_kubeconfig,
                "--server", "https://api.example.com:6443", "--server", proxy.url,
                prefix=["unshare", "-m", "--propagation", "private", "sh", "-c", script, str(resolv)]) as driver:
        driver.usage()
        reply = driver.ask("GET", leases, channel="lease", timeout_ms=500)
        assert reply["status"] == 0 and reply["took_ms"] < 3000
        assert driver.ask("GET", leases, channel="lease")["status"] == 200
        assert driver.usage()["dispatch_us_max"] < 1000000


# --- cost ---------------------------------------------------------------------------------------

def test_memory(plane, driver, leases):
    """500 Services in view, a Lease watched and written, a burst of requests: a few MB."""
    services = leases.replace("/apis/coordination.k8s.io/v1", "/api/v1").replace("leases", "services")
    with support.session(plane.api) as ask:
        for number in range(500):
            assert ask("POST", services, transcript.service(f"s{number}"))[0] == 201
    driver.watch(services)
    driver.watch(leases, number=1, channel="lease")
    driver.watch("/apis/discovery.k8s.io/v1/endpointslices", number=2)
    driver.do("burst", 100, "general", 60000, f"{leases}/a")
    wait_until(lambda: len(driver.events(what="reply")) == 100, 30, "all replies")
    usage = driver.usage()
    if usage["sanitized"]:
        pytest.skip("a sanitizer's memory says nothing")
    assert usage["rss_anon_kb"] < 6000


def test_nothing_runs_when_nothing_happens(driver, leases):
    """Quiet watches cost no CPU time."""
    driver.watch(leases)
    driver.watch(leases, number=1, channel="lease")
    before = driver.cpu_ticks()
    time.sleep(2)       # during which there is nothing to do
    assert driver.cpu_ticks() - before <= 2
