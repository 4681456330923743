#!/usr/bin/python3
"""libshunt against the real server, as a binding sees it: ctypes and the JSON calls.

    test_libshunt.py SHUNTD SHUNTCTL LIBSHUNT EXAMPLE

Standard library only, and no gRPC of Python's: the admin work is done by shuntctl."""
import ctypes
import json
import subprocess
import sys
import tempfile
import time
import unittest

from shuntd import Shuntd

SHUNTD = SHUNTCTL = LIBSHUNT = EXAMPLE = None
OK, REFUSED, NOT_REPORTABLE, TIMEOUT = 0, 3, 6, 8


class Client:
    """The whole of a ctypes wrapper."""

    def __init__(self, **options):
        self.lib = ctypes.CDLL(LIBSHUNT)
        self.lib.shunt_open_json.restype = ctypes.c_void_p
        self.lib.shunt_close.argtypes = [ctypes.c_void_p]
        self.lib.shunt_flush.argtypes = [ctypes.c_void_p, ctypes.c_double]
        self.lib.shunt_stats_json.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t,
                                              ctypes.POINTER(ctypes.c_size_t)]
        for call in (self.lib.shunt_route_json, self.lib.shunt_report_json):
            call.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t,
                             ctypes.POINTER(ctypes.c_size_t)]
        buf, length = ctypes.create_string_buffer(16384), ctypes.c_size_t()
        self.handle = self.lib.shunt_open_json(json.dumps(options).encode(), buf,
                                               ctypes.c_size_t(len(buf)), ctypes.byref(length))
        if not self.handle:
            raise ValueError(buf.value.decode())

    def ask(self, call, *arguments):
        buf, length = ctypes.create_string_buffer(16384), ctypes.c_size_t()
        result = call(self.handle, *arguments, buf, len(buf), ctypes.byref(length))
        return result, json.loads(buf.value)

    def route(self, **request):
        return self.ask(self.lib.shunt_route_json, json.dumps(request).encode())

    def report(self, decision, **more):
        body = {k: decision[k] for k in ("decision_id", "decision_token") if k in decision}
        return self.ask(self.lib.shunt_report_json, json.dumps({**body, **more}).encode())

    def stats(self):
        return self.ask(self.lib.shunt_stats_json)[1]

    def flush(self, timeout_s):
        return self.lib.shunt_flush(self.handle, timeout_s)

    def close(self):
        self.lib.shunt_close(self.handle)


class Request(ctypes.Structure):
    """struct shunt_request of client/shunt.h, as a binding would write it down."""
    _fields_ = [("size", ctypes.c_size_t), ("router", ctypes.c_char_p), ("task", ctypes.c_char_p),
                ("text", ctypes.c_char_p), ("text_len", ctypes.c_size_t),
                ("features", ctypes.c_void_p), ("features_n", ctypes.c_size_t),
                ("embedding", ctypes.c_void_p), ("embedding_n", ctypes.c_size_t),
                ("weights", ctypes.c_void_p), ("weights_n", ctypes.c_size_t),
                ("candidates", ctypes.c_void_p), ("candidates_n", ctypes.c_size_t),
                ("exclude", ctypes.c_void_p), ("exclude_n", ctypes.c_size_t),
                ("decision_id", ctypes.c_char_p), ("default_arm", ctypes.c_char_p),
                ("timeout_s", ctypes.c_double), ("dry_run", ctypes.c_bool),
                ("tokens_so_far", ctypes.c_uint64), ("turn", ctypes.c_uint32),
                ("tool_step", ctypes.c_uint32), ("tool_errors", ctypes.c_uint32),
                ("images", ctypes.c_uint32), ("max_output_tokens", ctypes.c_uint32),
                ("json_required", ctypes.c_bool), ("tools_required", ctypes.c_bool)]


class Decision(ctypes.Structure):
    """The beginning of struct shunt_decision: `size` says that no more is wanted."""
    _fields_ = [("size", ctypes.c_size_t), ("arm", ctypes.c_char * 66),
                ("decision_id", ctypes.c_char * 38), ("fallback", ctypes.c_bool)]


AGENT = {"tokens_so_far": 1000000, "turn": 100, "tool_step": 200, "tool_errors": 20, "images": 20,
         "max_output_tokens": 65536, "json_required": True, "tools_required": True}


