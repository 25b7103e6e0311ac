# SPDX-License-Identifier: Apache-2.0
"""Memory for the daemon, and for the GPU where it has none of its own."""

from __future__ import annotations

from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, Outcome, SkippedError, ok, problem, warning
from edged.doctor.meminfo import Memory, memory
from edged.doctor.needs import MIB, needs
from edged.doctor.situation import Situation

_LEAST_WITHOUT_SETTINGS = 512 * MIB
_SMALL_BOARD = 10 * 1024 * MIB
_ADD_SWAP = (
    "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile",
    "echo '/swapfile none swap sw 0 0' | sudo tee -a /etc/fstab  # so that it is there at the next boot",
)
_LESS = "[engine] max_batch and slots lower, or fewer [[sources]]  # in the settings"


def _known(situation: Situation) -> Memory:
    found = memory(situation.machine)
    if found is None:
        raise SkippedError("/proc/meminfo does not tell")
    return found


def _memory(situation: Situation) -> Outcome:
    found = _known(situation)
    settings = situation.known_settings
    wanted, lines = _LEAST_WITHOUT_SETTINGS, ["without settings: a small model and one source"]
    if settings is not None:
        need = needs(settings)
        shared = situation.machine.hardware() == "jetson"
        wanted = need.host_bytes + (need.gpu_bytes if shared else 0)
        lines = need.lines() + (["the GPU uses the same memory"] if shared else [])
    evidence = [_shown(found), f"wanted: about {wanted // MIB} MiB", *lines]
    if found.available + found.swap_free < wanted:
        return problem(
            f"{(found.available + found.swap_free) // MIB} MiB of memory and swap are free, about "
            f"{wanted // MIB} MiB are needed",
            evidence,
            ["ps aux --sort=-rss | head  # and end what is not needed", _LESS],
        )
    if found.available < wanted:
        return warning(
            f"{found.available // MIB} MiB of memory are free, about {wanted // MIB} MiB are needed: it would swap",
            evidence,
            ["ps aux --sort=-rss | head  # and end what is not needed", _LESS],
        )
    return ok(f"{found.available // MIB} MiB free, about {wanted // MIB} MiB needed", evidence)


def _shown(found: Memory) -> str:
    return (
        f"memory: {found.available // MIB} of {found.total // MIB} MiB available; "
        f"swap: {found.swap_free // MIB} of {found.swap_total // MIB} MiB free"
    )


MEMORY = Check("memory", "memory and swap against what the settings need", CONFIGURATION, _memory)


def _unified(situation: Situation) -> Outcome:
    situation.need_gpu()
    situation.need("jetson", "the GPU has memory of its own")
    found = _known(situation)
    settings = situation.known_settings
    workspace = (1024 if settings is None else settings.build.workspace_mb) * MIB
    evidence = [_shown(found), f"build.workspace_mb: {workspace // MIB}"]
    if workspace > found.available + found.swap_free:
        most = max(64, (found.available + found.swap_free) // (2 * MIB))
        return problem(
            f"a build may take {workspace // MIB} MiB, and GPU and CPU share {found.available // MIB} MiB: "
            "it would be killed",
            evidence,
            [f"[build] workspace_mb = {most}  # in the settings", *_ADD_SWAP],
        )
    if found.total < _SMALL_BOARD and found.swap_total < found.total // 2:
        return warning(
            "a small board with little swap: building an engine may run out of memory",
            evidence,
            ["sudo systemctl disable --now nvzramconfig  # swap in memory does not help here", *_ADD_SWAP],
        )
    if settings is not None and settings.engine.io in ("copy", "staged"):
        return warning(
            f'engine.io is "{settings.engine.io}": frames are copied within one and the same memory',
            [*evidence, f"engine.io: {settings.engine.io}"],
            ['[engine] io = "auto"  # in the settings'],
        )
    return ok(f"GPU and CPU share {found.total // MIB} MiB; a build fits", evidence)


UNIFIED_MEMORY = Check("unified-memory", "boards on which GPU and CPU share their memory", CONFIGURATION, _unified)
