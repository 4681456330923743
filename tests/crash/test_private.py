#!/usr/bin/python3
"""Prompt text is never stored or logged; tokens and keys are never logged.

    test_private.py SHUNTD SHUNTCTL PROTO_DIR"""
import os
import subprocess
import uuid

import harness
from harness import Case, ROUTER, TIMEOUT_S, grpc, main

MARK = "quince-" + uuid.uuid4().hex
ROUTES = 200


class Private(Case):
    def everything_on_disk(self, server):
        """(path, bytes) of every file below the server's folder: data, decisions, logs."""
        for folder, _, names in os.walk(server.folder):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    with open(path, "rb") as f:
                        yield path, f.read()

    def forms(self, text):
        """As it is, reversed in case, in UTF-16 and in hexadecimal: careless ways to keep it."""
        plain = text.encode()
        return {plain, text.upper().encode(), text.encode("utf-16-le"), plain.hex().encode()}

    def use(self, server):
        decisions = []
        for i in range(ROUTES):
            decision = server.route(text=f"{MARK} number {i}: " + "word " * (i % 50), explain=True,
                                    max_ranked=2)
            decisions.append(decision)
            server.report(decision, reward=0.5)
        for decision in decisions[::20]:
            server.admin.Explain(harness.pb.admin.ExplainRequest(
                decision_id=decision.decision_id), timeout=TIMEOUT_S)
        return decisions

    def misuse(self, server):
        """Requests that are refused, with the text where it is wrong."""
        status = grpc.StatusCode
        for size in 1 << 19, (1 << 18) + 1:  # Beyond a message's size, beyond a text's.
            big = MARK + "x" * size
            code, _ = self.assert_refused(status.RESOURCE_EXHAUSTED,
                                          lambda b=big: server.route(text=b))
            self.assertEqual(code, "TOO_LARGE")
        self.assert_refused(status.NOT_FOUND, lambda: server.route(text=MARK, router="nobody"))
        self.assert_refused(status.INVALID_ARGUMENT,
                            lambda: server.route(text=MARK, features=[1.0, 2.0]))
        twice = str(uuid.uuid4())
        server.route(text=MARK, decision_id=twice)
        self.assert_refused(status.ALREADY_EXISTS,
                            lambda: server.route(text=MARK + "!", decision_id=twice))
        # Below protobuf: bad UTF-8 in the text (tolerated), and a message that is none.
        raw = server.channels[0].unary_unary("/shunt.v1.Router/RouteRequest")
        body = MARK.encode() + b"\xff\xfe\xc3("
        name = ROUTER.encode()
        raw(bytes([0x0a, len(name)]) + name + bytes([0x12, len(body)]) + body, timeout=TIMEOUT_S)
        self.assert_refused(status.INVALID_ARGUMENT,
                            lambda: raw(b"\xff" + MARK.encode(), timeout=TIMEOUT_S))

    def test_no_text_on_disk_and_no_secret_in_the_log(self):
        server = self.server()
        self.assertTrue(server.start("--log-level", "debug"))
        server.create_router()
        decisions = self.use(server)
        self.misuse(server)
        server.admin.RotateKeys(harness.pb.admin.RotateKeysRequest(), timeout=TIMEOUT_S)
        subprocess.run([harness.SHUNTCTL, "--server", "unix:" + server.socket, "--admin",
                        f"unix:{server.data}/admin.sock", "route", "--router", ROUTER, "-"],
                       input=MARK.encode(), check=True, timeout=TIMEOUT_S,
                       stdout=subprocess.DEVNULL)
        server.admin.Backup(harness.pb.admin.BackupRequest(path=server.folder + "/backup"),
                            timeout=TIMEOUT_S)
        # The decision log is written behind the answers: what is found by id is on its way to disk.
        server.kill()
        self.assertTrue(server.start("--log-level", "debug"))
        server.admin.Checkpoint(harness.pb.admin.CheckpointRequest(), timeout=TIMEOUT_S)
        self.assertEqual(server.stop(), 0)

        sizes = {path: len(content) for path, content in self.everything_on_disk(server)}
        self.assertGreater(sum(n for p, n in sizes.items() if "/decisions/" in p), 0, sizes)
        self.assertGreater(sizes[os.path.join(server.data, "state")], 10000)
        kept = [c for p, c in self.everything_on_disk(server) if "/decisions/" in p]
        ids = [uuid.UUID(d.decision_id).bytes for d in decisions]
        self.assertTrue(any(i in c for i in ids for c in kept))  # This is where it would be.
        for path, content in self.everything_on_disk(server):
            for form in self.forms(MARK):
                self.assertNotIn(form, content, f"{path} holds text of a prompt")
        self.no_secret_in_the_logs(server, decisions)

    def no_secret_in_the_logs(self, server, decisions):
        logs = [c for p, c in self.everything_on_disk(server) if "/log." in p]
        self.assertEqual(len(logs), 2)
        with open(os.path.join(server.data, "state"), "rb") as f:
            state = f.read()
        for log in logs:
            self.assertGreater(len(log), 100)
            for decision in decisions:
                token = decision.decision_token
                for part in (token, token.hex().encode(), token[32:48].hex().encode()):
                    self.assertNotIn(part, log)
                self.assertNotIn(token, state)  # Nor kept: only what was sealed in it.
            # No long run of hexadecimal digits or base64, which is how a key would look.
            self.assertNotRegex(log, rb"[0-9a-fA-F]{40}|[A-Za-z0-9+]{43}=")


if __name__ == "__main__":
    main()