class Libshunt(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="shunt-libshunt-")
        self.server = Shuntd(SHUNTD, self.folder.name + "/data")
        self.server.start()
        for arm in ("small", "large"):
            self.ctl("arm", "add", arm)
        self.client = Client(address=self.server.router, default_arm="small", route_timeout_s=30,
                             report_timeout_s=30, retry_first_s=0.05, retry_max_s=0.2)

    def tearDown(self):
        self.client.close()
        self.assertEqual(self.server.stop(), 0, "".join(self.server.lines))
        self.folder.cleanup()

    def ctl(self, *arguments):
        """A word that already exists is fine: shuntd makes the router `default` by itself."""
        done = subprocess.run([SHUNTCTL, "--server", self.server.router, "--admin",
                               self.server.admin, *arguments], capture_output=True, text=True)
        if done.returncode != 0 and "EXISTS" not in done.stdout + done.stderr:
            self.fail(f"shuntctl {arguments}: {done.stdout}{done.stderr}")

    def test_a_decision_and_its_outcome(self):
        result, decision = self.client.route(task="code", max_ranked=2, explain=True)
        self.assertEqual(result, OK, decision)
        self.assertIs(decision["fallback"], False)
        self.assertIn(decision["arm_id"], ("small", "large"))
        self.assertEqual(len(decision["decision_id"]), 36)
        self.assertEqual(len(decision["ranking"]), 2)
        result, outcome = self.client.report(decision, metrics={"quality": 0.5}, status="ok")
        self.assertEqual(result, OK, outcome)
        self.assertEqual((outcome["queued"], outcome["duplicate"]), (False, False))
        result, outcome = self.client.report(decision, metrics={"quality": 0.5})
        self.assertEqual((result, outcome["duplicate"]), (OK, True))
        result, answer = self.client.route(router="nobody")
        self.assertEqual(result, REFUSED)
        self.assertEqual(answer["error"]["code"], "ROUTER_NOT_FOUND")

    def add_agent_router(self):
        """Bias and the agent block: the context is 1 and the eight numbers."""
        self.ctl("router", "add", "agent", "--set", "task_slots=0", "--set", "scalars=false",
                 "--set", "text_block=false", "--set", "agent=true")
        self.ctl("arm", "add", "--router", "agent", "small")

    def agent_block(self, decision_id):
        """Of the decision as it is kept; a thread writes it down a moment after the answer."""
        for _ in range(100):
            shown = subprocess.run([SHUNTCTL, "--admin", self.server.admin, "--json", "explain",
                                    decision_id], capture_output=True, text=True)
            if shown.returncode == 0:
                break
            time.sleep(.05)
        context = json.loads(shown.stdout)["context"]
        self.assertEqual((len(context), context[0]), (9, 1))
        return context[1:]

    def test_an_agents_numbers_reach_the_context_through_json(self):
        self.add_agent_router()
        result, decision = self.client.route(router="agent", **AGENT)
        self.assertEqual(result, OK, decision)
        for value in self.agent_block(decision["decision_id"]):
            self.assertAlmostEqual(value, .5 / 8 ** .5, places=6)  # Each is full.
        result, decision = self.client.route(router="agent", turn=1, json_required=False)
        block = self.agent_block(decision["decision_id"])
        self.assertTrue(0 < block[0] < .1)
        self.assertEqual(block[1:], [0] * 7)

    def test_an_agents_numbers_reach_the_context_through_the_struct(self):
        self.add_agent_router()
        route = self.client.lib.shunt_route
        route.argtypes = [ctypes.c_void_p, ctypes.POINTER(Request), ctypes.POINTER(Decision),
                          ctypes.c_void_p]
        request = Request(ctypes.sizeof(Request), router=b"agent", **AGENT)
        decision = Decision(ctypes.sizeof(Decision))
        self.assertEqual(route(self.client.handle, request, decision, None), OK)
        self.assertFalse(decision.fallback)
        for value in self.agent_block(decision.decision_id.decode()):
            self.assertAlmostEqual(value, .5 / 8 ** .5, places=6)
        request.size = Request.tokens_so_far.offset  # A program compiled before they were there.
        self.assertEqual(route(self.client.handle, request, decision, None), OK)
        self.assertEqual(self.agent_block(decision.decision_id.decode()), [0] * 8)

    def test_outcomes_reach_a_server_that_was_killed_and_came_back(self):
        decisions = [self.client.route()[1] for _ in range(5)]
        address = self.server.router
        self.server.kill()
        for decision in decisions:
            result, outcome = self.client.report(decision, metrics={"quality": 1})
            self.assertEqual((result, outcome.get("queued")), (OK, True), outcome)
        result, fallback = self.client.route()
        self.assertEqual((result, fallback["arm_id"], fallback["fallback"]), (OK, "small", True))
        self.assertEqual(self.client.report(fallback, metrics={"quality": 1})[0], NOT_REPORTABLE)
        self.assertEqual(self.client.flush(0.01), TIMEOUT)
        self.server.start(listen=address)
        self.assertEqual(self.client.flush(60), OK)
        stats = self.client.stats()
        self.assertEqual((stats["delivered"], stats["refused"], stats["queued"]), (5, 0, 0))
        for decision in decisions:
            self.assertIs(self.client.report(decision, metrics={"quality": 1})[1]["duplicate"],
                          True)

    def test_the_example_works(self):
        done = subprocess.run([EXAMPLE, self.server.router], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("reported", done.stdout)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    SHUNTD, SHUNTCTL, LIBSHUNT, EXAMPLE = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
