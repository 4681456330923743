#!/usr/bin/python3
"""A client that shares no code with ours: python3-grpcio, generated from the .proto files.

    test_interop.py SHUNTD PROTO_DIR

Exits 77, which CTest shows as skipped, when python3-grpcio or python3-grpc-tools is absent."""
import math
import sys
import tempfile
import threading
import unittest
import uuid

try:
    import grpc
    import grpc_tools  # noqa: F401  (only its presence matters here)
except ImportError as missing:
    print(f"skipped: {missing}; install python3-grpcio and python3-grpc-tools")
    sys.exit(77)

from generated import generate
from refused import Refused
from shuntd import Shuntd

TIMEOUT_S = 30
SERVER = None  # Set by main: the binary, and the generated modules.
ROUTER = "interop"


class Interop(Refused):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="shunt-interop-")
        cls.server = Shuntd(SERVER, cls.folder.name + "/data")
        cls.server.start()
        cls.data = grpc.insecure_channel(cls.server.router)
        cls.control = grpc.insecure_channel(cls.server.admin)
        cls.router = router_pb2_grpc.RouterStub(cls.data)
        cls.admin = admin_pb2_grpc.AdminStub(cls.control)
        spec = admin_pb2.RouterSpec(name=ROUTER, features_n=2)
        cls.admin.CreateRouter(admin_pb2.CreateRouterRequest(spec=spec), timeout=TIMEOUT_S)
        for arm in ("small", "large"):
            cls.admin.AddArm(admin_pb2.AddArmRequest(
                router=ROUTER, spec=admin_pb2.ArmSpec(name=arm)), timeout=TIMEOUT_S)

    @classmethod
    def tearDownClass(cls):
        cls.data.close()
        cls.control.close()
        status = cls.server.stop()
        cls.folder.cleanup()
        if status != 0:
            raise AssertionError(f"SIGTERM: exit status {status}\n" + "".join(cls.server.lines))

    def route(self, **fields):
        request = router_pb2.RouteRequest(router=ROUTER, features=[0.5, -1], **fields)
        return self.router.RouteRequest(request, timeout=TIMEOUT_S)

    def report(self, decision, status=None, **metrics):
        request = router_pb2.ReportRewardRequest(
            decision_id=decision.decision_id, decision_token=decision.decision_token)
        for name, value in metrics.items():
            request.metrics[name] = value
        if status is not None:
            request.status = status
        return self.router.ReportReward(request, timeout=TIMEOUT_S)

    def test_a_decision_names_an_arm_and_how_likely_it_was(self):
        decision = self.route(text="Sort a list.", task="code")
        self.assertIn(decision.arm_id, ("small", "large"))
        self.assertEqual(str(uuid.UUID(decision.decision_id)), decision.decision_id)
        self.assertTrue(0 < len(decision.decision_token) <= 4096)
        self.assertTrue(0 < decision.propensity <= 1)
        self.assertNotEqual(decision.reason, common_pb2.REASON_UNSPECIFIED)
        self.assertEqual(decision.version, 1)

    def test_a_report_counts_once(self):
        decision = self.route()
        first = self.report(decision, quality=0.8, cost_usd=0.0004)
        self.assertFalse(first.duplicate)
        self.assertEqual(sorted(first.counted), ["cost_usd", "quality"])
        self.assertGreater(first.position, 0)
        second = self.report(decision, quality=0.1)
        self.assertTrue(second.duplicate)
        self.assertEqual(list(second.counted), [])

    def test_an_acknowledged_outcome_is_in_the_statistics(self):
        def folded():
            stats = self.admin.Stats(admin_pb2.StatsRequest(router=ROUTER), timeout=TIMEOUT_S)
            return stats.routers[ROUTER].outcomes_folded
        before = folded()
        self.report(self.route(), quality=0.5)
        self.assertEqual(folded(), before + 1)

    def test_forged_and_unknown_decisions_look_alike(self):
        decision = self.route()
        token = bytearray(decision.decision_token)
        token[-1] ^= 1
        forged = router_pb2.RouteResponse(decision_id=decision.decision_id,
                                          decision_token=bytes(token))
        unknown = router_pb2.ReportRewardRequest(decision_id=str(uuid.uuid4()))
        unknown.metrics["quality"] = 1
        a = self.assert_refused(grpc.StatusCode.NOT_FOUND, lambda: self.report(forged, quality=1))
        b = self.assert_refused(grpc.StatusCode.NOT_FOUND,
                                lambda: self.router.ReportReward(unknown, timeout=TIMEOUT_S))
        self.assertEqual(a, b)
        self.assertEqual(a[0], "DECISION_NOT_FOUND")
        self.assertFalse(self.report(decision, quality=1).duplicate)

    def test_numbers_that_are_none_are_refused(self):
        for bad in (math.nan, math.inf):
            request = router_pb2.RouteRequest(router=ROUTER, features=[bad, 0])
            code, _ = self.assert_refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                lambda r=request: self.router.RouteRequest(r, timeout=TIMEOUT_S))
            self.assertEqual(code, "NOT_FINITE")
        decision = self.route()
        self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT,
                            lambda: self.report(decision, quality=math.nan))
        self.assert_refused(grpc.StatusCode.INVALID_ARGUMENT,
                            lambda: self.report(decision, quality=2))
        self.assertFalse(self.report(decision, quality=1).duplicate)  # Nothing was stored.

    def test_a_wrong_dimension_names_the_expected_one(self):
        request = router_pb2.RouteRequest(router=ROUTER, features=[1, 2, 3])
        code, sentence = self.assert_refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            lambda: self.router.RouteRequest(request, timeout=TIMEOUT_S))
        self.assertEqual(code, "WRONG_DIMENSION")
        self.assertIn("2", sentence)

    def test_unknown_routers_and_candidates_are_not_found(self):
        request = router_pb2.RouteRequest(router="nobody")
        code, _ = self.assert_refused(
            grpc.StatusCode.NOT_FOUND,
            lambda: self.router.RouteRequest(request, timeout=TIMEOUT_S))
        self.assertEqual(code, "ROUTER_NOT_FOUND")
        code, _ = self.assert_refused(grpc.StatusCode.NOT_FOUND,
                                      lambda: self.route(candidates=["medium"]))
        self.assertEqual(code, "ARM_NOT_FOUND")

    def test_a_dry_run_leaves_nothing_to_report(self):
        decision = self.route(dry_run=True)
        self.assertIn(decision.arm_id, ("small", "large"))
        self.assertEqual(decision.decision_token, b"")

    def test_candidates_and_a_callers_id_are_honoured(self):
        name = str(uuid.uuid4())
        decision = self.route(candidates=["large"], decision_id=name, max_ranked=5, explain=True)
        self.assertEqual(decision.arm_id, "large")
        self.assertEqual(decision.decision_id, name)
        self.assertEqual([r.arm_id for r in decision.ranking], ["large"])
        self.assertTrue(decision.ranking[0].HasField("terms"))
        again = self.route(candidates=["large"], decision_id=name, max_ranked=5, explain=True)
        self.assertEqual(again.arm_id, "large")
        code, _ = self.assert_refused(grpc.StatusCode.ALREADY_EXISTS,
                                      lambda: self.route(decision_id=name, task="other"))
        self.assertEqual(code, "DECISION_ID_REUSED")

    def request(self, **fields):
        return router_pb2.RouteRequest(router=ROUTER, features=[0.5, -1], **fields)

    def test_a_batch_answers_each_request_in_its_place(self):
        name = str(uuid.uuid4())
        requests = [self.request(candidates=[("small", "large")[i % 2]]) for i in range(40)]
        requests[7] = router_pb2.RouteRequest(router="nobody")
        requests[9] = self.request(decision_id=name)
        results = self.router.RouteBatch(router_pb2.RouteBatchRequest(requests=requests),
                                         timeout=TIMEOUT_S).results
        self.assertEqual(len(results), 40)
        for i, result in enumerate(results):
            if i == 7:
                self.assertFalse(result.HasField("response"))
                self.assertEqual(result.code, "ROUTER_NOT_FOUND")
                self.assertEqual(result.status, grpc.StatusCode.NOT_FOUND.value[0])
                self.assertIn("nobody", result.message)
            elif i == 9:
                self.assertEqual(result.response.decision_id, name)
            else:
                self.assertEqual(result.response.arm_id, ("small", "large")[i % 2])
        again = self.router.RouteBatch(router_pb2.RouteBatchRequest(requests=[requests[9]]),
                                       timeout=TIMEOUT_S).results[0].response
        self.assertEqual(again.arm_id, results[9].response.arm_id)
        self.assertFalse(self.report(results[0].response, quality=1).duplicate)
        self.assertTrue(self.report(results[0].response, quality=1).duplicate)

    def test_a_batch_of_none_or_too_many_is_refused(self):
        for n in (0, 257):
            batch = router_pb2.RouteBatchRequest(requests=[self.request()] * n)
            code, sentence = self.assert_refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                lambda b=batch: self.router.RouteBatch(b, timeout=TIMEOUT_S))
            self.assertEqual(code, "OUT_OF_RANGE")
            self.assertIn("256", sentence)

    def test_a_batch_that_spends_from_a_budget_answers_when_all_is_reserved(self):
        self.admin.CreateRouter(admin_pb2.CreateRouterRequest(spec=admin_pb2.RouterSpec(
            name="strict", features_n=2)), timeout=TIMEOUT_S)
        self.admin.AddArm(admin_pb2.AddArmRequest(router="strict", spec=admin_pb2.ArmSpec(
            name="one", caps={"cost_usd": 1})), timeout=TIMEOUT_S)
        def spend(session):
            return router_pb2.RouteRequest(
                router="strict", features=[0.5, -1], session_id=session,
                session_budget=router_pb2.SessionBudget(metric="cost_usd", amount=5))
        batch = [spend("a") for _ in range(8)] + [self.request()]
        results = self.router.RouteBatch(router_pb2.RouteBatchRequest(requests=batch),
                                         timeout=TIMEOUT_S).results
        self.assertEqual([r.HasField("response") for r in results], [True] * 5 + [False] * 3 + [True])
        self.assertEqual({r.code for r in results[5:8]}, {"BUDGET_EXHAUSTED"})
        self.assertEqual([r.response.session_left for r in results[:5]], [4, 3, 2, 1, 0])
        stream = list(self.router.RouteStream(iter(
            [router_pb2.RouteStreamRequest(tag=i, request=spend("b")) for i in range(8)] +
            [router_pb2.RouteStreamRequest(tag=8, request=self.request())]), timeout=TIMEOUT_S))
        served = {r.tag for r in stream if r.HasField("response")}
        self.assertEqual({r.tag for r in stream}, set(range(9)))
        self.assertEqual(served, {0, 1, 2, 3, 4, 8})

    def test_a_stream_answers_in_order_and_ends_well(self):
        def requests():
            for i in range(500):
                bad = i % 100 == 99
                yield router_pb2.RouteStreamRequest(
                    tag=1000 + i, request=router_pb2.RouteRequest(router="nobody") if bad else
                    self.request(candidates=[("small", "large")[i % 2]]))
        results = list(self.router.RouteStream(requests(), timeout=TIMEOUT_S))
        self.assertEqual([r.tag for r in results], [1000 + i for i in range(500)])
        for i, result in enumerate(results):
            if i % 100 == 99:
                self.assertEqual(result.code, "ROUTER_NOT_FOUND")
            else:
                self.assertEqual(result.response.arm_id, ("small", "large")[i % 2])
        self.assertFalse(self.report(results[0].response, quality=1).duplicate)

    def test_a_stream_answers_while_it_is_open(self):
        go_on, answered = threading.Event(), []
        def requests():
            for i in range(3):
                yield router_pb2.RouteStreamRequest(tag=i, request=self.request())
                go_on.wait(TIMEOUT_S)
                go_on.clear()
        for result in self.router.RouteStream(requests(), timeout=TIMEOUT_S):
            answered.append(result.tag)
            go_on.set()
        self.assertEqual(answered, [0, 1, 2])

    def test_what_is_not_served_here_is_unimplemented(self):
        for path in ("/shunt.v1.Router/Nothing", "/nobody.v1.Nothing/Nothing",
                     "/shunt.v1.Admin/ListRouters"):
            call = self.data.unary_unary(path)
            self.assert_refused(grpc.StatusCode.UNIMPLEMENTED,
                                lambda c=call: c(b"", timeout=TIMEOUT_S))

    def test_health_is_serving(self):
        health = health_pb2_grpc.HealthStub(self.data)
        for service in ("", "shunt.v1.Router"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service),
                                  timeout=TIMEOUT_S)
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING)
        self.assert_refused(
            grpc.StatusCode.NOT_FOUND,
            lambda: health.Check(health_pb2.HealthCheckRequest(service="nobody"),
                                 timeout=TIMEOUT_S))

    def test_reflection_lists_and_describes_the_services(self):
        stub = reflection_pb2_grpc.ServerReflectionStub(self.data)
        ask = reflection_pb2.ServerReflectionRequest
        answers = list(stub.ServerReflectionInfo(
            iter([ask(list_services=""), ask(file_containing_symbol="shunt.v1.Router"),
                  ask(file_containing_symbol="shunt.v1.Nothing")]), timeout=TIMEOUT_S))
        names = {s.name for s in answers[0].list_services_response.service}
        self.assertLessEqual({"shunt.v1.Router", "grpc.health.v1.Health",
                              "grpc.reflection.v1alpha.ServerReflection"}, names)
        files = [descriptor_pb2.FileDescriptorProto.FromString(f)
                 for f in answers[1].file_descriptor_response.file_descriptor_proto]
        methods = {m.name for f in files for s in f.service if s.name == "Router"
                   for m in s.method}
        self.assertLessEqual({"RouteRequest", "RouteBatch", "RouteStream", "ReportReward",
                              "ReportRewards", "StartSession", "EndSession"}, methods)
        self.assertEqual(answers[2].error_response.error_code,
                         grpc.StatusCode.NOT_FOUND.value[0])


def main():
    global SERVER, admin_pb2, admin_pb2_grpc, common_pb2, router_pb2, router_pb2_grpc
    global health_pb2, health_pb2_grpc, reflection_pb2, reflection_pb2_grpc, descriptor_pb2
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    SERVER = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="shunt-generated-") as out_dir:
        generate(sys.argv[2], out_dir)
        from google.protobuf import descriptor_pb2
        from shunt.v1 import admin_pb2, admin_pb2_grpc, common_pb2, router_pb2, router_pb2_grpc
        import health_pb2
        import health_pb2_grpc
        import reflection_pb2
        import reflection_pb2_grpc
        unittest.main(argv=sys.argv[:1], verbosity=2)


if __name__ == "__main__":
    main()
