# SPDX-License-Identifier: Apache-2.0
"""spec.healthCheckNodePort, answered by the agents themselves: who has an endpoint, and who has not."""

import http.client
import json
import socket

from netns.lab import wait_for

from e2e.agents import PATIENCE_S

PORT = 32099


def ask(node, port):
    """(status, body) of a health check of the node, from the node itself; (0, None) when nobody answers."""
    with node.entered():
        try:
            sock = socket.create_connection((node.ip4, port), timeout=2)
        except OSError:
            return 0, None
    connection = http.client.HTTPConnection(node.ip4, port, timeout=2)
    connection.sock = sock
    try:
        connection.request("GET", "/whatever")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def wait_answer(node, port, endpoints):
    body = {"service": {"namespace": "default", "name": "web"}, "localEndpoints": endpoints, "serviceProxyHealthy": True}
    wait_for(lambda: ask(node, port) == (200 if endpoints else 503, body), PATIENCE_S, 0.05,
             what=lambda: f"{node} to tell of {endpoints} endpoints: {ask(node, port)}")


def test_every_node_tells_of_its_own_endpoints(cluster):
    first, second, third = cluster.lab.nodes
    pods = {node: [pod for pod in cluster.lab.pods if pod.node is node] for node in cluster.lab.nodes}
    cluster.start_agents(health_check_node_ports="on")
    service = cluster.service(backends=pods[first] + pods[second], externalTrafficPolicy="Local")
    port = service.get()["spec"]["healthCheckNodePort"]
    service.wait_vips(1)
    for node in (first, second):
        wait_answer(node, port, len(pods[node]))
    wait_answer(third, port, 0)
    service.set_backends(pods[third])
    wait_answer(first, port, 0)
    wait_answer(third, port, len(pods[third]))
    service.delete()
    for node in cluster.lab.nodes:
        wait_for(lambda n=node: ask(n, port)[0] == 0, PATIENCE_S, 0.05, f"{node} to be silent")


def test_a_port_that_somebody_has_is_tried_again(cluster):
    node = cluster.lab.nodes[0]
    pods = [pod for pod in cluster.lab.pods if pod.node is node]
    with node.entered():
        taken = socket.create_server(("", PORT))
    agent = cluster.agent(node, health_check_node_ports="on").start().wait_ready()
    cluster.service(backends=pods, externalTrafficPolicy="Local", healthCheckNodePort=PORT)
    wait_for(lambda: "health_port_taken" in agent.log(), PATIENCE_S, 0.05, "a word about the port")
    taken.close()
    wait_answer(node, PORT, len(pods))


def test_nothing_is_served_unasked(cluster):
    node = cluster.lab.nodes[0]
    agent = cluster.agent(node).start().wait_ready()
    service = cluster.service(backends=[pod for pod in cluster.lab.pods if pod.node is node],
                              externalTrafficPolicy="Local", healthCheckNodePort=PORT)
    cluster.wait_on_one_node(service.wait_vips(1)[0], node)
    assert ask(node, PORT) == (0, None)
    agent.require_running()
