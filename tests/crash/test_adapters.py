#!/usr/bin/python3
"""What the slow loop of adapters learned survives kill -9: epoch, plan, window and load estimates.

    test_adapters.py SHUNTD SHUNTCTL PROTO_DIR STUB_ENGINE

The engine is killed, too, before the server is started again: what the server then says of loads
it cannot have measured anew."""
import json
import random
import subprocess
import sys
import time
import urllib.request

import harness
from harness import Case, ROUTER, SEED, TIMEOUT_S, grpc, main

PINNED = ("b", "e")
LOAD_MS = {"a": 10, "b": 15, "c": 20, "d": 25, "e": 30, "f": 35}
BY_SIZE_MS = 5  # What a load is taken to cost before it was measured: less than any can take.
SLOTS, EPOCH = 4, 100


class Adapters(Case):
    def setUp(self):
        super().setUp()
        adapters = [x for n, ms in LOAD_MS.items() for x in ("--adapter", f"{n}=/models/{n}={ms}")]
        self.engine = subprocess.Popen(
            [sys.executable, "-B", harness.MORE[0], "vllm", "--slots", str(SLOTS + 1),
             "--cold-reloads", *adapters], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end_engine)
        self.url = "http://127.0.0.1:" + self.engine.stdout.readline().split()[1]
        self.asked = 0  # Requests that the slow loop has to count.
        self.s = self.server()
        self.assertTrue(self.s.start(), "no start")

    def end_engine(self):
        self.engine.kill()
        self.engine.wait()
        self.engine.stdout.close()

    def declare(self, slow_tick=False, **residency):
        pb = harness.pb.admin
        arms = [pb.ArmSpec(name=n, adapter=pb.Adapter(
            base_model="base", path="/models/" + n, size_bytes=BY_SIZE_MS * 10 ** 6,
            pinned=n in PINNED)) for n in LOAD_MS]
        settings = pb.RouterSettings(seed=7, residency=pb.Residency(
            slots=SLOTS, epoch_requests=EPOCH, epoch_loads=0, load_ref_ms=20, bytes_per_ms=10 ** 6,
            tick_ms=60000 if slow_tick else 20,
            **residency))
        self.s.admin.CreateRouter(pb.CreateRouterRequest(spec=pb.RouterSpec(
            name=ROUTER, arms=arms, features_n=2, task_slots=False, scalars=False,
            text_block=False, settings=settings)), timeout=TIMEOUT_S)

    def state(self):
        """Asked again while the slow loop has not come to the router yet."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self.s.admin.ListAdapters(
                    harness.pb.admin.ListAdaptersRequest(router=ROUTER), timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                if (error.code() != grpc.StatusCode.UNAVAILABLE
                        or time.monotonic() > end):
                    raise
                time.sleep(0.01)

    def until(self, holds, what):
        end = time.monotonic() + TIMEOUT_S
        while not holds(state := self.state()):
            self.assertLess(time.monotonic(), end, f"{what}: {state}")
            time.sleep(0.01)
        return state

    def ask(self, n, rng, **more):
        """So many requests; a and f are right for one kind of them each, the rest are middling."""
        self.asked += n
        for _ in range(n):
            kind = rng.random() < .5
            d = self.s.route(features=[float(kind), rng.random()], **more)
            self.s.report(d, reward=.9 if d.arm_id == "af"[kind] else .4)

    def play_epochs(self, n, rng, **more):
        """Until n more epochs are durable, and all that was asked is counted."""
        wanted = self.state().plan.epoch + n
        while (plan := self.state().plan).epoch < wanted:
            self.ask(max(1, plan.length - plan.requests), rng, **more)
        return self.until(lambda s: s.plan.journalled
                          and sum(a.pulls for a in s.adapters) == self.asked, "not counted")

    @staticmethod
    def loads(state):
        return [(a.arm_id, a.desired, a.load_ms, a.loads) for a in state.adapters]

    def settle(self, rng):
        """Epochs until one has changed nothing: what was measured before it is durable with it."""
        for _ in range(30):
            before = self.until(lambda s: s.plan.replicas[0].converged, "not loaded")
            after = self.play_epochs(1, rng)
            best = [a.arm_id for a in after.adapters if a.desired] == ["a", "b", "e", "f"]
            if best and self.loads(before) == self.loads(after):
                return after
        return self.fail(f"it does not settle: {after}")

    @staticmethod
    def kept(state):
        """What a crash must not touch: the plan and what it was made of."""
        p = state.plan
        return (p.epoch, p.length, p.begun_us, p.value, p.uncached,
                Adapters.loads(state), [a.share for a in state.adapters])

    def ctl(self, *args):
        done = subprocess.run(
            [harness.SHUNTCTL, "--server", "unix:" + self.s.socket,
             "--admin", f"unix:{self.s.data}/admin.sock", *args],
            capture_output=True, text=True, timeout=TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_epoch_plan_window_and_load_estimates_are_as_they_were(self):
        rng = random.Random(SEED)
        self.declare(engine=1, replicas=[self.url])
        # An adapter that was reported is taken for loaded by its request: the pinned ones are not.
        self.play_epochs(2, rng, candidates=[n for n in LOAD_MS if n not in PINNED])
        self.until(lambda s: s.plan.replicas[0].converged, "not loaded")
        self.play_epochs(3, rng)
        before = self.settle(rng)
        measured = [a for a in before.adapters if a.loads]
        self.assertGreaterEqual(len(measured), len(PINNED), before)
        for a in measured:
            self.assertGreaterEqual(a.load_ms, LOAD_MS[a.arm_id])
        verdict = json.loads(self.ctl("verify", "--json"))
        self.s.kill()
        self.engine.kill()
        self.engine.wait()
        self.assertTrue(self.s.start())
        after = self.state()
        self.assertEqual(self.kept(after), self.kept(before))
        self.assertGreaterEqual(after.plan.epoch, 6)
        lost = self.asked - sum(a.pulls for a in after.adapters)
        self.assertEqual(lost, before.plan.requests)  # Those of the epoch that ran.
        self.assertFalse(after.plan.replicas[0].up)
        # The window has no figure of its own: it is bytes of the form that verify folds again.
        again = json.loads(self.ctl("verify", "--json"))
        self.assertTrue(verdict["ok"] and again["ok"], (verdict, again))
        self.assertEqual(again["state_bytes"], verdict["state_bytes"])
        plan = json.loads(self.ctl("adapters", "plan", "--router", ROUTER, "--json"))
        self.assertEqual(int(plan["epoch"]), before.plan.epoch)
        self.s.kill()
        code, said = self.s.verify_offline()
        self.assertEqual(code, 0, said)

    def forget(self):
        """The engine's worker starts again with nothing in memory."""
        ask = urllib.request.Request(self.url + "/stub", b'{"forget": true}')
        urllib.request.urlopen(ask, timeout=TIMEOUT_S).close()

    def test_loads_measured_since_the_last_plan_are_there_after_kill_9(self):
        self.declare(engine=1, replicas=[self.url])  # And nobody asks: no epoch ever ends.

        def measured(times):
            return self.until(lambda s: s.plan.journalled and s.plan.replicas[0].converged
                              and all(a.loads >= times for a in s.adapters if a.arm_id in PINNED),
                              f"not measured {times} times")

        planned = self.until(lambda s: sum(a.desired for a in s.adapters) == len(PINNED), "no plan")
        measured(1)
        self.forget()
        before = measured(2)
        self.assertEqual(before.plan.epoch, planned.plan.epoch)
        for a in before.adapters:
            self.assertGreaterEqual(a.load_ms, LOAD_MS[a.arm_id] if a.loads else BY_SIZE_MS)
        self.s.kill()
        self.engine.kill()  # Nothing can be measured anew.
        self.engine.wait()
        for _ in range(2):  # And once more, from what the first start has made of the journal.
            self.assertTrue(self.s.start())
            self.assertEqual(self.kept(self.state()), self.kept(before))
            self.assert_verified(self.s)
            self.s.kill()
        code, said = self.s.verify_offline()
        self.assertEqual(code, 0, said)

    def test_loads_are_journalled_at_an_orderly_end_before_their_turn(self):
        self.declare(engine=1, replicas=[self.url], slow_tick=True)
        self.until(lambda s: all(a.loads for a in s.adapters if a.arm_id in PINNED), "not measured")
        before = self.loads(self.state())
        self.s.stop()
        self.engine.kill()
        self.engine.wait()
        self.assertTrue(self.s.start())
        self.assertEqual(self.loads(self.state()), before)

    def test_killed_while_it_plans_it_loses_no_plan_that_was_durable(self):
        rng = random.Random(SEED)
        self.declare()
        self.play_epochs(1, rng)
        for _ in range(4):
            self.ask(EPOCH + rng.randrange(2 * EPOCH), rng)
            seen = self.state()
            self.s.kill()
            self.assertTrue(self.s.start())
            now = self.state()
            # One that was not durable yet may be gone, or have become so before the end.
            self.assertGreaterEqual(now.plan.epoch + (not seen.plan.journalled), seen.plan.epoch)
            self.assertLessEqual(now.plan.epoch, seen.plan.epoch + 1)
            if now.plan.epoch == seen.plan.epoch:
                self.assertEqual([a.desired for a in now.adapters],
                                 [a.desired for a in seen.adapters])
                lost = sum(a.pulls for a in seen.adapters) - sum(a.pulls for a in now.adapters)
                self.assertEqual(lost, seen.plan.requests)  # Those of the epoch that ran.
            self.assertTrue(now.plan.epoch)  # The first one was.
            self.assert_verified(self.s)


if __name__ == "__main__":
    main()
