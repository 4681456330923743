#!/usr/bin/python3
"""A data directory that somebody damaged, shares or left open to everybody.

    test_damage.py SHUNTD SHUNTCTL PROTO_DIR"""
import os
import random
import shutil
import subprocess

import harness
from harness import Case, TIMEOUT_S, main

FLIPS = 24
PAGE = 4096


class Damage(Case):
    def filled(self):
        """A stopped server's directory with outcomes before and after its checkpoint."""
        server = self.server()
        self.assertTrue(server.start())
        server.create_router()
        decisions = []
        for i in range(400):
            decisions.append(server.route(text=f"Question {i}?"))
            server.report(decisions[-1], reward=i % 2, cost_usd=0.01 * (i % 5))
            if i in (150, 300):
                server.admin.Checkpoint(harness.pb.admin.CheckpointRequest(), timeout=TIMEOUT_S)
        server.kill()
        return server, decisions

    def states_agree(self, server, decisions):
        """What is served is what was learned: nothing damaged was believed."""
        self.assertEqual(server.get_router().outcomes_folded, len(decisions))
        rewards = sum(round(a.metrics["reward"].mean * a.metrics["reward"].n)
                      for a in server.get_router().arms)
        self.assertEqual(rewards, len(decisions) // 2)
        for decision in decisions[::10]:
            self.assertTrue(server.report(decision, reward=1).duplicate)

    def flip(self, path, at):
        with open(path, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ (1 << random.randrange(8))]))

    def test_a_flipped_bit_is_never_believed(self):
        """Somewhere in the file: start is refused and says what to do, or what serves is right and
        `shuntd verify` finds the damage unless it lies where nothing is kept."""
        whole, decisions = self.filled()
        size = os.path.getsize(os.path.join(whole.data, "state"))
        refused = found = harmless = 0
        for k in range(FLIPS):
            # In the middle of pages: where journal and checkpoints keep their bytes.
            page = random.randrange(2, size // PAGE)
            at = page * PAGE + PAGE // 2 + random.randrange(PAGE // 2)
            server = self.server(f"flip-{k}")
            shutil.copytree(whole.data, server.data, ignore=shutil.ignore_patterns("*.sock"))
            self.flip(os.path.join(server.data, "state"), at)
            status, said = server.verify_offline()
            self.assertIn(status, (0, 1), f"byte {at}: {said}")
            if not server.start():
                self.assertEqual(server.wait(), 1, f"byte {at}: {server.log()}")
                failed = server.events("start_failed")[0]
                self.assertEqual(failed["code"], "CORRUPT", failed)
                self.assertIn(server.data, failed["why"])
                self.assertIn("shuntd restore", failed["why"] + failed["do"])
                self.assertEqual(status, 1, f"byte {at}: verify believed what start refused")
                refused += 1
                continue
            # Not read at the start (an old base, journal before the checkpoint), or not in use.
            self.states_agree(server, decisions)
            if status == 1:
                found += 1
                self.assertIn("CORRUPT", said)
            else:
                harmless += 1
                self.assert_verified(server)
            server.kill()
            shutil.rmtree(server.folder)
        print(f"{FLIPS} flips in {size} bytes: start refused {refused}, served rightly and found by "
              f"verify {found}, in bytes that hold nothing {harmless}", flush=True)
        self.assertGreater(refused + found, 0)

    def test_a_page_of_garbage_is_never_believed(self):
        whole, decisions = self.filled()
        path = os.path.join(whole.data, "state")
        pages = os.path.getsize(path) // PAGE
        refused = 0
        for page in random.sample(range(2, pages), 8):
            server = self.server(f"page-{page}")
            shutil.copytree(whole.data, server.data, ignore=shutil.ignore_patterns("*.sock"))
            with open(os.path.join(server.data, "state"), "r+b") as f:
                f.seek(page * PAGE)
                f.write(random.randbytes(PAGE))
            if server.start():
                self.states_agree(server, decisions)
            else:
                self.assertEqual(server.wait(), 1, server.log())
                self.assertEqual(server.events("start_failed")[0]["code"], "CORRUPT")
                refused += 1
            server.kill()
            shutil.rmtree(server.folder)
        print(f"8 pages of garbage: start refused {refused}", flush=True)

    def test_a_truncated_file_is_refused(self):
        server, _ = self.filled()
        path = os.path.join(server.data, "state")
        os.truncate(path, os.path.getsize(path) // PAGE // 2 * PAGE)
        self.assertFalse(server.start())
        self.assertEqual(server.wait(), 1)
        failed = server.events("start_failed")[0]
        self.assertEqual(failed["code"], "CORRUPT")
        self.assertIn("shuntd restore", failed["why"] + failed["do"])

    def test_a_backup_replaces_what_is_damaged(self):
        """What the refusal tells the operator to do works."""
        server, decisions = self.filled()
        self.assertTrue(server.start())
        backup = os.path.join(self.folder, "backup")
        server.admin.Backup(harness.pb.admin.BackupRequest(path=backup), timeout=TIMEOUT_S)
        server.kill()
        os.truncate(os.path.join(server.data, "state"), 3 * PAGE)
        self.assertFalse(server.start())
        os.rename(server.data, server.data + ".damaged")
        subprocess.run([harness.SHUNTD, "restore", "--from", backup, "--data-dir", server.data],
                       check=True, timeout=TIMEOUT_S, stdout=subprocess.DEVNULL)
        self.assertTrue(server.start(), server.log())
        self.states_agree(server, decisions)
        self.assert_verified(server)
        self.assertEqual(server.stop(), 0)

    def test_a_second_server_names_the_first(self):
        first = self.server()
        self.assertTrue(first.start())
        first.create_router()
        second = self.server("second", data=first.data)
        self.assertFalse(second.start())
        self.assertEqual(second.wait(), 1)
        failed = second.events("start_failed")[0]
        self.assertEqual(failed["code"], "LOCKED")
        self.assertIn(str(first.pid()), failed["why"])
        status, said = first.verify_offline()  # It may not look at a directory in use either.
        self.assertEqual(status, 1)
        self.assertIn("LOCKED", said)
        self.assertFalse(first.report(first.route(), reward=1).duplicate)
        self.assertEqual(first.stop(), 0)

    def test_what_is_open_to_everybody_is_refused(self):
        """The directory holds the keys of the tokens: it is the server's alone."""
        server, _ = self.filled()
        state = os.path.join(server.data, "state")
        for path, mode in ((server.data, 0o777), (state, 0o644)):
            kept = os.stat(path).st_mode
            os.chmod(path, mode)
            self.assertFalse(server.start())
            self.assertEqual(server.wait(), 1)
            failed = server.events("start_failed")[0]
            self.assertIn(path, failed["why"])
            self.assertIn("chmod", failed["why"])
            os.chmod(path, kept)
        self.assertTrue(server.start())
        self.assertEqual(server.stop(), 0)

    def test_no_file_is_readable_by_others(self):
        server, _ = self.filled()
        os.umask(0)  # Whatever the caller's mask is.
        self.addCleanup(os.umask, 0o022)
        self.assertTrue(server.start())
        server.report(server.route(), reward=1)
        self.assertEqual(server.stop(), 0)
        for folder, _, names in os.walk(server.data):
            for path in [folder] + [os.path.join(folder, name) for name in names]:
                self.assertEqual(os.lstat(path).st_mode & 0o077, 0, path)


if __name__ == "__main__":
    main()
