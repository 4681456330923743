#!/usr/bin/python3
"""The adapter controller against a llama.cpp server of the user's, not a stand-in for one.

    SHUNT_LLAMA_SERVER=/path/to/llama-server ctest -R real_llamacpp
    real_llamacpp.py SHUNTD SHUNTCTL PROTO_DIR

Skipped where SHUNT_LLAMA_SERVER is not set. The model and its adapters are made here (tiny_gguf.py);
the text of each adapter is known, so every answer shows which one really ran. Nothing is sent
beyond 127.0.0.1."""
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

BINARY = os.environ.get("SHUNT_LLAMA_SERVER", "")
if not BINARY:
    print("skipped: SHUNT_LLAMA_SERVER names no llama-server")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "crash")]
import harness  # noqa: E402
import tiny_gguf  # noqa: E402
from harness import Case, ROUTER, TIMEOUT_S, main  # noqa: E402

NAMES = ["math", "sql", "law", "chat", "code"]  # In order of --lora: the engine's ids.
LETTERS = {name: chr(ord("A") + i) for i, name in enumerate(NAMES)}
PINNED = "law"
SLOTS, EPOCH, TICK_MS = 2, 30, 50
KEY = "not-much-of-a-secret"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Engine:
    """One llama-server; start() again after kill() on the same port."""

    def __init__(self, folder, *more, names=tuple(NAMES), parallel=SLOTS + 1, apply=False):
        self.port, self.key, self.process = free_port(), None, None
        self.log = os.path.join(folder, "llama-server.log")
        base, self.paths = tiny_gguf.make(folder, NAMES)
        self.command = [BINARY, "-m", base, "--host", "127.0.0.1", "--port", str(self.port),
                        "--parallel", str(parallel), "-c", str(512 * parallel), "--threads", "1",
                        "--cache-ram", "0", *more]
        for name in names:
            self.command += ["--lora", self.paths[NAMES.index(name)]]
        if not apply:
            self.command.append("--lora-init-without-apply")
        if "--api-key" in more:
            self.key = more[more.index("--api-key") + 1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("LLAMA_")}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=env,
                                            preexec_fn=die_with_parent)
        end = time.monotonic() + TIMEOUT_S
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self.log, encoding="utf-8", errors="replace") as f:
                    raise AssertionError("llama-server does not start: " + f.read()[-2000:])
            try:
                self.call("/health")
                return self
            except (OSError, AssertionError):
                time.sleep(.02)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def call(self, path, body=None):
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = "Bearer " + self.key
        request = urllib.request.Request(
            self.url + path, headers=headers, data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code}: {error.read()!r}") from error

    def ids(self):
        """Name -> id, as a client finds it: by the path that the arm was declared with."""
        by_path = {row["path"]: row["id"] for row in self.call("/lora-adapters")}
        return {n: by_path[p] for n, p in zip(NAMES, self.paths) if p in by_path}

    def complete(self, adapter, slot, prompt="Once upon a time", n=4):
        """What a client does with RouteRequest's answer: its slot, and the full list of scales."""
        ids = self.ids()
        return self.call("/completion", {
            "prompt": prompt, "n_predict": n, "temperature": 0, "id_slot": slot,
            "lora": [{"id": i, "scale": float(name == adapter)} for name, i in ids.items()]})

    def ran(self):
        """Of each slot, the adapters that it last ran, as the engine says."""
        names = {i: n for n, i in self.ids().items()}
        return [[names[x["id"]] for x in row.get("params", {}).get("lora", []) if x["scale"]]
                for row in self.call("/slots")]


