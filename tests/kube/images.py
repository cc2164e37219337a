# SPDX-License-Identifier: Apache-2.0
"""Container images without a registry: built with buildah, handed to the nodes as OCI archives."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .process import run

BUSYBOX = Path("/bin/busybox")
# Also the sandbox image of the nodes, which has to do nothing until it is told to end.
BUSYBOX_IMAGE = "localhost/leasehold-test/busybox:1"
BUSYBOX_RECIPE = """\
FROM scratch
COPY root /
CMD ["/bin/sh", "-c", "trap 'exit 0' TERM INT; sleep 2147483647 & wait"]
"""


def cache_directory():
    path = Path(os.environ.get("LEASEHOLD_CACHE") or Path.home() / ".cache" / "leasehold")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _buildah(*arguments, timeout):
    # A store of its own, on any file system, that needs neither overlayfs nor /run.
    store = cache_directory() / "buildah"
    return run(["buildah", "--root", store / "root", "--runroot", store / "run",
                "--storage-driver", "vfs", *arguments], timeout=timeout)


def build_image(context, archive, name, dockerfile=None, build_args=(), timeout=1200):
    """Builds the image name from a Dockerfile and writes it to archive (an OCI archive).

    dockerfile: by default the one in the directory context.  build_args: "KEY=VALUE" strings.
    """
    flags = ["--file", dockerfile] if dockerfile else []
    for argument in build_args:
        flags += ["--build-arg", argument]
    _buildah("build", "--isolation", "chroot", "--tag", name, *flags, context, timeout=timeout)
    # A half-written archive never has the final name.
    partial = Path(f"{archive}.{os.getpid()}")
    try:
        _buildah("push", name, f"oci-archive:{partial}:{name}", timeout=timeout)
        partial.rename(archive)
    finally:
        partial.unlink(missing_ok=True)
    return Path(archive)


def busybox_archive():
    """The archive of BUSYBOX_IMAGE, built once for each version of busybox."""
    identity = hashlib.sha256(BUSYBOX.read_bytes() + BUSYBOX_RECIPE.encode()).hexdigest()[:12]
    archive = cache_directory() / f"busybox-{identity}.tar"
    if archive.exists():
        return archive
    with tempfile.TemporaryDirectory() as context:
        programs = Path(context) / "root" / "bin"
        programs.mkdir(parents=True)
        shutil.copy(BUSYBOX, programs / "busybox")
        listing = subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, text=True, check=True,
                                 timeout=10)
        for program in listing.stdout.split():
            if program != "busybox":
                (programs / program).symlink_to("busybox")
        (Path(context) / "Dockerfile").write_text(BUSYBOX_RECIPE)
        return build_image(context, archive, BUSYBOX_IMAGE)
