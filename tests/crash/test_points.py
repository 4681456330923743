#!/usr/bin/python3
"""The server dies, or its disk fails, at a chosen system call: strace does it.

    test_points.py SHUNTD SHUNTCTL PROTO_DIR

A client that does one thing at a time knows what it was told. Skipped where strace may not trace."""
import os
import signal
import sys

from harness import Case, TIMEOUT_S, grpc, main, strace_works

CALLS = {"fdatasync": 20, "pwrite64": 20, "sendmsg": 12}
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
REPORTS_MAX = 100


class Points(Case):
    def setUp(self):
        super().setUp()
        self.told, self.doubt, self.point = [], None, ""
        self.repeated = 0  # How many of the told were repeated after an earlier crash.

    def play(self, server, stuck=()):
        """Reports until the server is gone; what it acknowledged, and the report in doubt."""
        try:
            for _ in range(REPORTS_MAX):
                decision = server.route(text="Where does it break?")
                self.doubt = decision
                answer = server.report(decision, reward=0.5)
                self.assertFalse(answer.duplicate)
                self.assertEqual(list(answer.counted), ["reward"])
                self.told.append(decision)
                self.doubt = None
        except grpc.RpcError as error:
            self.assertIn(error.code(), (*GONE, *stuck), error.details())
            return
        self.fail(f"the server survived {self.point}")

    def begin(self):
        server = self.server()
        self.assertTrue(server.start(), server.log() if server.starts else "")
        server.create_router()
        self.assertEqual(server.stop(), 0)
        return server

    def recover(self, server, n):
        """Everything told is there; returns whether the report in doubt was."""
        self.assertTrue(server.start(), f"{n}: {server.log()}")
        folded = server.get_router().outcomes_folded
        self.assertIn(folded - len(self.told), (0, 1) if self.doubt else (0,), n)
        for decision in self.told[self.repeated:]:
            self.assertTrue(server.report(decision, reward=1).duplicate, n)
        was_there = False
        if self.doubt:
            was_there = server.report(self.doubt, reward=0.5).duplicate
            self.assertEqual(was_there, folded == len(self.told) + 1, n)
            self.told.append(self.doubt)
            self.doubt = None
        self.repeated = len(self.told)
        self.assertEqual(server.get_router().outcomes_folded, len(self.told), n)
        self.assert_verified(server)
        self.assertEqual(server.stop(), 0)
        return was_there

    def strace(self, call, what, n):
        return ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}",
                "-e", f"inject={call}:{what}:when={n}"]

    def test_killed_at_the_nth_call(self):
        """Counted by thread: the small n hit the start, the others the writer or an answer."""
        server = self.begin()
        for call, most in CALLS.items():
            fired = there = not_there = 0
            for n in range(1, most + 1):
                self.point = f"{call} {n}"
                self.point = f"{call} {n}"
                ready = server.start(under=self.strace(call, "signal=SIGKILL", n))
                if ready:
                    self.play(server)
                status = server.wait()
                self.assertIn(status, (-signal.SIGKILL, 128 + signal.SIGKILL), f"{call} {n}")
                fired += 1
                in_doubt = self.doubt is not None
                was_there = self.recover(server, f"{call} {n}")
                there += was_there
                not_there += in_doubt and not was_there
            print(f"{call}: killed at {fired} points; the report in doubt was there {there} times, "
                  f"not there {not_there} times", flush=True)
        self.repeated = 0
        self.recover(server, "at last")

    def test_killed_between_commit_and_reply(self):
        """The writer is held right after its n-th write; when the client has lost patience, the
        server dies. After the write of LMDB's meta page the outcome is durable and nobody was told;
        after a data page it is not."""
        server = self.begin()
        there = 0
        for n in range(1, 9):
            self.point = f"after pwrite64 {n}"
            # Only writes to the state count: those of the start go elsewhere.
            held = self.strace("pwrite64", "delay_exit=60000000", n)
            state = os.path.join(server.data, "state")
            self.assertTrue(server.start(under=[*held, "-P", state]))
            server.patience_s = 1
            self.play(server, stuck=(grpc.StatusCode.DEADLINE_EXCEEDED,))
            server.kill()
            server.patience_s = TIMEOUT_S
            self.assertIsNotNone(self.doubt, self.point)
            there += self.recover(server, self.point)
        print(f"held after 8 writes: the report in doubt was there {there} times", flush=True)
        self.assertGreater(there, 0)
        self.assertLess(there, 8)

    def test_nothing_is_acknowledged_after_a_failed_sync(self):
        server = self.begin()
        served = 0
        for n in range(1, 13):
            ready = server.start(under=self.strace("fdatasync", "error=EIO", n))
            if ready:
                self.play(server)
                self.assertTrue(server.events("disk_failed") or server.events("start_failed"), n)
                self.assertTrue(server.events("fatal"), n)
                self.assertEqual(server.events("fatal")[0]["level"], "error")
                served += 1
            status = server.wait()
            self.assertGreater(status, 0, n)  # It ended by itself, and not well.
            self.assertIn('"level":"error"', server.log(), n)
            self.recover(server, n)
        print(f"fdatasync failed 12 times, {served} of them while serving", flush=True)
        self.assertGreater(served, 5)


if __name__ == "__main__":
    if not strace_works():
        print("skipped: strace is not here, or may not trace")
        sys.exit(77)
    main()
