#!/usr/bin/python3
"""What the lifecycle of outcomes promises, with kill -9 in between.

    test_outcomes.py SHUNTD SHUNTCTL PROTO_DIR"""
import random
import threading
import time

import harness
from harness import Case, ROUTER, SEED, TIMEOUT_S, grpc, main

WAIT_S = 2


class Outcomes(Case):
    def setUp(self):
        super().setUp()
        self.s = self.server()
        self.assertTrue(self.s.start(), "no start")

    def rewards(self):
        """How many decisions have a reward in the statistics, and their sum, to a billionth: a mean
        is rounded at each of them."""
        arms = [a.metrics["reward"] for a in self.s.get_router().arms if "reward" in a.metrics]
        return sum(m.n for m in arms), round(sum(m.n * m.mean for m in arms if m.n), 9)

    def in_log(self, decision):
        """Whether the decision log has it, where a kill cannot take it any more."""
        try:
            self.s.admin.Explain(harness.pb.admin.ExplainRequest(
                decision_id=decision.decision_id), timeout=TIMEOUT_S)
        except grpc.RpcError as e:
            self.assertEqual(e.code(), grpc.StatusCode.NOT_FOUND, e.details())
            return False
        return True

    def until_in_log(self, decisions, total_s=60):
        end = time.monotonic() + total_s
        for d in decisions:
            while not self.in_log(d):
                self.assertLess(time.monotonic(), end, "the log does not get it")
                time.sleep(0.01)

    def until_counted(self, total_s=60):
        """Waits until the counters of all that was answered are durable. Nothing else may happen:
        then each of these two requests raises the journal by its tally, and the second tally was
        begun when the first one was through."""
        def position():
            return self.s.admin.Stats(harness.pb.admin.StatsRequest(),
                                      timeout=TIMEOUT_S).journal_position

        self.s.create_router(name="counted", arms=("x",))
        end = time.monotonic() + total_s
        for _ in range(2):
            before = position()
            self.s.route(router="counted")
            while position() == before:
                self.assertLess(time.monotonic(), end, "the counters are not written")
                time.sleep(0.01)

    def until_defaulted(self, n, total_s=60):
        """Waits until so many defaults are there; more would be one too many."""
        end = time.monotonic() + total_s
        while self.s.get_router().defaulted < n and time.monotonic() < end:
            time.sleep(0.1)
        return self.s.get_router()

    def test_defaults_are_given_exactly_once_whenever_it_is_killed(self):
        rng = random.Random(SEED)
        self.s.create_router(reward_wait_s=WAIT_S, default_rewards={"reward": 0})
        decisions = []
        for i in range(400):  # Each at once: in time, however slow the machine is.
            decisions.append(self.s.route())
            if i % 4 == 0:
                self.s.report(decisions[i], reward=1)
            elif i % 4 == 1:
                self.s.report(decisions[i], cost_usd=0.5)
        self.until_in_log(decisions)  # Nothing can be lost from here.
        for _ in range(6):  # Before, while and after the defaults are given.
            self.s.kill()
            self.assertTrue(self.s.start())
            time.sleep(rng.uniform(0, 1))
        router = self.until_defaulted(300)
        time.sleep(1.5)  # Another pass.
        router = self.s.get_router()
        self.assertEqual((router.defaulted, router.unaccounted), (300, 0))
        self.assertEqual(self.rewards(), (400, 100))
        for d in decisions[1::4] + decisions[2::4]:
            self.assert_refused(grpc.StatusCode.FAILED_PRECONDITION,
                                lambda d=d: self.s.report(d, reward=1))
        self.assertEqual(self.rewards(), (400, 100))
        self.assert_verified(self.s)

    def test_decisions_that_a_crash_takes_are_counted_and_get_none(self):
        self.s.create_router(reward_wait_s=WAIT_S, default_rewards={"reward": 0})
        decisions = [self.s.route() for _ in range(300)]
        self.s.kill()  # Some of them are on the disk, some are not.
        self.assertTrue(self.s.start())
        asked = self.s.get_router().requests  # As far as the counters had come.
        kept = sum(self.in_log(d) for d in decisions)
        counts = kept, max(0, asked - kept)
        end, router = time.monotonic() + 60, self.s.get_router()
        while time.monotonic() < end and (router.defaulted, router.unaccounted) != counts:
            time.sleep(0.1)
            router = self.s.get_router()
        self.assertEqual((router.defaulted, router.unaccounted), counts)
        self.assertLessEqual(asked, 300)
        self.assertEqual(self.rewards(), (kept, 0))
        self.s.kill()
        self.assertTrue(self.s.start())
        time.sleep(1.5)
        again = self.s.get_router()
        self.assertEqual((again.defaulted, again.unaccounted),
                         (router.defaulted, router.unaccounted))
        self.assert_verified(self.s)

    def test_a_default_without_the_whole_log_is_refused(self):
        self.assert_refused(grpc.StatusCode.FAILED_PRECONDITION,
                            lambda: self.s.create_router(default_rewards={"reward": 0}, decision_log=1))

    def test_pieces_and_sources_and_stand_ins_are_as_they_were_after_a_crash(self):
        self.s.create_router(aggregation=1, sources={"novice": "log_only", "spam": "refuse"})
        pb = harness.pb.router

        def tell(decision, **fields):
            metrics = fields.pop("metrics", {"reward": 0.25})
            return self.s.router.ReportReward(pb.ReportRewardRequest(
                decision_id=decision.decision_id, decision_token=decision.decision_token,
                metrics=metrics, **fields), timeout=TIMEOUT_S)

        summed, stood, gated = self.s.route(), self.s.route(candidates=["a"]), self.s.route()
        self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: tell(summed))
        self.assertFalse(tell(summed, idempotency_key="1").duplicate)
        self.assertFalse(tell(stood, idempotency_key="1", served_arm_id="b").duplicate)
        self.assertTrue(tell(gated, idempotency_key="1", source="novice").gated)
        self.assert_refused(grpc.StatusCode.PERMISSION_DENIED,
                            lambda: tell(gated, idempotency_key="1", source="spam"))
        self.s.kill()
        self.assertTrue(self.s.start())
        self.assertTrue(tell(summed, idempotency_key="1").duplicate)
        self.assertFalse(tell(summed, idempotency_key="2").duplicate)
        self.assertTrue(tell(stood, idempotency_key="1").duplicate)
        self.assertEqual(self.rewards(), (2, 0.75))
        self.assertEqual(self.s.get_router().gated, 1)
        self.assertEqual(self.s.get_router().spec.settings.sources["novice"], "log_only")
        bulk = self.s.router.ReportRewards(pb.ReportRewardsRequest(reports=[
            pb.ReportRewardRequest(decision_token=gated.decision_token, metrics={"reward": 1},
                                   idempotency_key=key) for key in ("x", "", "x")]),
            timeout=TIMEOUT_S)
        self.assertEqual([r.code for r in bulk.results], ["", "IDEMPOTENCY_KEY_REQUIRED", ""])
        self.assertEqual(len(bulk.results[0].response.counted), 1)
        self.assertEqual(self.rewards(), (3, 1.75))
        self.assert_verified(self.s)

    def tell(self, decision, reward, source):
        pb = harness.pb.router
        return self.s.router.ReportReward(pb.ReportRewardRequest(
            decision_id=decision.decision_id, decision_token=decision.decision_token,
            metrics={"reward": reward}, source=source), timeout=TIMEOUT_S)

    def test_a_source_is_forgotten_wholly_or_not_at_all_whenever_it_is_killed(self):
        rng = random.Random(SEED)
        self.s.create_router()
        decisions = [self.s.route() for _ in range(1000)]
        both = decisions[5::20]  # The judge was first; somebody else had another opinion.
        for i, d in enumerate(decisions):
            if i % 10 == 5:
                self.tell(d, 1, "judge")
            else:
                self.tell(d, 0.25, "human")
        for d in both:
            self.assertTrue(self.tell(d, 0.25, "human").duplicate)
        poisoned, clean = (1000, 100 + 0.25 * 900), (950, 0.25 * 950)
        self.assertEqual(self.rewards(), poisoned)
        request = harness.pb.admin.ForgetSourceRequest(source="judge")
        done, tries = False, 0
        while not done and tries < 40:
            tries += 1
            call = self.s.admin.ForgetSource.future(request, timeout=TIMEOUT_S)
            # Ever longer: on a slow machine, too, it comes through in the end.
            time.sleep(rng.uniform(0, 0.04 if tries < 20 else 0.4 * (tries - 19)))
            answered = call.done() and call.exception() is None
            self.s.kill()
            self.assertTrue(self.s.start())
            now = self.rewards()
            self.assertIn(now, (poisoned, clean))
            done = now == clean
            self.assertTrue(done or not answered, "answered OK, and not forgotten")
            self.assert_verified(self.s)
        self.assertTrue(done, "it never came through")
        self.s.kill()  # Now a checkpoint may be under way.
        self.assertTrue(self.s.start())
        self.assertEqual(self.rewards(), clean)
        judge = next(c for c in self.s.get_router().sources if c.source == "judge")
        self.assertEqual((judge.forgotten, judge.folded), (100, 0))
        self.assertTrue(self.tell(decisions[15], 1, "judge").duplicate)
        self.assertFalse(self.tell(decisions[15], 0.25, "human").duplicate)
        self.assert_verified(self.s)
        self.assertEqual(self.s.admin.ForgetSource(request, timeout=TIMEOUT_S).taken_out, 0)

    def test_at_the_instant_of_expiry_either_the_reward_or_the_default_wins(self):
        self.s.create_router(reward_wait_s=1, default_rewards={"reward": 0})
        for _ in range(20):  # At once: in time, however slow the machine is.
            self.assertFalse(self.s.report(self.s.route(), reward=1).duplicate)
        decisions, taken = [self.s.route() for _ in range(280)], 20
        start = time.monotonic()
        for i, d in enumerate(decisions):  # Some in time, some as it ends, some after.
            until = start + 0.4 + 4 * i / len(decisions)
            time.sleep(max(0, until - time.monotonic()))
            try:
                self.assertFalse(self.s.report(d, reward=1).duplicate)
                taken += 1
            except grpc.RpcError as e:
                self.assertEqual(e.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.until_in_log(decisions)  # Nothing can be lost from here.
        self.s.kill()
        self.assertTrue(self.s.start())
        router = self.until_defaulted(300 - taken)
        time.sleep(1.5)
        router = self.s.get_router()
        self.assertEqual(router.defaulted, 300 - taken)
        self.assertEqual(self.rewards(), (300, taken))
        self.assert_verified(self.s)

    def test_a_deferred_decision_counts_once_across_a_crash(self):
        self.s.create_router(reward_wait_s=4 * WAIT_S, default_rewards={"reward": 0.5})
        pb = harness.pb.router
        never, served, reported = [self.s.route(defer_activation=True) for _ in range(3)]

        def activate(d):
            return self.s.router.ActivateDecision(pb.ActivateDecisionRequest(
                decision_token=d.decision_token), timeout=TIMEOUT_S).already

        self.assertFalse(activate(served))
        self.assertFalse(self.s.report(reported, reward=1).duplicate)
        self.until_counted()
        self.s.kill()
        self.assertTrue(self.s.start())
        self.assertTrue(activate(served))
        self.assertTrue(activate(reported))
        router = self.s.get_router()
        self.assertEqual((router.deferred, router.activated), (3, 2))
        self.assertEqual(sum(a.issued for a in router.arms), 2)
        self.until_defaulted(1)
        time.sleep(1.5)
        self.assertEqual(self.s.get_router().defaulted, 1)
        self.assertEqual(self.rewards(), (2, 1.5))
        self.assert_refused(grpc.StatusCode.FAILED_PRECONDITION, lambda: activate(never))
        self.assert_verified(self.s)

    def test_a_stop_ends_well_when_callers_hang_up_with_reports_on_their_way(self):
        """stop() closes the channels: the core forgets the calls while the writer has them."""
        self.s.create_router()
        acknowledged = []

        def live(server):
            while not server.stopping:
                try:
                    decision = server.route()
                    server.report(decision, reward=.5)
                    acknowledged.append(decision)
                except (grpc.RpcError, ValueError):  # ValueError: the channel was closed.
                    time.sleep(0.005)

        for _ in range(10):
            self.s.stopping = False
            callers = [threading.Thread(target=live, args=(self.s,)) for _ in range(16)]
            for caller in callers:
                caller.start()
            time.sleep(0.3)
            status = self.s.stop()
            self.s.stopping = True
            for caller in callers:
                caller.join()
            self.assertEqual(status, 0, self.s.log()[-2000:])
            self.assertTrue(self.s.events("stopped"))
            self.assertTrue(self.s.start(), "no start after a stop")
        for decision in random.sample(acknowledged, min(100, len(acknowledged))):
            self.assertTrue(self.s.report(decision, reward=.5).duplicate)
        self.assert_verified(self.s)


if __name__ == "__main__":
    main()
