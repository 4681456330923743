"""Splits, apprentices and explanations as an operator meets them: shuntctl, a real shuntd, kill -9."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

SHUNTCTL, SHUNTD = sys.argv[1], sys.argv[2]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
from shuntd import Shuntd  # noqa: E402

APPLY = """
routers:
  - name: declared
    settings: {mode: MODE_APPRENTICE, baseline_arm: small, split_policy: thompson, split_share: 0.25}
    arms: [{name: small}, {name: large}]
"""


class Trial(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="shunt-trial-")
        cls.dir = cls.folder.name
        cls.server = Shuntd(SHUNTD, os.path.join(cls.dir, "data"))
        cls.listen = "unix:" + os.path.join(cls.dir, "r.sock")
        cls.server.start(cls.listen)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()

    def run_ctl(self, *args, code=0):
        env = {k: v for k, v in os.environ.items() if not k.startswith("SHUNT_")}
        env.update(SHUNT_SERVER=self.server.router, SHUNT_ADMIN=self.server.admin)
        p = subprocess.run([SHUNTCTL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           stdin=subprocess.DEVNULL, text=True, env=env, timeout=60)
        self.assertEqual(p.returncode, code, (args, p.stdout, p.stderr))
        return p.stdout if code == 0 else p.stderr

    def json_of(self, *args):
        return json.loads(self.run_ctl(*args, "--json"))

    def decide(self, router, *more):
        return self.json_of("route", "--router", router, "--text", "x", *more)

    def report(self, decision, **metrics):
        args = [a for k, v in metrics.items() for a in ("--metric", "%s=%s" % (k, v))]
        self.run_ctl("report", decision["decision_id"], "--token", decision["decision_token"], *args)

    def kill_and_start(self):
        self.server.kill()
        self.server.start(self.listen)
        self.assertTrue(self.json_of("verify")["ok"])

    def test_a_split_is_compared_and_survives_kill_9(self):
        self.run_ctl("router", "add", "s", "--arm", "a", "--arm", "b", "--set", "explore_floor=0")
        self.assertIn("no split was counted yet", self.run_ctl("split", "s"))
        self.run_ctl("router", "update", "s", "--set", "split_policy=fixed", "--set",
                     "split_fixed_arm=b", "--set", "split_share=.5", "--weights", "cost_usd=.5")
        for _ in range(90):
            d = self.decide("s")
            self.report(d, reward=.9 if d["arm_id"] == "a" else .3, cost_usd=.2)
        before = self.json_of("split", "s")
        a, b = before["a"], before["b"]
        self.assertEqual((a["policy"], b["policy"]), ("linucb", "fixed"))
        self.assertEqual(int(a["requests"]) + int(b["requests"]), 90)
        self.assertEqual(int(a["answered"]) + int(b["answered"]), 90)
        self.assertGreater(a["metrics"]["reward"]["mean"], b["metrics"]["reward"]["mean"])
        self.assertAlmostEqual(a["utility"]["mean"], a["metrics"]["reward"]["mean"] - .1, 5)
        self.assertLess(before["utility_difference"]["high"], 0)
        self.assertEqual(before["better"], "SIDE_A")
        self.assertIn("A (linucb) is better than B (fixed)", self.run_ctl("split", "s"))
        self.kill_and_start()
        self.assertEqual(self.json_of("split", "s"), before)
        # Other weights, other utility, from the same counts.
        self.run_ctl("router", "update", "s", "--weights", "cost_usd=1")
        self.assertAlmostEqual(self.json_of("split", "s")["a"]["utility"]["mean"],
                               a["utility"]["mean"] - .1, 5)
        self.run_ctl("router", "update", "s", "--set", "split_policy=")
        ended = self.json_of("split", "s")
        self.assertEqual((ended["running"], ended["a"]["answered"]), (False, a["answered"]))
        self.run_ctl("router", "update", "s", "--set", "split_policy=greedy")
        again = self.json_of("split", "s")
        self.assertEqual(int(again["a"]["answered"]) + int(again["b"]["requests"]), 0)
        self.assertGreater(int(again["since_us"]), int(before["since_us"]))
        self.assertIn("split_policy: there is no `nope`", self.run_ctl(
            "router", "update", "s", "--set", "split_policy=nope", code=1))

    def test_an_apprentice_is_watched_and_promoted(self):
        self.run_ctl("router", "add", "ap", "--arm", "a", "--arm", "b", "--set",
                     "mode=MODE_APPRENTICE")
        self.assertIn("BASELINE_REQUIRED", self.run_ctl("route", "--router", "ap", code=1))
        self.assertIn("ARM_NOT_FOUND", self.run_ctl("route", "--router", "ap", "--baseline", "z",
                                                    code=1))
        self.run_ctl("router", "update", "ap", "--set", "baseline_arm=b")
        for i in range(104):
            d = self.decide("ap", *(["--baseline", "a"] if i % 8 == 0 else []))
            self.assertEqual((d["arm_id"], d["reason"], d["propensity"]),
                             ("a" if i % 8 == 0 else "b", "REASON_BASELINE", 1))
            self.report(d, reward=.2 if d["arm_id"] == "a" else .9)
        why = self.run_ctl("explain", d["decision_id"])
        for words in ("mode        apprentice", "baseline    b", "policy's    b", "terms of the mean"):
            self.assertIn(words, why)
        before = self.json_of("agreement", "ap")
        self.assertEqual(int(before["decided"]), 104)
        self.assertEqual({x["arm_id"]: int(x["served"]) for x in before["arms"]},
                         {"a": 13, "b": 91})
        self.assertTrue(before["promote"], before)
        self.assertIn("Advisable", self.run_ctl("agreement", "ap"))
        self.kill_and_start()
        self.assertEqual(self.json_of("agreement", "ap"), before)
        self.assertIn("online", self.run_ctl("router", "promote", "ap"))
        self.assertNotEqual(self.decide("ap", "--baseline", "a")["reason"], "REASON_BASELINE")
        after = self.json_of("agreement", "ap")
        self.assertEqual((after["running"], after["agreed"]), (False, before["agreed"]))

    def test_logging_only_keeps_and_learns_nothing(self):
        self.run_ctl("router", "add", "log", "--arm", "a", "--set", "mode=MODE_LOGGING_ONLY",
                     "--set", "baseline_arm=a")
        for _ in range(3):
            d = self.decide("log")
            self.report(d, reward=1)
        self.assertEqual(self.json_of("explain", d["decision_id"])["mode"], "MODE_LOGGING_ONLY")
        self.kill_and_start()
        info = self.json_of("router", "show", "log")
        self.assertEqual((int(info["logged"]), int(info["outcomes_folded"])), (3, 0))

    def test_terms_of_an_explanation_sum_to_the_mean(self):
        self.run_ctl("router", "add", "t", "--arm", "a", "--arm", "b")
        d = self.decide("t", "--weights", "reward=1,cost_usd=2", "--explain", "--max-ranked", "2")
        for arm in d["ranking"]:
            terms = arm["terms"]
            self.assertEqual(set(terms["contributions"]), {"reward", "cost_usd"})
            total = sum(terms["contributions"].values()) + terms["silence"] + terms["charge"]
            self.assertAlmostEqual(total, terms["mean"], 5)
        for arm in self.json_of("explain", d["decision_id"])["arms"]:
            total = sum(arm["terms"]["contributions"].values()) + arm["terms"]["silence"]
            self.assertAlmostEqual(total, arm["mean"], 5)

    def test_route_explains_its_terms_to_people_too(self):
        self.run_ctl("router", "add", "tt", "--arm", "a", "--arm", "b")
        text = self.run_ctl("route", "--router", "tt", "--explain", "--max-ranked", "2")
        self.assertIn("terms of the mean", text)
        self.assertIn("reward", text)
        self.assertNotIn("-0.0000", text)

    def test_an_explanation_names_the_policy_and_that_it_fell_back(self):
        add = ["router", "add", "f", "--arm", "a", "--set", "policy=fixed", "--set",
               "newcomer_pulls=0", "--arm", "b"]
        self.assertIn("it has a, b", self.run_ctl(*add, "--set", "fixed_arm=nobody", code=1))
        self.run_ctl(*add, "--arm", "nobody", "--set", "fixed_arm=nobody")
        self.run_ctl("arm", "remove", "--router", "f", "nobody")
        text = self.run_ctl("explain", self.decide("f")["decision_id"])
        self.assertIn("policy      fixed  (the arm it names was not eligible", text)

    def test_an_arm_prints_json_that_says_so(self):
        self.run_ctl("router", "add", "j")
        arm = self.json_of("arm", "add", "--router", "j", "a", "--json-mode", "false")
        self.assertFalse(arm["spec"]["json"])
        self.assertEqual(self.json_of("arm", "update", "--router", "j", "a")["spec"]["name"], "a")

    def test_a_misspelt_setting_is_answered_with_the_settings(self):
        self.run_ctl("router", "add", "m")
        for command in (["router", "update", "m"], ["router", "add", "n"],
                        ["evaluate", "--router", "m"], ["what-if", "--router", "m"]):
            said = self.run_ctl(*command, "--set", "gama=.99", code=2)
            self.assertIn("no setting `gama`", said)
            self.assertIn("gamma", said.split("there are")[1])
        self.run_ctl("router", "add", "n", "--set", "features_n=3")  # Fields of the spec still go.

    def test_an_apprentices_export_names_reason_baseline_and_what_the_policy_wanted(self):
        self.run_ctl("router", "add", "x", "--arm", "a", "--arm", "b", "--set",
                     "mode=MODE_APPRENTICE", "--set", "baseline_arm=b")
        d = self.decide("x")
        rows = self.run_ctl("decisions", "export", "--router", "x").splitlines()
        row, why = json.loads(rows[-1]), self.json_of("explain", d["decision_id"])
        self.assertEqual((row["reason"], row["mode"], row["baseline_arm_id"]),
                         ("REASON_BASELINE", "MODE_APPRENTICE", "b"))
        for key in ("reason", "mode", "side", "baseline_arm_id", "policy_arm_id"):
            self.assertEqual(row[key], why[key], key)

    def test_modes_and_splits_are_declared_in_a_file(self):
        path = os.path.join(self.dir, "routers.yaml")
        with open(path, "w") as out:
            out.write(APPLY)
        self.run_ctl("apply", "-f", path, "--yes")
        s = self.json_of("router", "show", "declared")["spec"]["settings"]
        self.assertEqual((s["mode"], s["baseline_arm"], s["split_policy"], s["split_share"]),
                         ("MODE_APPRENTICE", "small", "thompson", .25))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:])
