# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes for tests, in network namespaces: see cluster.py (API servers) and nodes.py."""
