#!/usr/bin/python3
"""A restart with a million journalled outcomes: all are there, and how long it takes is printed.

    test_restart.py SHUNTD SHUNTCTL PROTO_DIR MAKE_JOURNAL

SHUNT_CRASH_OUTCOMES sets how many. No time is asserted: this machine may be busy."""
import json
import os
import subprocess
import time

import harness
from harness import Case, VERIFY_S, main

OUTCOMES = int(os.environ.get("SHUNT_CRASH_OUTCOMES") or "1000000")


class Restart(Case):
    def make(self, checkpoint_every):
        server = self.server()
        subprocess.run([harness.MORE[0], server.data, str(OUTCOMES), str(checkpoint_every)],
                       check=True, timeout=VERIFY_S)
        return server

    def timed_start(self, server, what):
        began = time.monotonic()
        self.assertTrue(server.start(), server.log())
        wall = time.monotonic() - began
        recovered = server.events("recovered")[0]
        print(json.dumps({"restart_seconds": round(recovered["seconds"], 3),
                          "listening_seconds": round(wall, 3), "what": what,
                          "checkpoint": recovered["checkpoint"], "folded": recovered["folded"],
                          "bytes": os.stat(os.path.join(server.data, "state")).st_size}),
              flush=True)
        return recovered

    def assert_all_there(self, server):
        router = server.get_router("default")
        self.assertEqual(router.outcomes_folded, OUTCOMES)
        self.assertEqual(sum(a.metrics["reward"].n for a in router.arms), OUTCOMES)
        self.assertEqual(router.d, 45)
        self.assert_verified(server)

    def test_checkpoint_and_tail(self):
        """The longest tail that the default settings leave: a fifth of a million."""
        server = self.make(OUTCOMES // 5)
        recovered = self.timed_start(server, "checkpoint and tail")
        self.assertEqual(recovered["folded"], OUTCOMES // 5)
        server.kill()
        self.timed_start(server, "again, after kill -9")
        self.assert_all_there(server)
        self.assertEqual(server.stop(), 0)

    def test_no_checkpoint_at_all(self):
        server = self.make(0)
        recovered = self.timed_start(server, "everything folded again")
        self.assertEqual(recovered["checkpoint"], 0)
        self.assertGreaterEqual(recovered["folded"], OUTCOMES)
        self.assert_all_there(server)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    main()
