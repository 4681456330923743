#!/usr/bin/python3
"""No session spends more than its strict budget, whoever races for it and whenever the server dies.

    test_sessions.py SHUNTD SHUNTCTL PROTO_DIR

The client is the one who pays: it adds up, in whole nano-dollars, what each answered decision truly
cost, whether it reported that or not, and never looks at the server's own figures to judge."""
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import harness
from harness import Case, ROUTER, SEED, TIMEOUT_S, grpc, main

SESSIONS = 10000
CLIENTS = 100
HOT = 20           # Sessions that all clients ask at once, between the others.
KILLS = 4
NANO = 10 ** 9
BUDGET = 5000000   # Half a cent.
ARMS = {           # Nano-dollars a token, in and out; the cap, in nano-dollars.
    "small": (100, 400, None),
    "middle": (500, 1500, None),
    "large": (3000, 15000, 3300000),
    "capped": (None, None, 1700000),
}
IN, OUT = 400, 900


def bound(arm):
    """The most that a request can cost there, in nano-dollars."""
    price_in, price_out, cap = ARMS[arm]
    priced = None if price_in is None else price_in * IN + price_out * OUT
    return min(x for x in (priced, cap) if x is not None)


class Spender:
    """A session as its owner sees it."""

    def __init__(self, number):
        self.name = f"run-{number}"
        self.lock = threading.Lock()
        self.spent = self.decisions = self.refused = 0


