"""Questions to what was logged and learned, by shuntctl: evaluate, what-if, lambda, decisions export, jobs."""
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SHUNTCTL, SHUNTD = sys.argv[1], sys.argv[2]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
from shuntd import Shuntd  # noqa: E402

GOOD = {"math": {"large": 0.9, "small": 0.3}, "chat": {"large": 0.6, "small": 0.7}}
COST = {"large": 0.01, "small": 0.001}


def full_rows(n, seed=7):
    """Every arm's outcome: `large` is worth its cost on math alone."""
    rng = random.Random(seed)
    for i in range(n):
        task = rng.choice(["math", "chat"])
        yield {"id": str(i), "task": task, "text": "request number %d" % i,
               "outcomes": {a: {"quality": float(rng.random() < p), "cost_usd": COST[a]}
                            for a, p in GOOD[task].items()}}


def bandit_rows(n, seed=11):
    """Logged by a uniform policy."""
    rng = random.Random(seed)
    for row in full_rows(n, seed):
        arm = rng.choice(["large", "small"])
        yield {"id": row["id"], "task": row["task"], "text": row["text"], "arm": arm,
               "propensity": 0.5, "outcome": row["outcomes"][arm]}


class Lab(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="shunt-lab-")
        cls.dir = cls.folder.name
        cls.server = Shuntd(SHUNTD, os.path.join(cls.dir, "data"))
        cls.server.start("unix:" + os.path.join(cls.dir, "r.sock"))
        cls.full, cls.bandit = cls.path("full.jsonl"), cls.path("bandit.jsonl.gz")
        with open(cls.full, "w") as out:
            out.writelines(json.dumps(r) + "\n" for r in full_rows(300))
        with gzip.open(cls.bandit, "wt") as out:
            out.writelines(json.dumps(r) + "\n" for r in bandit_rows(1500))
        cls.ctl("router", "add", "r", "--arm", "small", "--arm", "large",
                "--set", "explore_floor=0.5", "--set", "metrics.quality.weight=1",
                "--set", "metrics.cost_usd.better=lower", "--set", "metrics.cost_usd.group=served",
                "--set", "metrics.cost_usd.norm_high=0.01")
        cls.ctl("replay", cls.full, "--router", "r", "--server", cls.server.router)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.dir, name)

    @classmethod
    def env(cls, server=True):
        return cls.server.client_env(cls.dir, server)

    @classmethod
    def ctl(cls, *args, code=0, server=True):
        p = subprocess.run([SHUNTCTL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, env=cls.env(server), timeout=120)
        if p.returncode != code:
            raise AssertionError((args, p.returncode, p.stdout, p.stderr))
        return p.stdout if code == 0 else p.stderr

    def json_of(self, *args, **more):
        return json.loads(self.ctl(*args, "--json", **more))

    def test_a_log_is_evaluated_and_its_export_says_the_same(self):
        asked = ["--policy", "thompson", "--weights", "quality=1,cost_usd=0.2"]
        log = self.json_of("evaluate", "--router", "r", *asked)
        self.assertEqual((log["state"], log["log"]["decisions"], log["log"]["outcomes"]),
                         ("JOB_STATE_DONE", 300, 300))
        self.assertEqual(log["evaluation"]["policy"], "thompson")
        names = [e["name"] for e in log["evaluation"]["estimates"]]
        self.assertEqual(names, ["utility", "quality", "cost_usd"])
        file = self.path("decisions.jsonl")
        said = self.json_of("decisions", "export", "--router", "r", "--out", file)
        self.assertEqual(said["rows"], 300)
        self.assertEqual(os.stat(file).st_mode & 0o777, 0o600)
        with open(file) as lines:
            header, *rows = [json.loads(line) for line in lines]
        self.assertEqual(header["router_spec"]["name"], "r")
        arms = [rows.pop(0)["arm_spec"] for _ in range(2)]
        self.assertEqual([a["name"] for a in arms], ["small", "large"])
        self.assertEqual(len(rows), 300)
        self.assertEqual(set(rows[0]), {
            "decision_id", "router", "arm_id", "arm_version", "reason", "policy", "fallback",
            "propensity", "evaluable", "beyond_sample", "budget", "issued_at_us", "seed", "position", "feature_spec_hash",
            "mode", "side", "baseline_arm_id", "policy_arm_id", "context", "weights", "arms",
            "outcome"})
        self.assertAlmostEqual(sum(a["propensity"] for a in rows[0]["arms"]), 1, 5)
        # On the same server, and on a private one that never saw the router.
        for server, more in ((True, ["--router", "r"]), (False, [])):
            again = self.json_of("evaluate", "--data", file, *more, *asked, server=server)
            self.assertEqual(again["evaluation"], log["evaluation"])
        self.assertEqual(os.listdir(self.path("data/lab")), [])  # Fetched and forgotten.

    def test_an_export_of_the_router_that_every_server_begins_with_is_evaluated_as_its_log(self):
        self.ctl("arm", "add", "small")
        self.ctl("arm", "add", "large")
        for i in range(20):
            asked = self.json_of("route", "--text", "request number %d" % i)
            self.ctl("report", asked["decision_id"], "--metric", "reward=%g" % (i % 2))
        log = self.json_of("evaluate")["evaluation"]
        self.assertEqual(log["rows"], 20)
        file = self.path("default.jsonl")
        self.ctl("decisions", "export", "--out", file)
        again = self.json_of("evaluate", "--data", file, server=False)["evaluation"]
        self.assertEqual(again, log)

    def test_an_exported_hybrid_is_evaluated_as_its_log_by_whoever_has_the_file(self):
        self.ctl("router", "add", "h", "--set", "hybrid=true", "--set", "explore_floor=0.3",
                 "--set", "metrics.quality.weight=1", "--set", "metrics.cost_usd.better=lower",
                 "--set", "metrics.cost_usd.group=served", "--set", "budget_metric=cost_usd",
                 "--set", "budget_per_request=0.004")
        # The larger, the better: what descriptors are for.
        sizes, rng = (1, 3, 9, 27, 81, 243), random.Random(5)
        for size in sizes:
            self.ctl("arm", "add", "--router", "h", "m%d" % size, "--size", str(size),
                     "--priors", "cost_usd=%g" % (size * 1e-4))
        with open(self.path("sized.jsonl"), "w") as out:
            for _ in range(300):
                out.write(json.dumps({"text": "x", "outcomes": {"m%d" % s: {
                    "quality": float(rng.random() < 0.1 + 0.15 * i), "cost_usd": s * 1e-4}
                    for i, s in enumerate(sizes)}}) + "\n")
        self.ctl("replay", self.path("sized.jsonl"), "--router", "h", "--server", self.server.router)
        log = self.json_of("evaluate", "--router", "h")["evaluation"]
        self.assertGreater(log["priced"], 0)
        self.assertIn("PRICED", log["warning_codes"])
        self.assertEqual(len(log["warnings"]), len(log["warning_codes"]))
        file = self.path("hybrid.jsonl")
        self.ctl("decisions", "export", "--router", "h", "--out", file)
        again = self.json_of("evaluate", "--data", file, server=False)["evaluation"]
        for a, b in zip(log["estimates"], again["estimates"]):
            for key in ("dr", "ips", "snips", "logged"):
                self.assertAlmostEqual(a[key]["value"], b[key]["value"], 9, (a["name"], key))
        # What the arms declare is part of it.
        with open(file) as lines:
            bare = [line for line in lines if "arm_spec" not in line]
        with open(self.path("bare.jsonl"), "w") as out:
            out.writelines(bare)
        other = self.json_of("evaluate", "--data", self.path("bare.jsonl"), server=False)["evaluation"]
        self.assertNotAlmostEqual(other["estimates"][0]["dr"]["value"],
                                  log["estimates"][0]["dr"]["value"], 9)

    def test_weights_mean_the_same_to_a_request_an_evaluation_and_a_what_if(self):
        asked = ["--router", "r", "--weights", "cost_usd=1"]
        log = self.json_of("evaluate", *asked, "--policy", "greedy", "--set", "explore_floor=0",
                           "--set", "newcomer_pulls=0")["evaluation"]
        other = self.json_of("what-if", *asked, "--policy", "greedy", "--set", "explore_floor=0",
                             "--set", "newcomer_pulls=0")["what_if"]
        # Quality is not named, so it counts nothing: the cheap arm it is.
        self.assertGreater({a["arm_id"]: a["target"] for a in log["arms"]}["small"], 0.9)
        self.assertGreater({a["arm_id"]: a["other_share"] for a in other["arms"]}["small"], 0.9)
        for kind in (["evaluate"], ["what-if"], ["route", "--text", "x"]):
            self.assertIn("above 0", self.ctl(*kind, "--router", "r", "--weights", "quality=0",
                                              code=1))

    def test_a_log_that_is_off_says_so_and_a_router_that_learned_nothing_too(self):
        self.ctl("router", "add", "off", "--arm", "a", "--set", "decision_log=DECISION_LOG_OFF")
        self.ctl("route", "--router", "off", "--text", "x")
        for command in (["evaluate"], ["decisions", "export", "--out", self.path("none.jsonl")]):
            self.assertIn("decision_log=DECISION_LOG_ALL", self.ctl(*command, "--router", "off"))
        self.assertIn("decision_log=DECISION_LOG_ALL", self.ctl("lambda", "--router", "off", code=1))
        self.ctl("router", "add", "blank", "--arm", "a", "--arm", "b")
        self.assertIn("decided nothing yet", self.ctl("evaluate", "--router", "blank"))
        self.ctl("route", "--router", "blank", "--text", "x")
        sweep = self.json_of("lambda", "--router", "blank")["sweep"]
        self.assertEqual(sweep["warning_codes"], ["NOT_LEARNED"])
        self.assertIn("warning NOT_LEARNED", self.ctl("lambda", "--router", "blank"))

    def test_an_exported_line_agrees_with_explain(self):
        first = self.ctl("decisions", "export", "--router", "r").splitlines()[3]
        row = json.loads(first)
        why = self.json_of("explain", row["decision_id"])
        for key in ("router", "arm_id", "reason", "policy", "issued_at_us", "position", "seed",
                    "feature_spec_hash", "evaluable", "fallback"):
            self.assertEqual(str(row[key]), str(why[key]), key)
        self.assertEqual([round(x, 6) for x in row["context"]],
                         [round(x, 6) for x in why["context"]])
        self.assertEqual(row["weights"], why["weights"])

    def test_logged_bandit_data_is_evaluated_without_a_server(self):
        text = self.ctl("evaluate", "--data", self.bandit, "--weights", "quality=1", server=False)
        self.assertIn("verdict: better", text)
        answer = self.json_of("evaluate", "--data", self.bandit, "--weights", "quality=1",
                              server=False)["evaluation"]
        utility = answer["estimates"][0]
        # Uniform earns .625; best per task .8. The interval must hold what is possible.
        self.assertAlmostEqual(utility["logged"]["value"], 0.625, delta=0.04)
        self.assertGreater(utility["dr"]["value"], utility["logged"]["value"])
        self.assertLess(utility["dr"]["low"], 0.8)
        self.assertGreater(utility["dr"]["high"], utility["dr"]["value"])
        self.assertGreater(utility["replay_rows"], 300)
        fixed = self.json_of("evaluate", "--data", self.bandit, "--weights", "quality=1",
                             "--policy", "fixed", "--set", "fixed_arm=large", "--set",
                             "explore_floor=0", "--set", "newcomer_pulls=0", server=False)
        shares = {a["arm_id"]: a["target"] for a in fixed["evaluation"]["arms"]}
        self.assertEqual(shares, {"large": 1.0, "small": 0.0})

    def test_a_file_is_read_by_a_private_server_though_the_shell_names_one(self):
        self.ctl("evaluate", "--data", self.bandit, "--weights", "quality=1")
        kinds = [j["kind"] for j in self.json_of("jobs")["jobs"]]
        before = len(kinds)
        self.ctl("evaluate", "--data", self.bandit, "--weights", "quality=1")
        self.assertEqual(len(self.json_of("jobs")["jobs"]), before)

    def test_a_policy_on_trial_is_tried_without_the_routers_split(self):
        asked = ["--policy", "fixed", "--set", "fixed_arm=large", "--set", "explore_floor=0",
                 "--set", "newcomer_pulls=0"]
        self.ctl("router", "update", "r", "--set", "split_policy=random")
        try:
            alone = self.json_of("evaluate", "--router", "r", *asked)["evaluation"]
            beside = self.json_of("evaluate", "--router", "r", *asked, "--set",
                                  "split_policy=random")["evaluation"]
            other = self.json_of("what-if", "--router", "r", *asked)["what_if"]
        finally:
            self.ctl("router", "update", "r", "--set", "split_policy=")
        self.assertEqual({a["arm_id"]: a["target"] for a in alone["arms"]},
                         {"large": 1.0, "small": 0.0})
        self.assertAlmostEqual({a["arm_id"]: a["target"] for a in beside["arms"]}["small"], 0.25, 3)
        self.assertEqual({a["arm_id"]: a["other_share"] for a in other["arms"]},
                         {"large": 1.0, "small": 0.0})

    def test_a_fixed_arm_that_is_not_there_is_no_trial_of_another_policy(self):
        asked = ["--policy", "fixed", "--set", "fixed_arm=lrage"]
        for command in (["evaluate", "--router", "r"], ["what-if", "--router", "r"],
                        ["evaluate", "--data", self.bandit, "--weights", "quality=1"]):
            said = self.ctl(*command, *asked, code=1)
            self.assertIn("ARM_NOT_FOUND", said)
            self.assertIn("lrage", said)

    def test_what_a_trial_would_not_look_at_is_refused(self):
        for kind in ("evaluate", "what-if"):
            for asked in ("budget_per_request=1", "mode=MODE_APPRENTICE", "baseline_arm=small"):
                self.assertIn("INVALID_VALUE", self.ctl(kind, "--router", "r", "--set", asked, code=1))

    def test_frozen_statistics_of_nobody_are_refused(self):
        said = self.ctl("evaluate", "--data", self.bandit, "--frozen", code=2)
        self.assertIn("--router", said)

    def test_a_removed_arm_leaves_a_sweep_and_a_frozen_target_the_others(self):
        self.ctl("router", "add", "gone", "--arm", "a", "--arm", "b")
        self.ctl("route", "--router", "gone", "--text", "x")
        self.ctl("arm", "add", "--router", "gone", "c")
        self.ctl("arm", "remove", "--router", "gone", "b")
        sweep = self.json_of("lambda", "--router", "gone")
        self.assertEqual(sweep["log"]["arms_fewer"], 1)
        self.assertEqual(sweep["sweep"]["contexts"], 1)
        self.assertIn("ARMS_GONE", sweep["sweep"]["warning_codes"])
        self.assertIn("some were removed since", self.ctl("lambda", "--router", "gone"))
        self.assertIn("some were removed since", self.ctl("evaluate", "--frozen", "--router", "gone"))
        self.ctl("arm", "remove", "--router", "gone", "a")
        said = self.ctl("lambda", "--router", "gone", code=1)
        self.assertIn("1 decisions", said)
        self.assertIn("removed since", said)

    def test_a_window_without_rows_shows_no_figures(self):
        text = self.ctl("evaluate", "--router", "r", "--until", "300d", "--since", "301d")
        self.assertIn("no row could be used", text)
        self.assertNotIn("estimate", text.split("verdict")[0])

    def test_what_if_with_the_same_settings_changes_nothing(self):
        answer = self.json_of("what-if", "--router", "r")["what_if"]
        self.assertEqual((answer["outcomes"], answer["prediction_gap"]), (300, 0))
        text = self.ctl("what-if", "--router", "r", "--weights", "cost_usd=5")
        self.assertIn("events folded again", text)
        other = self.json_of("what-if", "--router", "r", "--weights", "cost_usd=5")["what_if"]
        shares = {a["arm_id"]: (a["logged_share"], a["other_share"]) for a in other["arms"]}
        self.assertGreater(shares["small"][1], shares["small"][0])  # Cost now counts.

    def test_lambda_goes_from_quality_to_cost(self):
        predicted = self.json_of("lambda", "--router", "r", "--steps", "3")["sweep"]
        self.assertEqual((predicted["served"], predicted["rated"], predicted["contexts"]),
                         ("cost_usd", "quality", 300))
        self.assertGreater(predicted["steps"][0]["served"], predicted["steps"][2]["served"])
        self.assertEqual(predicted["steps"][2]["shares"]["small"], 1)
        true = self.json_of("lambda", "--data", self.full, "--steps", "3", server=False)
        self.assertEqual([s["lambda"] for s in true["steps"]], [0, 0.5, 1])
        self.assertAlmostEqual(true["steps"][2]["cost_usd"], COST["small"])
        self.assertGreater(true["steps"][0]["quality"], true["steps"][2]["quality"])
        # Learned at half and half, where `large` is never worth its price: it was tried all the same.
        self.assertTrue(0.2 < true["steps"][0]["shares"]["large"] < 0.8, true["steps"][0])
        for step in true["steps"]:
            self.assertAlmostEqual(sum(step["shares"].values()), 1)
        self.assertIn("--data", self.ctl("lambda", "--data", self.full, "--router", "r", code=2))
        self.assertIn("METRIC_NOT_FOUND", self.ctl("lambda", "--router", "r", "--metric", "quality",
                                                   code=1))

    def test_a_window_is_a_time_or_an_age(self):
        self.assertEqual(self.json_of("decisions", "export", "--router", "r", "--since", "1h",
                                      "--out", self.path("w.jsonl"))["rows"], 300)
        self.assertEqual(self.json_of("decisions", "export", "--router", "r", "--until", "1h",
                                      "--out", self.path("w.jsonl"))["rows"], 0)
        self.assertIn("is no time", self.ctl("evaluate", "--router", "r", "--since", "soon", code=2))
        self.assertIn("OUT_OF_RANGE", self.ctl("evaluate", "--router", "r", "--since", "1h",
                                               "--until", "2h", code=1))

    def test_jobs_are_listed_shown_and_cancelled(self):
        self.ctl("evaluate", "--router", "r")
        jobs = self.json_of("jobs")["jobs"]
        last = max(jobs, key=lambda j: j["id"])
        shown = self.json_of("jobs", "show", str(last["id"]))
        self.assertEqual(shown["id"], last["id"])
        self.assertIn("done", self.ctl("jobs"))
        self.ctl("jobs", "cancel", str(last["id"]), "--forget")
        self.assertIn("JOB_NOT_FOUND", self.ctl("job", "show", str(last["id"]), code=1))
        self.assertIn("JOB_NOT_FOUND", self.ctl("jobs", "cancel", "999999", code=1))

    def test_an_interrupt_cancels_the_job_and_says_so(self):
        big = self.path("big.jsonl")
        with open(big, "w") as out:
            for row in bandit_rows(30000, 13):
                out.write(json.dumps(row) + "\n")
        p = subprocess.Popen([SHUNTCTL, "evaluate", "--data", big, "--router", "r"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=self.env())
        while not any(j["kind"] == "evaluate" and j["state"] == "JOB_STATE_RUNNING"
                      for j in self.json_of("jobs")["jobs"]):
            self.assertIsNone(p.poll(), "it ended before it could be interrupted")
        time.sleep(0.2)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, out), (1, ""))
        self.assertIn("is cancelled", err)
        states = {j["state"] for j in self.json_of("jobs")["jobs"]}
        for _ in range(200):
            if "JOB_STATE_RUNNING" not in states:
                break
            time.sleep(0.05)
            states = {j["state"] for j in self.json_of("jobs")["jobs"]}
        self.assertNotIn("JOB_STATE_RUNNING", states)

    def test_what_is_wrong_with_a_file_is_said_with_its_line(self):
        bad = self.path("bad.jsonl")
        with open(bad, "w") as out:
            out.write('{"arm":"a","propensity":0.5,"outcome":{"reward":1}}\n{"arm":"a"}\n')
        said = self.ctl("evaluate", "--data", bad, code=1, server=False)
        self.assertIn("OUT_OF_RANGE: bad.jsonl:2: `propensity`", said)
        self.assertIn("No such file", self.ctl("evaluate", "--data", self.path("none"), code=2))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
