"""Python code for the wire contract, made at test time from the .proto files of the tree."""
import os
import shutil
import subprocess
import sys


def generate(proto_dir, out_dir):
    """Makes shunt.v1.*_pb2(_grpc), health_pb2(_grpc) and reflection_pb2(_grpc) importable.

    The standard services are compiled from copies outside their folders: generated where they
    lie, they would be modules of a package named grpc and hide the real one."""
    for name in ("health/v1/health", "reflection/v1alpha/reflection"):
        shutil.copy(os.path.join(proto_dir, "grpc", name + ".proto"), out_dir)
    run(proto_dir, out_dir, ["shunt/v1/common.proto", "shunt/v1/router.proto",
                             "shunt/v1/admin.proto"])
    run(out_dir, out_dir, ["health.proto", "reflection.proto"])
    sys.path.insert(0, out_dir)


def run(proto_dir, out_dir, files):
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I" + proto_dir,
                    "--python_out=" + out_dir, "--grpc_python_out=" + out_dir] + files,
                   check=True, cwd=out_dir)
