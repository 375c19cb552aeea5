#!/usr/bin/env python3
"""A toy world for `halcyon bench --world-cmd 'python3 examples/outside/world.py'`.

One socket of 8 cores, three VMs whose demand for CPU time goes up and down in turn, and work that
waits until it is done. Only CPU shares can be changed. Standard library only.
"""
import json
import math
import os
import random
import sys

CORES, STEP_S, STEPS = 8, 1.0, int(os.environ.get("STEPS", "600"))
NAMES = ["web", "batch", "mail"]
random.seed(int(os.environ.get("HALCYON_SEED", "1")))
phase = {name: random.random() for name in NAMES}


def send(kind, **fields):
    print(json.dumps({"schema": 1, "type": kind, **fields}), flush=True)


def demand(name, at_s):
    """Cores that a VM asks for: a wave of five minutes around two."""
    return 2 + 1.9 * math.sin(2 * math.pi * (at_s / 300 + phase[name]))


send(
    "world",
    host={
        "name": "toy",
        "sockets": [{"name": "cpu", "cores": CORES}],
        "memory": [{"name": "ram", "on": {"socket": 0}, "bytes": 32 << 30, "bandwidth_bytes_per_s": 50 * 10**9}],
    },
    changes={"cpu": {"pace_s": 1, "granularity": 10}},
    vms=[
        {
            "name": name,
            "vcpus": 6,
            "cpu_milli": {"reservation": 500, "limit": 6000},
            "memory_bytes": {"reservation": 4 << 30, "limit": 4 << 30},
            "objective": "throughput",
        }
        for name in NAMES
    ],
    held={
        "vms": [
            {"vm": name, "cpu_milli": {"share": 2000, "ceiling": 2000}, "memory": [{"node": 0, "bytes": 4 << 30}]}
            for name in NAMES
        ]
    },
    duration_s=STEPS * STEP_S,
    step_s=STEP_S,
)
ceiling = {name: 2.0 for name in NAMES}
used_us, waited_us, backlog, utility = ({name: 0.0 for name in NAMES} for _ in range(4))
for cycle in range(1, STEPS + 1):
    want = {name: demand(name, cycle * STEP_S) * STEP_S + backlog[name] for name in NAMES}
    got = {name: min(want[name], ceiling[name] * STEP_S) for name in NAMES}
    scale = min(1, CORES * STEP_S / sum(got.values()))
    for name in NAMES:
        work = got[name] * scale
        utility[name] += work / want[name] / STEPS  # the part of what waits that is done at once
        backlog[name] = want[name] - work
        used_us[name] += work * 1e6
        waited_us[name] += min(backlog[name], 6 * STEP_S - work) * 1e6
    seen = [{"vm": n, "cpu_used_us": round(used_us[n]), "cpu_waited_us": round(waited_us[n])} for n in NAMES]
    send("snapshot", cycle=cycle, at_s=cycle * STEP_S, vms=seen)
    plan = json.loads(sys.stdin.readline())
    if plan["steps"]:  # nothing takes time here, so that the target is what is held from now on
        ceiling = {vm["vm"]: vm["cpu_milli"]["ceiling"] / 1000 for vm in plan["target"]["vms"]}
send(
    "scores",
    utility=min(1, sum(utility.values()) / len(NAMES)),
    violations=0,
    vms=[{"vm": name, "utility": min(1, utility[name])} for name in NAMES],
)