class Sessions(Case):
    def setUp(self):
        super().setUp()
        self.s = self.server()
        self.assertTrue(self.s.start(), "no start")
        pb = harness.pb
        arms = []
        for name, (price_in, price_out, cap) in ARMS.items():
            arm = pb.admin.ArmSpec(name=name)
            if price_in is not None:
                arm.price_in_usd, arm.price_out_usd = price_in / 1000, price_out / 1000
            if cap is not None:
                arm.caps["cost_usd"] = cap / NANO
            arms.append(arm)
        arms.append(pb.admin.ArmSpec(name="unbounded"))
        self.s.admin.CreateRouter(pb.admin.CreateRouterRequest(
            spec=pb.admin.RouterSpec(name=ROUTER, arms=arms)), timeout=TIMEOUT_S)
        self.up = threading.Event()
        self.up.set()
        self.calls = 0
        self.wrong = []

    def ask(self, spender, **more):
        """One request as an agent would make it; False when the budget is exhausted."""
        budget = harness.pb.router.SessionBudget(metric="cost_usd", amount=BUDGET / NANO)
        while True:
            self.up.wait()
            try:
                decision = self.s.route(session_id=spender.name, session_budget=budget,
                                        input_tokens=IN, max_output_tokens=OUT, max_ranked=0,
                                        **more)
                break
            except (grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed.
                code = dict(error.trailing_metadata() or ()).get("shunt-code") \
                    if isinstance(error, grpc.RpcError) else None
                if code == "BUDGET_EXHAUSTED":
                    with spender.lock:
                        spender.refused += 1
                    return False
                if code not in (None, "SHUTTING_DOWN", "OVERLOADED", "QUEUE_FULL"):
                    self.wrong.append(f"{spender.name}: {code} {error.details()}")
                    return False
                time.sleep(0.01)
        if decision.arm_id not in ARMS:
            self.wrong.append(f"{decision.arm_id} has no bound")
            return False
        most = bound(decision.arm_id)
        cost = most if random.random() < .5 else random.randrange(most + 1)
        with spender.lock:  # It was called, whatever happens now.
            spender.spent += cost
            spender.decisions += 1
        self.calls += 1
        if random.random() < .75:
            try:
                self.s.report(decision, cost_usd=cost / NANO, reward=.5)
            except (grpc.RpcError, ValueError):
                pass  # In doubt, or never sent: then its bound stays reserved.
        return True

    def live(self, spender):
        for _ in range(random.randrange(1, 5)):
            if not self.ask(spender):
                return

    def watch(self, work):
        """Kills the server, again and again, while the clients work."""
        for k in range(1, KILLS + 1):
            while self.calls < k * SESSIONS // (2 * KILLS) and not all(w.done() for w in work):
                time.sleep(0.005)
            self.up.clear()
            self.s.kill()
            self.assertTrue(self.s.start(), "no start after a kill")
            self.up.set()

    def check(self, spenders):
        self.assertEqual(self.wrong[:5], [])
        over = [(s.name, s.spent) for s in spenders if s.spent > BUDGET]
        self.assertEqual(over, [], f"above the budget of {BUDGET}; seed {SEED}")

    def test_ten_thousand_sessions_and_kills_in_between(self):
        spenders = [Spender(i) for i in range(SESSIONS)]
        hot = spenders[:HOT]
        with ThreadPoolExecutor(CLIENTS) as pool:
            work = []
            each = (SESSIONS - HOT) // HOT
            for i, one in enumerate(hot):
                work += [pool.submit(self.ask, one) for _ in range(CLIENTS)]
                first = HOT + i * each
                last = SESSIONS if i == HOT - 1 else first + each
                work += [pool.submit(self.live, s) for s in spenders[first:last]]
            self.watch(work)
            for w in work:
                w.result()
        self.check(spenders)
        decisions = sum(s.decisions for s in spenders)
        spent = [s.spent for s in hot]
        print(f"{decisions} decisions, {sum(s.refused for s in spenders)} refused, {KILLS} kills; "
              f"the hot sessions spent {min(spent)} to {max(spent)} of {BUDGET}", flush=True)
        # A server that refuses everybody would pass so far.
        self.assertGreater(decisions, SESSIONS)
        self.assertTrue(all(s.refused > CLIENTS / 2 for s in hot))
        self.assertGreater(sum(spent), HOT * BUDGET // 4)

        # The account, where the server is asked, is at least what was truly spent.
        self.s.kill()
        self.assertTrue(self.s.start())
        for s in hot + random.sample(spenders, 200):
            if not s.decisions:
                continue
            info = self.s.router.StartSession(harness.pb.router.StartSessionRequest(
                router=ROUTER, session_id=s.name), timeout=TIMEOUT_S)
            self.assertAlmostEqual(info.budget.amount, BUDGET / NANO, delta=1e-12)
            self.assertGreaterEqual(round(info.used * NANO), s.spent, s.name)
            self.assertLessEqual(round(info.used * NANO), BUDGET)
        self.assert_verified(self.s)

    def test_what_is_reported_is_released_and_can_be_spent_again(self):
        one = Spender("patient")
        budget = harness.pb.router.SessionBudget(metric="cost_usd", amount=BUDGET / NANO)
        for _ in range(200):  # 200 bounds of `small` are 16 budgets.
            decision = self.s.route(session_id=one.name, session_budget=budget, input_tokens=IN,
                                    max_output_tokens=OUT, candidates=["small"])
            self.assertEqual(round(decision.session_reserved * NANO), bound("small"))
            self.s.report(decision, cost_usd=1000 / NANO)
        decision = self.s.route(session_id=one.name, input_tokens=IN, max_output_tokens=OUT,
                                candidates=["small"])
        self.assertEqual(round(decision.session_left * NANO),
                         BUDGET - 200 * 1000 - bound("small"))

    def test_an_own_id_gets_one_answer_and_one_reservation(self):
        budget = harness.pb.router.SessionBudget(metric="cost_usd", amount=BUDGET / NANO)
        fields = dict(session_id="own", session_budget=budget, input_tokens=IN,
                      max_output_tokens=OUT,
                      decision_id="01890000-0000-7000-8000-00000000abcd")
        first = self.s.route(**fields)
        again = self.s.route(**fields)
        self.assertEqual(first, again)
        self.s.kill()
        self.assertTrue(self.s.start())
        # The first answer is forgotten, its reservation is not: no second one under the same id.
        code, _ = self.assert_refused(grpc.StatusCode.ALREADY_EXISTS,
                                      lambda: self.s.route(**fields))
        self.assertEqual(code, "DECISION_ID_REUSED")
        info = self.s.router.StartSession(harness.pb.router.StartSessionRequest(
            router=ROUTER, session_id="own"), timeout=TIMEOUT_S)
        self.assertEqual(round(info.used * NANO), bound(first.arm_id))


if __name__ == "__main__":
    main()
