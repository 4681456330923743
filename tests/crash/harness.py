"""What the crash tests in Python share: a server in a directory of its own, and clients for it.

Run as `test_X.py SHUNTD SHUNTCTL PROTO_DIR [MORE]`. Exits 77, which CTest shows as skipped, when
python3-grpcio or python3-grpc-tools is absent."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
try:
    import grpc
    import grpc_tools  # noqa: F401  (only its presence matters here)
except ImportError as missing:
    print(f"skipped: {missing}; install python3-grpcio and python3-grpc-tools")
    sys.exit(77)

from generated import generate  # noqa: E402
from refused import Refused  # noqa: E402

TIMEOUT_S = 60
VERIFY_S = 600  # A million events are folded twice, on a machine that may have more to do.
ROUTER = "crash"  # `default` is made by the server itself.
SHUNTD = SHUNTCTL = ""
MORE = []
pb = None  # The generated modules; set by main.
SEED = int(os.environ.get("SHUNT_CRASH_SEED") or str(random.randrange(1 << 32)), 0)


class Modules:
    def __init__(self):
        from shunt.v1 import admin_pb2, admin_pb2_grpc, common_pb2, router_pb2, router_pb2_grpc
        self.admin, self.router, self.common = admin_pb2, router_pb2, common_pb2
        self.AdminStub, self.RouterStub = admin_pb2_grpc.AdminStub, router_pb2_grpc.RouterStub


class Server:
    """One shuntd; start() again after it ended. Its log of every start stays in `logs`."""

    def __init__(self, folder, data=None):
        self.folder = folder
        self.data = data or os.path.join(folder, "data")
        self.socket = os.path.join(folder, "router.sock")
        self.process, self.starts, self.channels = None, 0, []
        self.router = self.admin = None
        self.patience_s = TIMEOUT_S

    @property
    def log_path(self):
        return os.path.join(self.folder, f"log.{self.starts}")

    def launch(self, *more, under=()):
        """Starts the process (below strace, say) and waits for nothing."""
        self.starts += 1
        self.under = bool(under)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*under, SHUNTD, "--data-dir", self.data, "--listen", "unix:" + self.socket,
                 "--metrics-listen", "none", *more], stdout=subprocess.DEVNULL, stderr=log)

    def start(self, *more, under=()):
        """True when it is ready, False when it ended before."""
        self.launch(*more, under=under)
        while not self.events("ready"):
            if self.process.poll() is not None:
                return bool(self.events("ready"))
            time.sleep(0.01)
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        self.channels = [
            grpc.insecure_channel("unix:" + self.socket, options),
            grpc.insecure_channel(f"unix:{self.data}/admin.sock", options)]
        self.router = pb.RouterStub(self.channels[0])
        self.admin = pb.AdminStub(self.channels[1])
        return True

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="surrogateescape") as f:
            return f.read()

    def events(self, name):
        """The log's lines of this event."""
        found = []
        for line in self.log().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") == name:
                found.append(event)
        return found

    def pid(self):
        """The server's own, also below strace."""
        return self.events("starting")[0]["pid"]

    def wait(self, timeout_s=TIMEOUT_S):
        """The exit status; -N for signal N."""
        for channel in self.channels:
            channel.close()
        self.channels = []
        return self.process.wait(timeout_s)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        """Also what runs below strace: that would go on alone, or sit out its delay."""
        if not self.process or self.process.poll() is not None:
            return
        pid = self.pid() if self.under and self.events("starting") else None
        if pid:
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.wait()
        while pid and os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)

    def verify_offline(self):
        """`shuntd verify` of the stopped server: (exit status, what it said)."""
        done = subprocess.run([SHUNTD, "--data-dir", self.data, "verify"], capture_output=True,
                              text=True, errors="replace", timeout=VERIFY_S)
        return done.returncode, done.stdout + done.stderr

    # What tests ask of it.

    def create_router(self, name=ROUTER, arms=("a", "b"), **settings):
        spec = pb.admin.RouterSpec(name=name, arms=[pb.admin.ArmSpec(name=a) for a in arms],
                                   settings=pb.admin.RouterSettings(**settings))
        return self.admin.CreateRouter(pb.admin.CreateRouterRequest(spec=spec), timeout=TIMEOUT_S)

    def get_router(self, name=ROUTER):
        return self.admin.GetRouter(pb.admin.GetRouterRequest(name=name), timeout=TIMEOUT_S)

    def route(self, **fields):
        request = pb.router.RouteRequest(**{"router": ROUTER, **fields})
        return self.router.RouteRequest(request, timeout=self.patience_s)

    def report(self, decision, status=None, **metrics):
        request = pb.router.ReportRewardRequest(decision_id=decision.decision_id,
                                                decision_token=decision.decision_token)
        for name, value in metrics.items():
            request.metrics[name] = value
        if status is not None:
            request.status = status
        return self.router.ReportReward(request, timeout=self.patience_s)

    def verify(self):
        return self.admin.Verify(pb.admin.VerifyRequest(), timeout=VERIFY_S)


class Case(Refused):
    """A folder for each test; servers made with self.server() are killed at its end."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="shunt-crash-")
        self.servers = []
        self.addCleanup(self.clean)

    def clean(self):
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def server(self, name="server", data=None):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder, exist_ok=True)
        server = Server(folder, data)
        self.servers.append(server)
        return server

    def assert_verified(self, server):
        verdict = server.verify()
        self.assertTrue(verdict.ok, verdict.detail)


def strace_works():
    """Whether this machine lets us inject faults into system calls."""
    try:
        return subprocess.run(
            ["strace", "-o", "/dev/null", "-e", "inject=getpid:error=EIO:when=1000", "true"],
            stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


def main():
    global SHUNTD, SHUNTCTL, MORE, pb
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    SHUNTD, SHUNTCTL, proto = sys.argv[1:4]
    MORE = sys.argv[4:]
    print(f"SHUNT_CRASH_SEED={SEED}", flush=True)
    random.seed(SEED)
    with tempfile.TemporaryDirectory(prefix="shunt-generated-") as out_dir:
        generate(proto, out_dir)
        pb = Modules()
        program = unittest.main(module="__main__", argv=sys.argv[:1], verbosity=2, exit=False)
    sys.exit(0 if program.result.wasSuccessful() else 1)
