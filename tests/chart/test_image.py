"""That the image holds the program with everything it needs and nothing else."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from chart.chart import REPOSITORY, VERSION
from kube.images import build_image

pytestmark = pytest.mark.chart

SCRIPT = REPOSITORY / "helm/image/build-rootfs.sh"


@pytest.fixture(scope="module")
def context(binary, tmp_path_factory):
    directory = tmp_path_factory.mktemp("image")
    subprocess.run([SCRIPT, binary, directory], check=True, timeout=120)
    return directory


def files_of(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir())


def test_only_the_program_and_libraries(context):
    for name in files_of(context / "rootfs"):
        assert name == "usr/bin/leasehold" or ".so" in Path(name).name or \
            Path(name).name == "copyright", name


def test_runs_alone(context):
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    done = subprocess.run(["chroot", context / "rootfs", "/usr/bin/leasehold", "version"],
                          capture_output=True, text=True, timeout=30, check=False,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    assert done.returncode == 0, done.stderr
    assert VERSION in done.stdout


def test_every_library_has_its_licence(context):
    packages = {p.name for p in (context / "rootfs/usr/share/doc").iterdir()}
    assert {"leasehold", "libc6"} <= packages
    assert any(p.startswith("libcurl") for p in packages)


def test_a_missing_library_is_an_error(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    (tmp_path / "lib.c").write_text("int answer(void);\nint answer(void) { return 0; }\n")
    (tmp_path / "main.c").write_text("int answer(void);\nint main(void) { return answer(); }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "libgone.so", "lib.c"], cwd=tmp_path,
                   check=True, timeout=60)
    subprocess.run([compiler, "-o", "program", "main.c", "-L.", "-lgone"], cwd=tmp_path,
                   check=True, timeout=60)
    done = subprocess.run([SCRIPT, tmp_path / "program", tmp_path / "context"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "needs libgone.so, which is not here" in done.stderr


@pytest.mark.slow
def test_image(context, tmp_path):
    if shutil.which("buildah") is None:
        pytest.skip("no buildah here")
    archive = build_image(context, tmp_path / "image.tar", f"localhost/leasehold:{VERSION}")
    subprocess.run(["tar", "--extract", "--file", archive], cwd=tmp_path, check=True, timeout=60)

    def blob(described):
        return json.loads((tmp_path / "blobs" / described["digest"].replace(":", "/")).read_text())

    manifest = blob(json.loads((tmp_path / "index.json").read_text())["manifests"][0])
    config = blob(manifest["config"])["config"]
    assert config["Entrypoint"] == ["/usr/bin/leasehold"]
    size = sum(layer["size"] for layer in manifest["layers"])
    assert size < 20 * 1024 * 1024, f"the image has {size} bytes"


def test_both_dockerfiles_agree(context):
    """The one at the root ends in what build-rootfs.sh writes for builds without a registry."""
    final = (REPOSITORY / "Dockerfile").read_text().split("FROM scratch\n")[1]
    other = (context / "Dockerfile").read_text().split("FROM scratch\n")[1]
    assert final.splitlines()[1:] == other.splitlines()[1:]
    assert final.splitlines()[0] == "COPY --from=build /context/rootfs /"
    assert other.splitlines()[0] == "COPY rootfs /"
