#!/usr/bin/python3
"""shunt-bench memory says something: every figure is there, and none is less than what must be.

    test_memory.py SHUNT_BENCH"""
import json
import subprocess
import sys


def main():
    out = subprocess.run([sys.argv[1], "memory", "--minutes", ".05", "--quick", "--json"],
                         check=True, stdout=subprocess.PIPE).stdout
    rows = json.loads(out)["rows"]
    found = [row["what"] for row in rows]
    assert found == ["arm", "arm", "outcome", "soak"], found
    for row in rows[:2]:
        matrices = 2 * row["d"] * (row["d"] + 1) / 2 * 8  # Half of two symmetric ones.
        assert row["state_bytes"] >= matrices, row
        # Requests read the inverses alone, as floats.
        assert matrices / 2 <= row["view_bytes"] < row["state_bytes"], row
    assert rows[0]["state_bytes"] < rows[1]["state_bytes"], rows
    assert rows[2]["disk_bytes"] >= 4 * rows[2]["d"], rows[2]  # The context, as floats.
    assert rows[2]["memory_bytes"] >= 16, rows[2]  # The decision's id.
    soak = rows[3]
    assert soak["decisions"] > 0 and soak["reports"] > 0, soak
    assert soak["first_mb"] > 0 and soak["last_mb"] > 0, soak


if __name__ == "__main__":
    main()
