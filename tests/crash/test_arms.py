#!/usr/bin/python3
"""Arms that leave, fail or bear hostile names, over the wire.

    test_arms.py SHUNTD SHUNTCTL PROTO_DIR"""
import json
import random
import time

import harness
from harness import Case, ROUTER, TIMEOUT_S, grpc, main

NEXT = 1000  # Requests over which an arm's share is looked at.


class Arms(Case):
    def setUp(self):
        super().setUp()
        self.s = self.server()
        self.assertTrue(self.s.start(), "no start")

    def arm(self, name):
        return next((a for a in self.s.get_router().arms if a.spec.name == name), None)

    def remove(self, name):
        self.s.admin.RemoveArm(harness.pb.admin.RemoveArmRequest(router=ROUTER, name=name),
                               timeout=TIMEOUT_S)

    def add(self, name):
        return self.s.admin.AddArm(harness.pb.admin.AddArmRequest(
            router=ROUTER, spec=harness.pb.admin.ArmSpec(name=name)), timeout=TIMEOUT_S)

    def test_outcomes_of_a_removed_arm_are_recorded_and_raise_nobody(self):
        self.s.create_router(arms=("stays", "leaves"))
        flying = [self.s.route(candidates=["leaves"]) for _ in range(30)]
        for decision in flying[:10]:
            self.assertFalse(self.s.report(decision, reward=1).orphaned)
        self.remove("leaves")
        for decision in flying[10:20]:
            answer = self.s.report(decision, reward=1)
            self.assertTrue(answer.orphaned)
            self.assertFalse(answer.duplicate)
            self.assertTrue(self.s.report(decision, reward=0).duplicate)
        self.assertIsNone(self.arm("leaves"))
        self.assertEqual(self.s.get_router().orphaned, 10)

        added = self.add("leaves")
        self.assertEqual(added.version, 2)
        self.assertEqual(self.s.route(candidates=["leaves"]).version, 2)
        for decision in flying[20:25]:
            self.assertTrue(self.s.report(decision, reward=1).orphaned)
        self.assertEqual(self.arm("leaves").answered, 0)  # They are version 1's.

        self.s.kill()
        self.assertTrue(self.s.start())
        for decision in flying[25:]:
            self.assertTrue(self.s.report(decision, reward=1).orphaned)
        for decision in flying[:25]:
            self.assertTrue(self.s.report(decision, reward=1).duplicate)
        router = self.s.get_router()
        self.assertEqual((router.outcomes_folded, router.orphaned), (10, 20))
        self.assertEqual((self.arm("leaves").version, self.arm("leaves").answered), (2, 0))
        self.assertNotIn("reward", {m: 1 for m, s in self.arm("leaves").metrics.items() if s.n})
        self.assert_verified(self.s)

    def test_an_import_is_there_after_a_kill_to_the_last_byte(self):
        """What a fresh arm begins with stands in the journal, not in the caller's file."""
        self.s.create_router(arms=("teacher",))
        for i in range(40):
            self.s.report(self.s.route(task="math" if i % 2 else "chat"), reward=i % 3 / 2)
        pb = harness.pb.admin
        exported = self.s.admin.ExportArm(pb.ExportArmRequest(router=ROUTER, name="teacher"),
                                          timeout=TIMEOUT_S)
        self.assertEqual(exported.rated_outcomes, 40)
        self.s.create_router(name="heir", arms=("other",))
        for name, fields in (("whole", {}), ("weak", {"strength": 10.0})):
            self.s.admin.ImportArm(pb.ImportArmRequest(
                router="heir", name=name, statistics=exported.statistics, **fields),
                timeout=TIMEOUT_S)
        ask = [pb.ExportArmRequest(router="heir", name=name) for name in ("whole", "weak")]
        before = [self.s.admin.ExportArm(a, timeout=TIMEOUT_S) for a in ask]
        self.assertEqual(before[0].rated_outcomes, 40)
        self.assertAlmostEqual(before[1].rated_outcomes, 10)
        self.s.kill()
        self.assertTrue(self.s.start())
        self.assertEqual([self.s.admin.ExportArm(a, timeout=TIMEOUT_S) for a in ask], before)
        self.assert_verified(self.s)
        damaged = bytearray(exported.statistics)
        damaged[len(damaged) // 2] ^= 4
        code, _ = self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT,
                                      lambda: self.s.admin.ImportArm(pb.ImportArmRequest(
                                          router="heir", name="x", statistics=bytes(damaged)),
                                          timeout=TIMEOUT_S))
        self.assertEqual(code, "PARSE")
        code, _ = self.assert_refused(grpc.StatusCode.RESOURCE_EXHAUSTED,
                                      lambda: self.s.admin.ImportArm(pb.ImportArmRequest(
                                          router="heir", name="x", statistics=bytes(3 << 20) + b"x"),
                                          timeout=TIMEOUT_S))
        self.assertEqual(code, "TOO_LARGE")

    @staticmethod
    def code_for(name):
        """A NUL would end the name in C: the message is refused before anybody looks at names."""
        return "PARSE" if "\0" in name else "BAD_NAME"

    def test_hostile_names_are_refused_and_forge_no_log_line(self):
        self.s.create_router()
        forged = 'x\n{"level":"error","event":"fatal","why":"forged"}'
        hostile = ["../../etc/passwd", "a/../b", "..", ".", "a\0b", "a\nb", forged, "", "x" * 65,
                   "caf\u00e9", 'a"b', "a{b}", "a b", "\x1b[31m"]
        for name in hostile:
            for call in (lambda n=name: self.add(n),
                         lambda n=name: self.s.create_router(name=n),
                         lambda n=name: self.s.route(task=n) if n else self.add(n),
                         lambda n=name: self.s.route(candidates=[n])):
                code, sentence = self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT, call)
                self.assertEqual(code, self.code_for(name), (name, sentence))
                self.assertNotIn("\n", sentence)
        decision = self.s.route()
        for name in filter(None, hostile):
            code, _ = self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT,
                                          lambda n=name: self.s.report(decision, **{n: 1}))
            self.assertEqual(code, self.code_for(name))
        self.assertFalse(self.s.report(decision, reward=1).duplicate)
        self.assertEqual([a.spec.name for a in self.s.get_router().arms], ["a", "b"])
        self.assertEqual(self.s.events("fatal"), [])
        for line in self.s.log().splitlines():
            self.assertIsInstance(json.loads(line), dict)  # One object a line, always.
        self.s.kill()
        self.assertTrue(self.s.start())
        self.assert_verified(self.s)

    def test_a_description_is_kept_as_it_is_or_refused(self):
        self.s.create_router()
        text = 'He said "\\ {}, $(id)" ' + "\u00e9" * 20

        def describe(name, description):
            self.s.admin.AddArm(harness.pb.admin.AddArmRequest(
                router=ROUTER, spec=harness.pb.admin.ArmSpec(name=name, description=description)),
                timeout=TIMEOUT_S)
        for control in "\n", "\r", "\x07", "\x1b[31m":
            self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT,
                                lambda c=control: describe("d", "text" + c))
        describe("c", text)
        self.s.kill()
        self.assertTrue(self.s.start())
        self.assertEqual(self.arm("c").spec.description, text)
        self.assertIsNone(self.arm("d"))
        for line in self.s.log().splitlines():
            self.assertIsInstance(json.loads(line), dict)

    # ---- an arm that fails ----

    def serve(self, n, failing=False):
        """n requests, answered at once; the share of the arm `best`."""
        chosen = 0
        for i in range(n):
            decision = self.s.route(text=f"Question {i}")
            best = decision.arm_id == "best"
            chosen += best
            if best and failing:
                self.s.report(decision, status=harness.pb.common.STATUS_ERROR)
            else:
                good = {"best": 0.9, "fair": 0.6, "poor": 0.3}[decision.arm_id]
                self.s.report(decision, reward=good + random.uniform(-0.1, 0.1))
        return chosen / n

    def test_an_arm_that_only_fails_loses_its_traffic_and_regains_it(self):
        self.s.create_router(arms=("best", "fair", "poor"), cooldown_s=0.5, seed=7)
        before = self.serve(NEXT)
        self.assertGreater(before, 0.5)
        ill = self.serve(NEXT, failing=True)
        self.assertLess(ill, 0.02)
        self.assertGreater(self.arm("best").cooldowns, 0)
        # It answers again: a probe finds that out, when the cooldown lets it.
        probes = 0
        while self.arm("best").HasField("cooldown_until_us"):
            probes += 1
            self.assertLess(probes, 4000, "no probe succeeded")
            self.serve(5)
            time.sleep(0.01)
        after = self.serve(NEXT)
        print(json.dumps({"share_before": before, "share_while_failing": ill,
                          "share_after": after}), flush=True)
        self.assertGreater(after, 0.5)
        self.assert_verified(self.s)

    def test_a_new_arm_that_only_fails_gets_little(self):
        """Optimism does not keep it alive: what it is given shrinks with what was issued."""
        self.s.create_router(arms=("fair", "poor"), cooldown_s=5, seed=11)
        self.serve(300)
        self.add("best")
        share = self.serve(NEXT, failing=True)
        print(json.dumps({"share_of_a_failing_newcomer": share}), flush=True)
        self.assertLess(share, 0.02)

    def test_an_arm_that_never_answers_loses_its_traffic(self):
        """No error either: only decisions that nobody ever reports."""
        self.s.create_router(arms=("fair", "poor"), seed=13)
        self.serve(300)
        self.add("silent")
        chosen = 0
        for i in range(NEXT):
            decision = self.s.route(text=f"Question {i}")
            if decision.arm_id == "silent":
                chosen += 1
            else:
                self.s.report(decision, reward=0.6 if decision.arm_id == "fair" else 0.3)
        print(json.dumps({"share_of_a_silent_newcomer": chosen / NEXT}), flush=True)
        self.assertLess(chosen / NEXT, 0.5)  # It does not win all traffic.


if __name__ == "__main__":
    main()
