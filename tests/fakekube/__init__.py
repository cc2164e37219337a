"""An in-memory Kubernetes API server and a fault proxy, for tests and the demo."""
