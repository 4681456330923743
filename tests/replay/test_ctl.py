"""shuntctl against a real shuntd: every command, its exit code, and what it promises to scripts."""
import csv
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SHUNTCTL, SHUNTD = sys.argv[1], sys.argv[2]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
from shuntd import Shuntd  # noqa: E402

ROUTERS = """
routers:
  - name: chat
    task_slots: 4
    tasks: [math, code]
    metrics:
      - {name: quality, better: higher, weight: 1}
      - {name: cost_usd, better: lower, group: served, norm_high: 0.01, weight: 0.25}
    settings: {alpha: 1.5, explore_floor: 0.02}
    arms:
      - {name: small, description: cheap, tags: [local]}
      - {name: large, priors: {cost_usd: 0.01}}
"""


def rows(n):
    """Two labels, two arms, each the better one on its label; nothing random."""
    for i in range(n):
        math = i % 3 != 0
        good, bad = ("large", "small") if math else ("small", "large")
        yield {"id": i, "task": "math" if math else "chat", "text": "request number %d" % i,
               "outcomes": {good: {"quality": 0.9, "cost_usd": 0.002 if good == "large" else 0.001},
                            bad: {"quality": 0.2, "cost_usd": 0.002 if bad == "large" else 0.001}}}


class Ctl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="shunt-ctl-")
        cls.dir = cls.folder.name
        cls.server = Shuntd(SHUNTD, os.path.join(cls.dir, "data"))
        cls.server.start("unix:" + os.path.join(cls.dir, "r.sock"))
        cls.file = os.path.join(cls.dir, "rows.jsonl.gz")
        with gzip.open(cls.file, "wt") as out:
            for row in rows(240):
                out.write(json.dumps(row) + "\n")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()

    def env(self, server=True):
        return self.server.client_env(self.dir, server)

    def run_ctl(self, *args, code=0, server=True, stdin=""):
        env = dict(self.env(server))
        if "--help" in args:  # glibc's argp loses two bytes where a command has no options.
            env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        p = subprocess.run([SHUNTCTL, *args], input=stdin, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, env=env, timeout=120)
        self.assertEqual(p.returncode, code, (args, p.stdout, p.stderr))
        return p.stdout if code == 0 else p.stderr

    def json_of(self, *args, **more):
        return json.loads(self.run_ctl(*args, "--json", **more))

    def path(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as out:
            out.write(text)
        return path

    def routers(self):
        return {r["spec"]["name"] for r in self.json_of("routers", "list")["routers"]}

    def test_arms_come_pause_change_and_go(self):
        self.run_ctl("router", "add", "r1", "--arm", "small", "--arm", "gpt-4.1", "--set", "alpha=2",
                     "--set", "task_slots=4")
        info = self.json_of("router", "show", "r1")
        spec = info["spec"]
        self.assertEqual((spec["settings"]["alpha"], spec["task_slots"]), (2.0, 4))
        self.assertEqual([a["spec"]["name"] for a in info["arms"]], ["small", "gpt-4.1"])
        self.run_ctl("arm", "add", "big", "--router", "r1", "--description", "of the two",
                     "--tags", "x,y", "--priors", "cost_usd=0.5")
        self.run_ctl("arm", "update", "big", "--router", "r1", "--tags", "z")
        arm = self.json_of("arm", "show", "big", "--router", "r1")
        self.assertEqual(arm["spec"]["tags"], ["z"])
        self.assertEqual(arm["spec"]["description"], "of the two")  # Not named: kept.
        self.assertEqual(arm["spec"]["priors"], {"cost_usd": 0.5})
        self.run_ctl("arms", "pause", "big", "--router", "r1")
        listed = self.json_of("arm", "list", "--router", "r1")["arms"]
        self.assertEqual([a["state"] for a in listed], ["ARM_ACTIVE", "ARM_ACTIVE", "ARM_PAUSED"])
        self.assertIn("paused", self.run_ctl("arm", "list", "--router", "r1"))
        self.run_ctl("arm", "resume", "big", "--router", "r1")
        self.run_ctl("arm", "remove", "big", "--router", "r1")
        self.assertIn("ARM_NOT_FOUND", self.run_ctl("arm", "show", "big", "--router", "r1", code=1))
        self.run_ctl("router", "update", "r1", "--set", "alpha=1.2", "--weights", "cost_usd=2")
        spec = self.json_of("router", "show", "r1")["spec"]
        self.assertEqual(spec["settings"]["alpha"], 1.2)
        self.assertEqual({m["name"]: m["weight"] for m in spec["metrics"]}["cost_usd"], 2.0)
        self.run_ctl("router", "remove", "r1")
        self.assertIn("ROUTER_NOT_FOUND", self.run_ctl("router", "show", "r1", code=1))

    def test_labels_stages_and_capabilities_choose_who_may_serve(self):
        self.run_ctl("router", "add", "r7", "--stage", "plan=tier=large", "--stage", "any=",
                     "--set", "explore_floor=0")
        self.run_ctl("arm", "add", "nano", "--router", "r7", "--label", "tier=small",
                     "--label", "example.org/eu", "--context-window", "1000", "--tools", "false",
                     "--modalities", "text")
        self.run_ctl("arm", "add", "max", "--router", "r7", "--label", "tier=large",
                     "--max-output-tokens", "4096", "--priors", "cost_usd=.02")
        spec = self.json_of("arm", "show", "nano", "--router", "r7")["spec"]
        self.assertEqual(spec["labels"], {"tier": "small", "example.org/eu": ""})
        self.assertEqual((spec["context_window"], spec["tools"], spec["modalities"]),
                         (1000, False, ["MODALITY_TEXT"]))
        self.assertNotIn("max_output_tokens", {k for k, v in spec.items() if v})

        def serves(*asked):
            return self.json_of("route", "--router", "r7", "--text", "x", *asked)["arm_id"]
        self.assertEqual(serves("--selector", "tier in (small,medium),example.org/eu"), "nano")
        self.assertEqual(serves("--stage", "plan"), "max")
        self.assertEqual(serves("--input-tokens", "1001"), "max")
        self.assertEqual(serves("--tools-required"), "max")
        self.assertEqual(serves("--modalities", "audio"), "max")
        self.assertEqual(serves("--max-cost-usd", "0.001"), "nano")
        self.assertEqual(serves("--limits", "cost_usd=0.001"), "nano")
        shown = self.run_ctl("route", "--router", "r7", "--text", "x", "--max-cost-usd", "0.001",
                             "--dry-run")
        self.assertRegex(shown, r"max +OVER_LIMIT +cost_usd is declared as 0.02, wanted is at most 0.001")
        refused = self.run_ctl("route", "--router", "r7", "--stage", "plan", "--selector",
                               "tier=small", code=1)
        for part in ("NO_ELIGIBLE_ARM", "nano: NOT_IN_STAGE", "max: NOT_SELECTED"):
            self.assertIn(part, refused)
        self.assertIn("position 6", self.run_ctl("route", "--router", "r7", "--selector", "tier (",
                                                 code=1))
        self.assertIn("STAGE_NOT_FOUND", self.run_ctl("route", "--router", "r7", "--stage", "no",
                                                      code=1))
        self.run_ctl("arm", "update", "nano", "--router", "r7", "--label", "tier=large",
                     "--remove-label", "example.org/eu", "--context-window", "0")
        spec = self.json_of("arm", "show", "nano", "--router", "r7")["spec"]
        self.assertEqual((spec["labels"], spec.get("context_window", 0)), ({"tier": "large"}, 0))
        self.assertIs(spec["tools"], False)  # Not named: kept.
        self.assertIn("no label", self.run_ctl("arm", "update", "nano", "--router", "r7",
                                               "--remove-label", "beta", code=2))
        self.run_ctl("router", "update", "r7", "--stage", "act=!beta", "--remove-stage", "any")
        settings = self.json_of("router", "show", "r7")["spec"]["settings"]
        self.assertEqual(settings["stages"], {"act": "!beta", "plan": "tier=large"})
        self.assertIn("BAD_SELECTOR", self.run_ctl("router", "update", "r7", "--stage", "act=a==b=c",
                                                   code=1))
        wanted = self.path("stages.yaml", "routers:\n  - name: r7\n    settings:\n      stages:\n"
                           "        plan: tier in (large)\n    arms:\n      - name: nano\n"
                           "        labels: {tier: tiny}\n      - name: max\n")
        self.run_ctl("apply", "-f", wanted, "--yes")
        router = self.json_of("router", "show", "r7")
        self.assertEqual(router["spec"]["settings"]["stages"], {"plan": "tier in (large)"})
        self.assertEqual(router["arms"][0]["spec"]["labels"], {"tier": "tiny"})
        self.assertIs(router["arms"][0]["spec"]["tools"], False)  # Not in the file: kept.
        self.assertNotIn("tools", self.run_ctl("arm", "show", "max", "--router", "r7"))
        self.assertIn("nothing to change", self.run_ctl("apply", "-f", wanted))
        twice = self.path("twice.yaml", "routers:\n  - name: r7\n    arms:\n      - name: more\n"
                          "      - name: more\n")
        self.assertIn("arm more of this router is declared twice",
                      self.run_ctl("apply", "-f", twice, "--yes", code=2))
        self.assertEqual(len(self.json_of("router", "show", "r7")["arms"]), 2)
        self.run_ctl("router", "remove", "r7")

    def test_a_decision_is_reported_once_and_explained(self):
        self.run_ctl("router", "add", "r2", "--arm", "a", "--arm", "b")
        d = self.json_of("route", "-", "--router", "r2", "--max-ranked", "2", "--explain",
                         stdin="what is 2+2?")
        self.assertEqual(len(d["ranking"]), 2)
        self.assertIn("width", d["ranking"][0]["terms"])
        one = self.json_of("report", d["decision_id"], "--token", d["decision_token"], "--metric",
                           "reward=0.5", "--metric", "cost_usd=0.001")
        self.assertEqual((one["duplicate"], sorted(one["counted"])), (False, ["cost_usd", "reward"]))
        two = self.json_of("report", d["decision_id"], "--metric", "reward=0.5", "--status", "ok")
        self.assertTrue(two["duplicate"])
        why = self.json_of("explain", d["decision_id"])
        self.assertEqual((why["router"], why["arm_id"]), ("r2", d["arm_id"]))
        stats = self.json_of("stats", "--router", "r2")
        self.assertEqual(list(stats), ["journal_position", "checkpoint_position", "routers"])
        self.assertEqual(list(stats["routers"]["r2"]), ["outcomes_folded", "arms"])
        arms = stats["routers"]["r2"]["arms"]
        self.assertEqual(arms[d["arm_id"]]["issued"], 1)
        self.assertEqual(arms[d["arm_id"]]["metrics"]["reward"], {"n": 1, "mean": 0.5})
        other = "b" if d["arm_id"] == "a" else "a"
        self.assertEqual(arms[other]["metrics"]["reward"], {"n": 0, "mean": None})
        dry = self.json_of("route", "--router", "r2", "--text", "x", "--dry-run")
        for absent in ("decision_id", "decision_token", "adapter", "session_left", "budget"):
            self.assertNotIn(absent, dry)  # What the server left out is no 0 and no "".
        self.assertEqual((dry["excluded"], dry["excluded_n"]), ([], 0))

    def test_a_context_is_shown_by_name_and_a_classifier_trained(self):
        self.run_ctl("router", "add", "seen", "--set", "context=ctx.v1", "--set", "agent=true",
                     "--set", "tasks=food")
        examples = self.path("tasks.tsv", "food\tpeel the apples and bake a cake\n"
                             "iron\tforge the steel until it glows\n")
        trained = self.json_of("classifier", "train", examples)
        self.assertEqual((trained["labels"], trained["examples"]), (["food", "iron"], 2))
        out = self.json_of("features", "--router", "seen", "--turn", "100", "Bake an apple cake")
        values = {n: v for b in out["blocks"] for n, v in zip(b["names"], b["values"])}
        self.assertEqual(len(values), out["d"])
        self.assertGreater(values["task.food"], .5)
        self.assertAlmostEqual(values["agent.turn"], .5 / 8 ** .5, 5)
        table = self.run_ctl("features", "--router", "seen", "-", stdin="Bake an apple cake")
        self.assertIn("scalars.flesch", table)
        self.assertIn("food", table.split("classifier")[1])
        wrong = self.path("wrong.tsv", "food\tone\nno tab\n")
        self.assertIn("line 2", self.run_ctl("classifier", "train", wrong, code=1))
        self.run_ctl("router", "remove", "seen")

    def test_every_end_has_its_exit_code(self):
        self.run_ctl("--help")
        for command in ("route", "apply", "replay"):
            self.assertIn("--json", self.run_ctl(command, "--help"))
        for bad in ([], ["nonsense"], ["router"], ["router", "add"], ["stats", "extra"],
                    ["route", "--features", "1,nan"], ["report", "x", "--status", "perhaps"],
                    ["router", "add", "x", "--set", "alphabet=1"], ["stats", "--no-such-option"]):
            self.run_ctl(*bad, code=2)
        self.assertIn("ROUTER_NOT_FOUND", self.run_ctl("route", "--router", "nobody", code=1))
        self.assertIn("DECISION_NOT_FOUND", self.run_ctl(
            "report", "00000000-0000-7000-8000-000000000000", "--metric", "reward=1", code=1))
        gone = self.run_ctl("stats", "--admin", "unix:" + self.dir + "/nobody", code=3)
        self.assertIn("--admin", gone)
        self.run_ctl("route", "--server", "unix:" + self.dir + "/nobody", code=3)
        with open("/dev/full", "w") as full:
            p = subprocess.run([SHUNTCTL, "config"], stdout=full, stderr=subprocess.PIPE,
                               env=self.env(), timeout=60)
        self.assertEqual(p.returncode, 1)

    @staticmethod
    def sample(name):
        folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(os.path.join(folder, "deploy", "sample", name)) as f:
            return f.read()

    def test_every_sample_of_an_engine_can_be_applied(self):
        for name, engine, url, flags in (
                ("adapters.yaml", "VLLM", "http://127.0.0.1:8000", ["--max-loras 5"]),
                ("adapters-sglang.yaml", "SGLANG", "http://127.0.0.1:30000",
                 ["--max-loras-per-batch 5"]),
                ("adapters-llamacpp.yaml", "LLAMACPP", "http://127.0.0.1:8080",
                 ["--parallel 5", "--cache-ram 0", "--slots", "--lora-init-without-apply"])):
            text = self.sample(name)
            for flag in flags:  # One more than `slots`, and what that engine needs beside.
                self.assertIn(flag, text)
            sample = self.path(name, text.replace(url, "http://127.0.0.1:1"))
            self.assertIn("+ router loras", self.run_ctl("apply", "-f", sample, "--dry-run"))
            self.assertNotIn("loras", self.routers())
            self.run_ctl("apply", "-f", sample, "--yes")
            spec = self.json_of("router", "show", "loras")["spec"]
            self.assertEqual(spec["settings"]["residency"]["slots"], 4)
            plan = self.json_of("adapters", "plan", "--router", "loras")
            self.assertEqual((plan["engine"], plan["adapters"], plan["slots"]),
                             ("RESIDENCY_ENGINE_" + engine, 2, 4))
            self.assertFalse(plan.get("error"))  # It is driven; that nobody answers is the replica's.
            self.run_ctl("adapters", "pin", "sql", "--router", "loras")
            for _ in range(200):  # Without a request.
                state = self.json_of("adapters", "--router", "loras")["adapters"]
                if any(a["arm_id"] == "sql" and a.get("desired") for a in state):
                    break
                time.sleep(.05)
            else:
                self.fail("the pin is not carried out")
            use = self.json_of("route", "--router", "loras", "--text", "x")["adapter"]
            # Only llama.cpp has slots: elsewhere 0 would be one, and a lie.
            self.assertEqual("engine_slot" in use, engine == "LLAMACPP")
            self.assertIn("expected_load_ms", use)
            self.run_ctl("router", "remove", "loras")

    def test_simulations_are_written_one_table_a_file(self):
        table, curves = self.dir + "/table.csv", self.dir + "/curves.csv"
        self.run_ctl("adapters", "simulate", "--seeds", "2", "--horizon", "1280", "--csv", table,
                     "--curves", curves)
        with open(table, newline="") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual(len(rows), 10)
        self.assertTrue(all(len(r) == 8 and r["t"] == "1280" and None not in r for r in rows))
        with open(curves, newline="") as f:
            points = list(csv.DictReader(f))
        self.assertEqual(set(points[0]), {"policy", "t", "regret"})
        self.assertEqual({p["t"] for p in points if p["policy"] == "polar"},
                         {str(1280 >> k) for k in range(8)})
        last = {p["policy"]: p["regret"] for p in points if p["t"] == "1280"}
        self.assertEqual(last, {r["policy"]: r["regret_mean"] for r in rows})
        picture = self.dir + "/curves.svg"
        subprocess.run([sys.executable, os.path.join(os.path.dirname(os.path.dirname(
            os.path.dirname(os.path.abspath(__file__)))), "deploy", "docs", "plot_adapters.py"),
            curves, picture], check=True, timeout=60)
        with open(picture) as f:
            self.assertIn("polar_plus", f.read())
        # The table alone may go to a pipe; two tables in one would be none.
        piped = self.run_ctl("adapters", "simulate", "--seeds", "1", "--horizon", "128", "--csv",
                             "-")
        self.assertEqual(len(list(csv.DictReader(piped.splitlines()))), 10)
        trace = self.path("own.trace", "adapter,a,1000000,10\nadapter,base,0,0\n" +
                          "request,1,.9,.1\n" * 200)
        own = ("adapters", "simulate", "--trace", trace, "--seeds", "1")
        said = self.run_ctl(*own)
        self.assertIn("of 200 requests", said)
        self.assertNotIn("-0.0 ", said)  # The oracle's regret.
        self.assertIn("played whole", self.run_ctl(*own, "--horizon", "100", code=2))
        self.assertIn("--curves", self.run_ctl("adapters", "simulate", "--csv", "-", "--curves",
                                               "-", code=2))

    def test_simulate_takes_the_settings_that_it_says_it_takes_and_no_other(self):
        play = ("adapters", "simulate", "--seeds", "1", "--horizon", "64")
        said = self.run_ctl(*play, "--set", "nonsense=1", code=2)
        taken = said.split("there are ")[1].strip().split(", ")
        self.assertIn("load_weight", taken)
        for key in ("policy", "engine", "replicas", "tick_ms"):
            self.assertNotIn(key, taken)
            self.assertIn(f"`{key}`", self.run_ctl(*play, "--set", f"{key}=1", code=2))
        self.run_ctl(*play, *(x for key in taken for x in ("--set", f"{key}=1")))
        self.assertIn("KEY=VALUE", self.run_ctl(*play, "--set", "slots", code=2))

    def test_apply_compares_a_residency_member_by_member(self):
        text = self.sample("adapters.yaml")
        # Ports on which nobody can listen: a user's engine may stand where the sample says.
        self.assertIn('"http://127.0.0.1:8000"', text)
        text = text.replace("http://127.0.0.1:8000", "http://127.0.0.1:1")
        sample = self.path("sample.yaml", text)
        self.assertIn("+ router loras", self.run_ctl("apply", "-f", sample, "--yes"))
        self.assertIn("nothing to change", self.run_ctl("apply", "-f", sample))
        other = self.path("other.yaml", text.replace("slots: 4", "slots: 3").replace(
            '"http://127.0.0.1:1"', '"http://127.0.0.1:1", "http://127.0.0.1:2"').replace(
                "rank: 16", "rank: 8"))
        shown = self.run_ctl("apply", "-f", other, "--yes")
        self.assertIn("residency.slots 4 -> 3", shown)
        self.assertIn("residency.replicas", shown)
        self.assertIn("arm math", shown)
        self.assertIn("nothing to change", self.run_ctl("apply", "-f", other))
        self.run_ctl("router", "remove", "loras")

    def test_the_first_word_alone_lists_its_commands(self):
        arms = self.run_ctl("arm", "--help")
        self.assertIn("arm drain", arms)
        self.assertNotIn("router list", arms)
        self.assertIn("session end", self.run_ctl("session", code=2))
        self.assertIn("no command", self.run_ctl("arm", "nonsense", code=2))
        listed = self.run_ctl("--help").split("\nCommands:\n")[1].split("\n\n")[0]
        commands = re.findall(r"^  ([a-z][a-z-]*(?: [a-z]+)?) ", listed, re.M)
        self.assertGreater(len(commands), 50)
        for command in ["", *commands]:
            for line in self.run_ctl(*command.split(), "--help").splitlines():
                self.assertLess(len(line), 80, command)
                # argp's own mistake when a text ends at the margin: the next option moves right.
                self.assertNotRegex(line, "^ {7,}--", command)

    def test_what_a_command_needs_is_asked_for_by_name(self):
        for words, option in ((("budget", "set", "acme", "--metric", "cost_usd"), "--per-request"),
                              (("arm", "price", "x"), "--factor"), (("forget",), "--source")):
            self.assertIn("needs " + option, self.run_ctl(*words, code=2))

    def test_a_strict_session_is_served_by_arms_with_a_cap(self):
        self.run_ctl("router", "add", "strict", "--arm", "open", "--source", "log=log_only")
        self.run_ctl("arm", "add", "capped", "--router", "strict", "--caps", "cost_usd=.01")
        self.run_ctl("session", "start", "s", "--router", "strict", "--amount", ".05", code=1)
        got = self.json_of("route", "--router", "strict", "--session", "s", "--budget", ".05",
                           "--budget-metric", "cost_usd", "--latency-critical")
        self.assertEqual((got["arm_id"], got["session_reserved"]), ("capped", .01))
        self.assertIn("log_only", self.run_ctl("report", got["decision_id"], "--metric", "reward=1",
                                               "--source", "log"))
        self.run_ctl("router", "remove", "strict")

    def test_an_adapter_is_declared_with_its_arm(self):
        self.run_ctl("router", "add", "lora", "--set", "residency.slots=2")
        self.run_ctl("arm", "add", "a", "--router", "lora", "--adapter-base", "m",
                     "--adapter-bytes", "1000")
        self.run_ctl("arm", "update", "a", "--router", "lora", "--adapter-path", "/m/a",
                     "--adapter-rank", "8")
        adapter = self.json_of("arm", "show", "a", "--router", "lora")["spec"]["adapter"]
        self.assertEqual((adapter["base_model"], adapter["path"], adapter["rank"],
                          int(adapter["size_bytes"])), ("m", "/m/a", 8, 1000))
        self.run_ctl("adapters", "--router", "lora")  # The slow loop has come to it.
        self.assertIn("adapter     a, ", self.run_ctl("route", "--router", "lora"))
        self.run_ctl("arm", "add", "m", "--router", "lora")
        self.run_ctl("arm", "pause", "a", "--router", "lora")
        for _ in range(200):  # Until it has come to the new arm, too.
            shown = self.run_ctl("route", "--router", "lora")
            if "adapter " in shown:
                break
            time.sleep(.05)
        self.assertIn("adapter     none: the base model, always resident", shown)
        self.assertNotIn("engine ", shown)
        self.run_ctl("router", "remove", "lora")

    def test_apply_shows_changes_and_refuses_what_cannot_be(self):
        first = self.path("first.yaml", ROUTERS)
        self.run_ctl("apply", "-f", first, code=2)  # Nobody to ask.
        self.assertIn("+ router chat", self.run_ctl("apply", "-f", first, "--dry-run"))
        self.assertNotIn("chat", self.routers())
        self.run_ctl("apply", "-f", first, "--yes")
        self.assertIn("nothing to change", self.run_ctl("apply", "-f", first))
        second = self.path("second.yaml", ROUTERS.replace("alpha: 1.5", "alpha: 2").replace(
            "weight: 0.25", "weight: 0.5").replace("cheap", "cheaper").replace(
                "name: large", "name: huge"))
        changes = self.json_of("apply", "-f", second, "--yes")
        self.assertTrue(changes["applied"])
        self.assertEqual([c["action"] for c in changes["changes"]],
                         ["change", "add", "change", "change", "keep"])
        info = self.json_of("router", "show", "chat")
        spec = info["spec"]
        self.assertEqual(spec["settings"]["alpha"], 2.0)
        self.assertEqual(spec["settings"]["explore_floor"], 0.02)
        self.assertEqual([m["weight"] for m in spec["metrics"]], [1.0, 0.5])
        self.assertEqual([a["spec"]["name"] for a in info["arms"]], ["small", "large", "huge"])
        self.assertEqual(info["arms"][0]["spec"]["tags"], ["local"])
        third = self.path("third.yaml", ROUTERS.replace("norm_high: 0.01", "norm_high: 0.02").replace(
            "cheap", "dear"))
        self.run_ctl("apply", "-f", third, "--yes", code=1)
        arm = self.json_of("arm", "show", "small", "--router", "chat")
        self.assertEqual(arm["spec"]["description"], "cheaper")  # Nothing was applied.
        self.run_ctl("router", "add", "not-in-file")
        pruned = self.json_of("apply", "-f", first, "--prune", "--dry-run")["changes"]
        gone = {(c["router"], c.get("arm")) for c in pruned if c["action"] == "remove"}
        self.assertTrue({("chat", "huge"), ("not-in-file", None)} <= gone)
        bad = self.path("bad.yaml", "routers:\n  - name: x\n    alpha: 3\n")
        self.assertIn("bad.yaml:3:5", self.run_ctl("apply", "-f", bad, "--yes", code=2))

    def test_state_is_verified_copied_and_restored(self):
        self.run_ctl("router", "add", "r3", "--arm", "a")
        self.assertTrue(self.json_of("verify")["ok"])
        self.json_of("checkpoint")
        self.assertGreaterEqual(self.json_of("keys", "rotate")["keys"], 2)
        keys = {e["key"] for e in self.json_of("config")["entries"]}
        self.assertIn("data_dir", keys)
        copy, again = os.path.join(self.dir, "copy"), os.path.join(self.dir, "again")
        self.assertGreater(self.json_of("backup", copy)["bytes"], 0)
        self.assertIn("EXISTS", self.run_ctl("backup", copy, code=1))
        self.run_ctl("restore", copy, code=2)
        told = self.run_ctl("restore", copy, "--data-dir", again)
        self.assertRegex(told, "^restored into .*" + again)  # A sentence; JSON where it is asked for.
        self.assertEqual(self.json_of("restore", copy, "--data-dir", again + "2"),
                         {"restored": True, "data_dir": again + "2"})
        self.assertIn("EXISTS", self.run_ctl("restore", copy, "--data-dir", again, code=1))
        other = Shuntd(SHUNTD, again)
        other.start("unix:" + os.path.join(self.dir, "other.sock"))
        listed = self.json_of("router", "list", "--admin", other.admin)["routers"]
        self.assertIn("r3", {r["spec"]["name"] for r in listed})
        self.assertEqual(other.stop(), 0)

    def test_replay_learns_says_the_same_twice_and_leaves_nothing(self):
        before = set(os.listdir(self.dir))
        options = ["replay", self.file, "--orders", "3", "--seed", "7", "--set", "explore_floor=0"]
        r = self.json_of(*options, server=False)
        self.assertEqual(list(r), ["rows", "orders", "seconds", "utility", "metrics", "regret",
                                   "share", "random", "best_single", "best_per_task", "oracle"])
        self.assertEqual((r["rows"], r["orders"]), (240, 3))
        self.assertAlmostEqual(r["random"], 0.55, 9)
        self.assertAlmostEqual(r["oracle"], 0.9, 9)
        self.assertAlmostEqual(r["best_per_task"], 0.9, 9)
        self.assertEqual(r["best_single"]["arm"], "large")
        self.assertAlmostEqual(r["best_single"]["utility"], (2 * 0.9 + 0.2) / 3, 9)
        self.assertAlmostEqual(r["utility"]["mean"] + r["regret"]["mean"], 0.9, 9)
        self.assertAlmostEqual(sum(r["share"].values()), 1, 9)
        self.assertEqual(list(r["utility"]), ["mean", "sd", "worst", "last_third"])
        self.assertGreater(r["utility"]["last_third"], r["utility"]["mean"])
        self.assertGreater(r["utility"]["worst"], r["best_single"]["utility"])  # It learned.
        again = self.json_of(*options, server=False)
        del r["seconds"], again["seconds"]
        self.assertEqual(r, again)
        # A server that the shell names is not played on: rows that are played are learned.
        position = self.json_of("stats")["journal_position"]
        private = self.json_of(*options)
        self.assertEqual(self.json_of("stats")["journal_position"], position)
        self.assertEqual(r["utility"], private["utility"])
        # On a server that is there: the same figures, and its routers are gone afterwards.
        shared = self.json_of(*options, "--server", self.server.router)
        self.assertGreater(self.json_of("stats")["journal_position"], position)
        del shared["seconds"]
        self.assertEqual(r, shared)
        self.assertFalse([n for n in self.routers() if n.startswith("replay/")])
        self.assertEqual(set(os.listdir(self.dir)), before)

    def test_replay_weighs_delays_warms_and_leaves_labels_away(self):
        r = self.json_of("replay", self.file, "--orders", "2", "--weights", "quality=.5,cost_usd=.5",
                         "--delay", "20", "--warm", self.file, server=False)
        # 1 is the dearer arm's mean, .002: always large is .5 * (2/3 * .9 + 1/3 * .2) + .5 * 0.
        self.assertAlmostEqual(r["best_single"]["utility"], 0.5 * (0.9 + 2 * 0.2) / 3 + 0.25, 9)
        self.assertEqual(r["rows"], 240)
        self.assertEqual(set(r["metrics"]), {"quality", "cost_usd"})
        blind = self.json_of("replay", self.file, "--orders", "2", "--no-task", "--no-text",
                             server=False)
        self.assertLess(blind["utility"]["mean"], 0.9 - 0.7 / 3 + 0.02)  # It cannot tell rows apart.

    def test_replay_onto_a_router_teaches_it_and_leaves_it(self):
        self.run_ctl("router", "add", "mine", "--arm", "small", "--arm", "large", "--tasks",
                     "chat,math")
        onto = ["--router", "mine", "--server", self.server.router]
        self.run_ctl("replay", self.file, *onto, code=2)  # No weighted metric in it.
        self.run_ctl("router", "update", "mine", "--weights", "quality=1,reward=0")
        with open(self.file, "rb") as data:
            text = gzip.decompress(data.read()).decode()
        r = self.json_of("replay", "-", *onto, stdin=text)
        self.assertEqual((r["rows"], r["orders"], r["utility"]["sd"]), (240, 1, 0))
        stats = self.json_of("stats", "--router", "mine")["routers"]["mine"]
        self.assertEqual(stats["outcomes_folded"], 240)
        for arm, share in r["share"].items():
            self.assertEqual(stats["arms"][arm]["issued"], round(share * 240))
        self.run_ctl("replay", self.file, *onto, "--orders", "3", code=2)
        # The shell's server is not enough to be taught.
        self.assertIn("--server", self.run_ctl("replay", self.file, "--router", "mine", code=2))

    def test_replay_names_the_line_that_is_wrong(self):
        good = json.dumps(next(rows(1)))
        for text, reason in (("", "holds no row"), (good + "\n{", ":2: not a JSON object"),
                             (good + '\n\n{"outcomes":{"a":{"quality":1.5}}}', ":3: outcomes.a"),
                             ('{"outcomes":{"a":{"quality":1,"cost_usd":-1}}}', ":1: outcomes.a")):
            path = self.path("bad.jsonl", text)
            self.assertIn(reason, self.run_ctl("replay", path, server=False, code=2))
        self.assertIn("No such file", self.run_ctl("replay", "/nonexistent", server=False, code=2))
        self.run_ctl("replay", self.file, "--weights", "quality=-1", server=False, code=2)
        self.run_ctl("replay", self.file, "--weights", "energy_j=1", server=False, code=2)
        self.run_ctl("replay", self.file, "--orders", "0", server=False, code=2)
        self.run_ctl("replay", self.file, "--set", "alphabet=1", server=False, code=2)
        self.run_ctl("replay", self.file, "--set", "alpha=1000", server=False, code=1)

    def long_replay(self, server):
        """Started, and known to be playing: its temporary directory or its routers are there."""
        there = ["--server", self.server.router] if server else []
        p = subprocess.Popen([SHUNTCTL, "replay", self.file, "--orders", "900", *there],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env(server))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if server and any(n.startswith("replay/") for n in self.routers()):
                return p
            if not server and any(n.startswith("shunt-replay-") and
                                  os.path.exists(os.path.join(self.dir, n, "r.sock"))
                                  for n in os.listdir(self.dir)):
                return p
            time.sleep(0.02)
        p.kill()
        raise AssertionError("the replay did not begin")

    def test_an_interrupted_replay_cleans_up(self):
        for server in (False, True):
            p = self.long_replay(server)
            p.send_signal(signal.SIGINT)
            _, err = p.communicate(timeout=120)
            self.assertEqual(p.returncode, 1)
            self.assertIn(b"interrupted", err)
            self.assertFalse([n for n in os.listdir(self.dir) if n.startswith("shunt-replay-")])
            self.assertFalse([n for n in self.routers() if n.startswith("replay/")])

    def test_a_killed_replay_takes_its_server_with_it(self):
        p = self.long_replay(False)
        children = subprocess.run(["ps", "--ppid", str(p.pid), "-o", "pid="], text=True,
                                  stdout=subprocess.PIPE, check=True).stdout.split()
        self.assertEqual(len(children), 1)
        p.kill()
        p.communicate()
        until = time.monotonic() + 60
        while os.path.exists("/proc/" + children[0]) and time.monotonic() < until:
            time.sleep(0.02)
        self.assertFalse(os.path.exists("/proc/" + children[0]))
        for name in os.listdir(self.dir):
            if name.startswith("shunt-replay-"):
                subprocess.run(["rm", "-r", os.path.join(self.dir, name)], check=True)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
