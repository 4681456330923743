"""What replay must reach on real data (SHUNT_DATA), with one configuration for all: explore_floor=0.

Prints the table. Exit 77 when the data is not there: a visible skip.
"""
import json
import os
import subprocess
import sys

SHUNTCTL = sys.argv[1]
DATA = os.environ.get("SHUNT_DATA", "")

# File, and how far the mean over 20 orders may lie below the best single arm in hindsight.
MARGINS = [("pareto_val", 0.003), ("llmrouter9_train", 0.008), ("messplus3_energy", 0.015),
           ("routerbench11_train", 0.035), ("routerdc7_train", 0.0)]
# Outcomes 500 requests late cost about .014 whatever one does; this is the most they may cost.
DELAY, DELAY_COST = 500, 0.018


def path_of(name):
    return os.path.join(DATA, name + ".jsonl.gz")


def replay(name, *options):
    env = {k: v for k, v in os.environ.items() if not k.startswith("SHUNT_")}
    out = subprocess.run([SHUNTCTL, "replay", path_of(name), "--json", "--set", "explore_floor=0",
                          *options], check=True, stdout=subprocess.PIPE, env=env, timeout=600)
    return json.loads(out.stdout)


def main():
    if not DATA or not os.path.exists(path_of("pareto_val")):
        print("skipped: SHUNT_DATA names no folder with the replay files")
        return 77
    broken = []
    results = {}
    print("%-22s %8s %8s %8s %8s %8s %8s %8s" % ("data", "mean", "sd", "worst", "single", "task",
                                              "random", "seconds"))
    for name, margin in MARGINS:
        r = results[name] = replay(name)
        u, single = r["utility"], r["best_single"]["utility"]
        print("%-22s %8.4f %8.4f %8.4f %8.4f %8.4f %8.4f %8.1f" % (
            name, u["mean"], u["sd"], u["worst"], single, r["best_per_task"], r["random"],
            r["seconds"]), flush=True)
        if u["mean"] < single - margin:
            broken.append("%s: mean %.4f is below %.4f - %.3f" % (name, u["mean"], single, margin))
        if u["worst"] < r["random"]:
            broken.append("%s: an order fell below random" % name)
    late = replay("pareto_val", "--delay", str(DELAY))
    cost = results["pareto_val"]["utility"]["mean"] - late["utility"]["mean"]
    print("pareto_val, outcomes %d requests late: %.4f, %.4f less" % (
        DELAY, late["utility"]["mean"], cost))
    if cost > DELAY_COST:
        broken.append("outcomes %d requests late cost %.4f, more than %.3f" % (
            DELAY, cost, DELAY_COST))
    for line in broken:
        print("BROKEN", line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
