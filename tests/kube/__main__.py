# SPDX-License-Identifier: Apache-2.0
"""A control plane, and nodes if wanted, from the shell, until it is told to end:

    python3 tests/kube --dir DIR --netns api --address 192.0.2.100
    python3 tests/kube --dir DIR --netns api --address 192.0.2.100 \\
        --node node1=ns1=192.0.2.11 --node node2=ns2=192.0.2.12 --image leasehold.tar

Prints "kubeconfig FILE" and "bin DIRECTORY", then "ready", and ends on SIGINT or SIGTERM.
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# pylint: disable=wrong-import-position
from kube.cluster import ALL_CONTROLLERS, API_CONTROLLERS, ControlPlane, NotBuilt
from kube.nodes import NodePlace, Nodes
from kube.process import Timeout


def _node_place(text):
    fields = text.split("=")
    if len(fields) not in (3, 4) or not all(fields):
        raise argparse.ArgumentTypeError(f"{text}: want NAME=NETNS=ADDRESS[=IPV6-ADDRESS]")
    return NodePlace(*fields)


def _arguments():
    parser = argparse.ArgumentParser(prog="python3 tests/kube", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, type=Path, help="working directory")
    parser.add_argument("--netns", required=True, action="append",
                        help="network namespace of the API servers; one, or one for each address")
    parser.add_argument("--address", required=True, action="append",
                        help="address of an API server; repeatable")
    parser.add_argument("--controllers", action="store_true",
                        help="run the controllers of Services and ServiceAccounts; with nodes, all")
    parser.add_argument("--node", action="append", default=[], type=_node_place,
                        metavar="NAME=NETNS=ADDRESS[=IPV6-ADDRESS]")
    parser.add_argument("--image", action="append", default=[], metavar="ARCHIVE",
                        help="OCI archive for the nodes; repeatable")
    parser.add_argument("--no-kube-proxy", action="store_true")
    return parser.parse_args()


def _plane(arguments):
    controllers = API_CONTROLLERS if arguments.controllers else ()
    if arguments.node:
        controllers = ALL_CONTROLLERS
    netns = arguments.netns[0] if len(arguments.netns) == 1 else arguments.netns
    return ControlPlane(netns, arguments.address, arguments.dir / "plane",
                        servers=len(arguments.address), controllers=controllers,
                        scheduler=bool(arguments.node))


def main():
    arguments = _arguments()

    def end(*_):
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    plane = nodes = None
    try:
        plane = _plane(arguments)
        plane.start()
        nodes = Nodes(plane, arguments.node, arguments.dir / "nodes",
                      kube_proxy=not arguments.no_kube_proxy)
        nodes.start()
        for archive in arguments.image:
            nodes.import_image(archive)
        print(f"kubeconfig {plane.admin_kubeconfig}\nbin {plane.bin}\nready", flush=True)
        while True:
            signal.pause()
    except (NotBuilt, OSError, RuntimeError, Timeout, ValueError) as error:
        sys.exit(f"tests/kube: {error}")
    finally:
        if nodes:
            nodes.stop()
        if plane:
            plane.stop()


if __name__ == "__main__":
    main()