class Real(Case):
    def engine(self, *more, **options):
        engine = Engine(self.folder, *more, **options)
        self.addCleanup(engine.kill)
        return engine.start()

    def router(self, engine, *flags, slots=SLOTS, pinned=(PINNED,), **residency):
        pb = harness.pb.admin
        self.s, self.seen = self.server(), []  # seen: arm, slot, whether it was resident.
        self.assertTrue(self.s.start(*flags), "no start")
        arms = [pb.ArmSpec(name=n, adapter=pb.Adapter(
            base_model="tiny", path=p, size_bytes=os.path.getsize(p), pinned=n in pinned))
            for n, p in zip(NAMES, engine.paths)]
        settings = pb.RouterSettings(seed=7, residency=pb.Residency(
            slots=slots, epoch_requests=EPOCH, epoch_loads=0, tick_ms=TICK_MS,
            engine=pb.RESIDENCY_ENGINE_LLAMACPP, replicas=[engine.url], **residency))
        self.s.admin.CreateRouter(pb.CreateRouterRequest(spec=pb.RouterSpec(
            name=ROUTER, arms=[pb.ArmSpec(name="base"), *arms], features_n=2, task_slots=False,
            scalars=False, text_block=False, settings=settings)), timeout=TIMEOUT_S)
        self.until(lambda s: s.plan.replicas[0].up or s.plan.replicas[0].failures, "not looked at")

    def state(self):
        return self.s.admin.ListAdapters(
            harness.pb.admin.ListAdaptersRequest(router=ROUTER), timeout=TIMEOUT_S)

    def until(self, holds, what):
        end, state = time.monotonic() + TIMEOUT_S, None
        while time.monotonic() < end:
            try:
                state = self.state()
            except harness.grpc.RpcError as error:  # The slow loop has not come to it yet.
                self.assertIn("not come to this router yet", error.details())
            if state and holds(state):
                return state
            time.sleep(.02)
        return self.fail(f"{what}: {state}")

    def first_plan(self, engine):
        """Nothing is loaded before the first epoch is over, not even what is pinned."""
        self.until_planned(lambda: self.play(engine, EPOCH))
        return self.until_converged()

    def until_planned(self, ask, more=1):
        """The slow loop counts what was asked a moment later."""
        epoch = self.state().plan.epoch + more
        end = time.monotonic() + TIMEOUT_S
        while self.state().plan.epoch < epoch:
            self.assertLess(time.monotonic(), end, "no plan")
            ask()

    def until_converged(self):
        """And looked at once more: what is said then, a list has confirmed."""
        state = self.until(lambda s: s.plan.replicas[0].converged and s.plan.desired > 0,
                           "not loaded")
        ticks = state.plan.replicas[0].ticks
        return self.until(lambda s: s.plan.replicas[0].ticks > ticks + 1
                          and s.plan.replicas[0].converged
                          and len(self.residents(s)) == s.plan.desired, "not confirmed")

    def ctl(self, *args):
        done = subprocess.run([harness.SHUNTCTL, "--server", "unix:" + self.s.socket,
                               "--admin", f"unix:{self.s.data}/admin.sock", *args],
                              capture_output=True, text=True, timeout=TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def assert_text(self, adapter, answer):
        text = answer["content"]
        if adapter:
            self.assertEqual(text, LETTERS[adapter] * len(text))
            self.assertTrue(text)
        else:
            self.assertFalse(set(text) & set(LETTERS.values()), "the base model speaks otherwise")

    def play(self, engine, n):
        """Requests as a client makes them; math and code are right for one kind of them each."""
        for i in range(n):
            kind = i % 2
            d = self.s.route(features=[float(kind), 1.0 - kind])
            use = d.adapter
            self.assertEqual(use.replica, engine.url)
            self.assertTrue(use.HasField("engine_slot"), d)
            answer = engine.complete(use.adapter, use.engine_slot, f"Request {i % 7} of many")
            self.assertEqual(answer["id_slot"], use.engine_slot)
            self.assert_text(use.adapter, answer)
            resident = use.residence == harness.pb.router.RESIDENCE_RESIDENT
            if not resident or not use.adapter:
                self.assertEqual(use.engine_slot, SLOTS)  # The scratch slot.
            self.s.report(d, reward=.9 if d.arm_id == ("math", "code")[kind] else .2)
            self.seen.append((d.arm_id, use.engine_slot, resident))

    def decide(self, n):
        """Requests that reach no engine."""
        for i in range(n):
            self.s.report(self.s.route(features=[float(i % 2), 0.0]), reward=.5)

    @staticmethod
    def residents(state):
        return [a.arm_id for a in state.adapters if a.adapter.path
                and a.residence == harness.pb.router.RESIDENCE_RESIDENT]

    def assert_desired_is_actual(self, engine, state):
        desired = sorted(a.arm_id for a in state.adapters if a.adapter.path and a.desired)
        resident = sorted(self.residents(state))
        ran = engine.ran()[:SLOTS]
        self.assertEqual(resident, desired)
        self.assertEqual(sorted(n for one in ran for n in one), desired, ran)
        self.assertLessEqual(len(desired), SLOTS)
        self.assertIn(PINNED, desired)
        return desired

    def test_desired_is_actual_and_every_answer_is_of_the_adapter_it_says(self):
        engine = self.engine()
        self.router(engine)
        state = self.first_plan(engine)
        self.assertTrue(state.plan.replicas[0].residency_metric)
        self.assert_desired_is_actual(engine, state)
        self.play(engine, 6 * EPOCH)
        self.assertEqual({arm for arm, _, _ in self.seen}, {"base", *NAMES})
        self.until(lambda s: s.plan.epoch >= 3 and s.plan.desired == SLOTS, "no plan")
        state = self.until_converged()
        desired = self.assert_desired_is_actual(engine, state)
        self.assertTrue(set(desired) & {"math", "code"}, desired)
        loaded = {a.arm_id: a.load_ms for a in state.adapters if a.loads}
        self.assertLessEqual(set(desired), set(loaded))
        self.assertTrue(all(ms > 0 for ms in loaded.values()), loaded)
        print(f"loads: {state.plan.replicas[0].loads}, ms: {loaded}", flush=True)
        residents = {arm for arm, _, resident in self.seen if resident}
        self.assertTrue(residents & {"math", "code"}, residents)
        self.assertIn(PINNED, self.ctl("adapters", "--router", ROUTER))
        plan = json.loads(self.ctl("adapters", "plan", "--router", ROUTER, "--json"))
        self.assertGreaterEqual(int(plan["epoch"]), 3)

    def test_a_pin_is_carried_out_and_an_unpinned_one_may_go(self):
        engine = self.engine()
        self.router(engine)
        self.first_plan(engine)
        self.ctl("adapters", "pin", "chat", "--router", ROUTER)
        self.until_planned(lambda: self.play(engine, EPOCH))
        self.until(lambda s: {"chat", PINNED} == {a.arm_id for a in s.adapters if a.adapter.path
                                                  and a.desired}, "not planned")
        state = self.until_converged()
        self.assertEqual(self.assert_desired_is_actual(engine, state), ["chat", PINNED])

    def test_a_killed_engine_is_down_and_heals_with_its_adapters_applied_again(self):
        engine = self.engine()
        self.router(engine, pinned=(PINNED, "chat"))
        self.assertEqual(self.assert_desired_is_actual(engine, self.first_plan(engine)),
                         ["chat", PINNED])
        engine.kill()
        state = self.until(lambda s: s.plan.replicas[0].failures >= 3, "not down")
        self.assertFalse(state.plan.replicas[0].up)
        self.assertTrue(state.plan.replicas[0].error)
        self.assertTrue(self.s.route(features=[1.0, 0.0]).arm_id)  # Decided all the same.
        engine.start()
        self.assertEqual(engine.ran(), [[]] * (SLOTS + 1))
        state = self.until_converged()
        self.assertEqual(state.plan.replicas[0].error, "")
        self.assert_desired_is_actual(engine, state)

    def test_a_restart_that_no_call_fell_into_is_noticed(self):
        engine = self.engine()
        self.router(engine, pinned=(PINNED, "chat"))
        before = self.first_plan(engine).plan.replicas[0]
        os.kill(self.s.pid(), signal.SIGSTOP)
        try:
            engine.kill()
            engine.start()
        finally:
            os.kill(self.s.pid(), signal.SIGCONT)
        state = self.until(lambda s: s.plan.replicas[0].loads >= before.loads + 2, "not noticed")
        self.assert_desired_is_actual(engine, self.until_converged())
        self.assertTrue(state.plan.replicas[0].up)

    def test_a_client_that_names_no_slot_takes_one_and_it_is_taken_back(self):
        engine = self.engine()
        self.router(engine, pinned=(PINNED, "chat"))
        before = self.first_plan(engine).plan.replicas[0]
        sql = [{"id": NAMES.index("sql"), "scale": 1.0}]
        for slot in range(SLOTS):  # As if by accident.
            engine.call("/completion", {"prompt": "x", "n_predict": 1, "id_slot": slot,
                                        "lora": sql})
        self.until(lambda s: s.plan.replicas[0].loads >= before.loads + SLOTS, "not taken back")
        self.assert_desired_is_actual(engine, self.until_converged())

    def test_a_server_that_starts_again_loads_nothing_that_is_there(self):
        engine = self.engine()
        self.router(engine, pinned=(PINNED, "chat"))
        self.first_plan(engine)
        self.s.stop()
        self.assertTrue(self.s.start())
        state = self.until_converged()
        self.assert_desired_is_actual(engine, state)
        self.assertEqual(state.plan.replicas[0].loads, 0)

    def test_an_engine_with_a_key_is_driven_with_its_token_only(self):
        engine = self.engine("--api-key", KEY)
        token = os.path.join(self.folder, "token")
        with open(token, "w", encoding="utf-8") as f:
            f.write(KEY + "\n")
        self.router(engine)
        state = self.until(lambda s: s.plan.replicas[0].failures > 0, "not refused")
        self.assertIn("401: Invalid API Key", state.plan.replicas[0].error)
        self.s.stop()
        self.assertTrue(self.s.start("--set", "engines.token_file=" + token))
        self.assert_desired_is_actual(engine, self.first_plan(engine))
        self.assertNotIn(KEY, self.s.log())

    def test_an_adapter_that_the_engine_was_not_started_with_says_so(self):
        engine = self.engine(names=("math", PINNED))
        self.router(engine, pinned=(PINNED, "chat"))
        self.until_planned(lambda: self.decide(EPOCH))
        state = self.until(lambda s: any("--lora" in a.why for a in s.adapters), "not said")
        why = {a.arm_id: a.why for a in state.adapters}
        self.assertIn("start llama-server with --lora", why["chat"])
        self.assertNotIn("--lora", why[PINNED])
        self.assertTrue(state.plan.replicas[0].up)
        self.assertEqual(engine.ran()[:SLOTS].count([PINNED]), 1)

    def test_an_engine_with_fewer_slots_keeps_one_for_misses(self):
        engine = self.engine(parallel=2)
        self.router(engine, slots=3, pinned=(PINNED, "chat"))
        self.until_planned(lambda: self.decide(EPOCH))
        state = self.until(lambda s: any("have no room for it" in a.why for a in s.adapters)
                           and self.residents(s), "not said")
        self.assertEqual(state.plan.replicas[0].slots, 1)
        held = self.residents(state)
        self.assertEqual(engine.ran()[:1], [held])
        for _ in range(10):
            d = self.s.route(features=[1.0, 0.0])
            self.assertEqual(d.adapter.engine_slot, 0 if [d.adapter.adapter] == held else 1)

    def test_an_engine_that_does_not_tell_its_slots_is_driven_by_what_was_sent(self):
        engine = self.engine("--no-slots")
        self.router(engine, pinned=(PINNED, "chat"))
        state = self.first_plan(engine)
        self.assertFalse(state.plan.replicas[0].residency_metric)
        self.assertEqual(state.plan.replicas[0].slots, SLOTS)
        self.play(engine, EPOCH)

    def test_what_another_adapter_read_is_not_reused(self):
        """Nor what an adapter read by the base model, as long as each request has the full list."""
        engine = self.engine()
        prompt = "Read by one adapter after the other. " * 5
        asked = [("math", 0), ("sql", 1), ("chat", 0), (None, 1), ("sql", 2)]
        read = {}
        for adapter, slot in asked:
            engine.complete(adapter, SLOTS, "Z" * 50)
            engine.complete(adapter, slot, "Q" * 50)
            answer = engine.complete(adapter, slot, prompt)
            self.assert_text(adapter, answer)
            read[adapter, slot] = answer["timings"]["cache_n"]
        self.assertLess(max(read.values()), 5, read)  # At most how each prompt begins.
        again = engine.complete("sql", 2, prompt)
        self.assertGreater(again["timings"]["cache_n"], len(prompt) // 2)

    def test_adapters_that_are_applied_by_default_are_not_for_long(self):
        engine = self.engine(apply=True)
        self.assertEqual({row["scale"] for row in engine.call("/lora-adapters")}, {1.0})
        self.router(engine)
        self.assertEqual({row["scale"] for row in engine.call("/lora-adapters")}, {0.0})


if __name__ == "__main__":
    print(subprocess.run([BINARY, "--version"], capture_output=True, text=True,
                         check=True).stderr.strip(), flush=True)
    main()
