"""The image at work: `deploy/check image` builds it and names it in CRAFT_TEST_IMAGE; without that these are skipped."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests import broker
from tests.deploy.test_live import free_port, get, wait

IMAGE = os.environ.get("CRAFT_TEST_IMAGE", "")
pytestmark = pytest.mark.skipif(not IMAGE, reason="CRAFT_TEST_IMAGE is not set: deploy/check image")
LOCKED = ("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp", "--cap-drop=all", "--network=host")


def podman(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=180, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def settings(bootstrap: str, **more: Any) -> list[str]:
    values = {"CRAFT_KAFKA__BOOTSTRAP_SERVERS": bootstrap, "CRAFT_LEARNER__PRIME_PAIRS": 2000, **more}
    return [f"--env={name}={value}" for name, value in values.items()]


@pytest.fixture(scope="module")
def crawl() -> Iterator[str]:
    """A broker with topics made and pairs published by the image itself."""
    with broker.bootstrap() as bootstrap:
        making = (f"{IMAGE}:default", "topics", "create", "--partitions=2", "--replication-factor=1")
        podman("run", "--rm", *LOCKED, *settings(bootstrap), *making)
        podman("run", "--rm", *LOCKED, *settings(bootstrap, RATE=1e6), f"{IMAGE}:simulator", "--rounds=1")
        yield bootstrap


def test_a_locked_container_decides_is_healthy_and_stops(crawl: str) -> None:
    """Read-only root, no capabilities, 2 GB: decisions soon after its start, healthy, exit code 0 on SIGTERM."""
    port = free_port()
    name = f"craft-test-{os.getpid()}"
    more = settings(crawl, CRAFT_OBSERVE__PORT=port, CRAFT_KAFKA__SESSION_TIMEOUT_MS=6000)
    began = time.monotonic()
    podman("run", "--detach", "--name", name, *LOCKED, "--memory=2g", *more, f"{IMAGE}:default", "run")
    try:
        decided = re.compile(rb"^craft_decisions_total\S* [1-9]", re.MULTILINE)
        wait("decisions", lambda: decided.search(get(f"http://127.0.0.1:{port}/metrics")), 90)
        # Priming and the first model included; compiling the kernels alone takes as long as all of this.
        assert time.monotonic() - began < 60
        podman("healthcheck", "run", name)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            assert answer.status == 200
        podman("stop", "--time=60", name)
        assert podman("inspect", name, "--format={{.State.ExitCode}}") == "0", podman("logs", name)
    finally:
        podman("rm", "--force", name, check=False)


def test_nobody_is_root_and_nothing_can_be_written() -> None:
    """The user is 10001, the root refuses writes, and the kernels were compiled when the image was built."""
    script = (
        "id -u; touch /opt/craft/x 2>/dev/null || echo refused; find /opt/craft/kernels -name '*.nbc' | wc -l"
    )
    user, write, kernels = podman(
        "run", "--rm", *LOCKED, "--entrypoint=sh", f"{IMAGE}:default", "-c", script
    ).split()
    assert (user, write) == ("10001", "refused")
    assert int(kernels) > 20


def test_the_image_runs_what_was_compiled() -> None:
    """A container adds no kernel to those that came with it: it spends no time compiling."""
    count = "find {} -name '*.nbc' | wc -l"
    script = (
        f"entrypoint demo > /dev/null; {count.format('/tmp/kernels')}; {count.format('/opt/craft/kernels')}"
    )
    image = f"{IMAGE}:simulator"
    after, before = podman("run", "--rm", *LOCKED, "--entrypoint=sh", image, "-c", script).split()
    assert after == before
