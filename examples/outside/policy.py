#!/usr/bin/env python3
"""A policy for `halcyon bench --policy-cmd 'python3 examples/outside/policy.py'`.

Gives CPU time, memory bandwidth and memory to VMs in proportion to what they used at most lately. A
place to start from, not a good policy. Standard library only.
"""
import json
import sys

ROOM = 1.5  # what is used, and half as much again
vms, peak = {}, {}


def most_lately(name, what, used):
    """A peak that fades by half in about a minute."""
    peak[name, what] = max(used, 0.99 * peak.get((name, what), 0))
    return peak[name, what]


for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "world":  # comes first, and again whenever VMs come or go
        vms = {vm["name"]: vm for vm in message["vms"]}
        continue
    held = {vm["vm"]: vm for vm in message["held"]["vms"]}
    wishes = []
    for seen in message["vms"]:
        name, rates = seen["vm"], seen["rates"]
        wish = {"vm": name}
        if "cpu_used_milli" in rates:  # what was not measured stays as it is
            used = most_lately(name, "cpu", rates["cpu_used_milli"] + rates.get("cpu_waited_milli", 0))
            wish["cpu_milli"] = {"share": used * ROOM}
            wish["reason"] = {"demand": min(1, used / vms[name]["cpu_milli"]["limit"])}
        if "memory_bandwidth_bytes_per_s" in rates:
            used = most_lately(name, "bandwidth", rates["memory_bandwidth_bytes_per_s"])
            wish["memory_bandwidth_bytes_per_s"] = {"share": used * ROOM}
        if "working_set_bytes" in seen:  # where it lies already, scaled
            parts = held[name]["memory"]
            wanted = most_lately(name, "memory", seen["working_set_bytes"]) * 1.2
            scale = wanted / sum(part["bytes"] for part in parts)
            if not 0.9 < scale < 1.0:  # not for little
                wish["memory"] = [{"node": part["node"], "bytes": part["bytes"] * scale} for part in parts]
        wishes.append(wish)
    print(json.dumps({"schema": 1, "type": "proposal", "cycle": message["cycle"], "vms": wishes}), flush=True)
