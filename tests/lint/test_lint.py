#!/usr/bin/env python3
"""A lint that finds nothing is right or blind. Plants one violation of each rule into a small tree
and asks whether it is found, and found alone."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))

CLEAN = {
    "state/base/err.h": '#pragma once\n',
    "state/model/arm.h": '#pragma once\n#include "state/base/err.h"\n',
    "state/model/arm.c": '#include "state/model/arm.h"\n#include <string.h>\n',
    "state/store/env.c": '#include "state/base/err.h"\n#include <lmdb.h>\n',
    "server/rpc/codec.c": '#include "shunt/v1/router.pb-c.h"\n#include <grpc/grpc.h>\n'
                          '#include "state/model/arm.h"\n',
    "tests/unit/store/test_env.c": '#include <lmdb.h>\n#include "state/model/arm.h"\n',
    "proto/shunt/v1/common.proto": "service A {\n  // What it does.\n  rpc Do(B) returns (C);\n}\n"
                                   "message B {\n  optional int32 n = 1;  // Things, [0, 9].\n}\n",
    "README.md": "Nothing. /var/lib/x and ../ho" "me/y and https://x.org/wo" "rk/ are no machine's.\n"
                 "\n## A heading\n\n[a](state/model/arm.h), [b](state), [c](#a-heading), state/model/arm\n",
}

# check, file, text, what must be said about it
PLANTED = [
    ("includes", "state/base/up.c", '#include "state/model/arm.h"\n', "state/base may not include"),
    ("includes", "state/store/up.c", '#include "state/model/arm.h"\n', "state/store may not include"),
    ("includes", "client/up.c", '#include "state/base/err.h"\n', "client may not include"),
    ("includes", "state/model/near.c", '#include "arm.h"\n', "not written from the root"),
    ("includes", "state/model/dots.c", '#include "../base/err.h"\n', "not written from the root"),
    ("includes", "state/model/disk.c", '#include <lmdb.h>\n', "<lmdb.h> belongs to state/store"),
    ("includes", "state/model/blas.c", ' #  include <cblas.h>\n', "<cblas.h> belongs to state/math"),
    ("includes", "server/engine/g.c", '#include <grpc/grpc.h>\n', "belongs to server/rpc"),
    ("includes", "server/engine/p.c", '#include "shunt/v1/router.pb-c.h"\n', "may not include the gen"),
    ("includes", "server/loop/h.c", '#include <microhttpd.h>\n', "belongs to server/ops"),
    ("includes", "server/loop/s.c", '#include <sodium.h>\n', "belongs to server/seal"),
    ("includes", "elsewhere/x.c", '#include "state/base/err.h"\n', "is no room"),
    ("names", "state/model/util.c", "\n", "called util"),
    ("names", "state/model/arm_helpers.h", "\n", "called helpers"),
    ("names", "proto/shunt/v1/types.proto", "\n", "called types"),
    ("words", "state/model/later.c", "/* TO" "DO: all of it */\n", "do it, or say"),
    ("words", "tests/run", "cd /wo" "rk/main\n", "a path of one machine"),
    ("words", "README.md", "see '/ro" "ot/x'\n", "a path of one machine"),
    ("proto", "proto/shunt/v1/a.proto", "message A {\n  optional int32 n = 1;\n}\n", "optional int32 n"),
    ("proto", "proto/shunt/v1/a.proto", "message A { required B b = 1; }\n", "required B b"),
    ("proto", "proto/shunt/v1/a.proto", "message A {\n  map<string, B> m = 1;\n}\n", "map<string, B> m"),
    ("proto", "proto/shunt/v1/a.proto", "service S {\n  rpc Do(A) returns (B);\n}\n", "rpc Do"),
    ("links", "README.md", "one\n\n\ntwo\n", "README.md:3: two blank lines"),
    ("links", "server/rpc/README.md", "[x](../ops/gone.c)\n", "there is no server/ops/gone.c"),
    ("links", "README.md", "[x](state/model#why)\n[x](#no-such)\n", "README.md:2: #no-such: no head"),
    ("links", "README.md", "As state/model/gone.h says.\n", "there is no state/model/gone.h"),
    ("format", "state/model/ugly.c", "int  f( void ) { return 1 ; }\n", "ugly.c:1:"),
]


class Lint(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="shunt-lint-")
        for path, text in CLEAN.items():
            self.write(path, text)
        with open(os.path.join(HERE, "rooms.txt")) as f:
            self.write("tests/lint/rooms.txt", f.read())
        shutil.copy(os.path.join(HERE, "..", "..", ".clang-format"), self.root)

    def tearDown(self):
        shutil.rmtree(self.root)

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as f:
            f.write(text)

    def run_lint(self, check):
        # A folder outside any repository: the lint falls back to walking it.
        env = dict(os.environ, GIT_CEILING_DIRECTORIES=os.path.dirname(self.root))
        return subprocess.run([sys.executable, os.path.join(HERE, "lint.py"), "--root", self.root,
                               check], stdout=subprocess.PIPE, text=True, env=env)

    def test_a_clean_tree_passes(self):
        for check in ("includes", "names", "words", "proto", "links"):
            out = self.run_lint(check)
            self.assertEqual(out.returncode, 0, out.stdout)

    def test_each_planted_violation_is_found(self):
        for check, path, text, said in PLANTED:
            if check == "format" and not shutil.which("clang-format"):
                continue
            with self.subTest(path=path, text=text):
                full = os.path.join(self.root, path)
                self.write(path, text)
                out = self.run_lint(check)
                self.assertEqual(out.returncode, 1, out.stdout)
                self.assertIn(said, out.stdout)
                self.assertIn(path + ":", out.stdout)
                os.unlink(full)
                if path in CLEAN:
                    self.write(path, CLEAN[path])


if __name__ == "__main__":
    unittest.main()
