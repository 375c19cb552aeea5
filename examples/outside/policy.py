#!/usr/bin/env python3
"""A policy for `halcyon bench --policy-cmd 'python3 examples/outside/policy.py'`.

Gives each socket's CPU time and each host's memory to VMs in proportion to what they use. Standard
library only.
"""
import json
import sys

ROOM = 2  # twice what is used
vms, peak = {}, {}
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "world":  # comes first, and again whenever VMs come or go
        vms = {vm["name"]: vm for vm in message["vms"]}
        continue
    held = {vm["vm"]: vm for vm in message["held"]["vms"]}
    wishes = []
    for seen in message["vms"]:
        name, rates = seen["vm"], seen["rates"]
        if "cpu_used_milli" not in rates:
            continue  # what was not measured stays as it is
        limit = vms[name]["cpu_milli"]["limit"]
        used = rates["cpu_used_milli"] + rates.get("cpu_waited_milli", 0)
        peak[name] = max(used, 0.99 * peak.get(name, 0))  # what it used at most lately
        wish = {"vm": name, "cpu_milli": {"share": peak[name] * ROOM}, "reason": {"demand": min(1, used / limit)}}
        if "working_set_bytes" in seen:
            # Where it lies already, scaled; what is too much for a node is scaled down by Halcyon.
            have = sum(part["bytes"] for part in held[name]["memory"])
            scale = seen["working_set_bytes"] * 1.2 / have
            wish["memory"] = [{"node": p["node"], "bytes": p["bytes"] * scale} for p in held[name]["memory"]]
        wishes.append(wish)
    print(json.dumps({"schema": 1, "type": "proposal", "cycle": message["cycle"], "vms": wishes}), flush=True)
