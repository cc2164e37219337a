"""The chart, the manifests of `leasehold manifest`, the image and the systemd unit."""
