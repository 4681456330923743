#!/usr/bin/env python3
"""The rules of the house that a machine can check. Standard library only.

    tests/lint/lint.py [--root DIR] CHECK...

CHECK is includes, names, words, proto, links or format. Prints FILE:LINE: what is wrong; exits 1 if
anything is, 77 if a tool that the check needs is absent (CTest shows that as skipped).
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

# Put together here, so that this file does not hold what it forbids.
BAD_WORDS = ["TO" + "DO", "FIX" + "ME"]
BAD_PATHS = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/fa" + "rm/", "/tmp/rese" + "arch"]
BAD_NOUNS = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "types", "impl"}
NAME_EXEMPT = {"proto/shunt/v1/common.proto"}
TEXT = (".c", ".h", ".py", ".txt", ".md", ".proto", ".sh", ".yaml", ".yml", ".cmake", ".cfg",
        ".service", ".in", "")


def tracked(root):
    """Every file of the tree, as paths from its root: what git knows, or, in an unpacked archive,
    what lies there."""
    try:
        out = subprocess.run(["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        files = [f.decode() for f in out.split(b"\0") if f]
    except (OSError, subprocess.CalledProcessError):
        files = []
    if not files:  # No git, no repository, or a tree unpacked inside somebody else's.
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if not f.startswith((".", "build", "__pycache__"))]
            files += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted(f for f in files if os.path.isfile(os.path.join(root, f)))


def lines_of(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read().split("\n")


class Rooms:
    def __init__(self, path):
        self.rooms, self.headers = {}, []
        with open(path, encoding="utf-8") as f:
            for line in f:
                line = line.split("#")[0].strip()
                if not line:
                    continue
                kind, rest = line.split(None, 1)
                name, _, allowed = rest.partition(":")
                if kind == "room":
                    self.rooms[name.strip()] = allowed.split()
                elif kind == "header":
                    self.headers.append((name.strip(), allowed.split()))
                else:
                    raise SystemExit(f"{path}: unknown line: {line}")

    def room_of(self, path):
        folder = os.path.dirname(path)
        while folder and folder not in self.rooms:
            folder = os.path.dirname(folder)
        return folder or None


def within(path, folders):
    """Whether path lies in one of the folders; tests/unit/store counts as state/store."""
    for folder in folders:
        if path.startswith(folder + "/"):
            return True
        if path.startswith("tests/unit/" + os.path.basename(folder) + "/"):
            return True
    return False


def check_quoted(root, rooms, path, name, known):
    if name.endswith(".pb-c.h"):
        room = rooms.room_of(path)
        allowed = rooms.rooms.get(room, [])
        if room in ("proto", "proto/form") or "proto" in allowed or "*" in allowed:
            return None
        return f"{room} may not include the generated {name}"
    if name.startswith(".") or name not in known:
        return f'"{name}" is not written from the root of the repository'
    here, there = rooms.room_of(path), rooms.room_of(name)
    if here is None:
        return f"{os.path.dirname(path) or 'the root'} is no room; add it to rooms.txt"
    if there is None:
        return f'"{name}" lies in no room'
    if here == there or "*" in rooms.rooms[here] or there in rooms.rooms[here]:
        return None
    return f"{here} may not include {there} ({name})"


def check_angled(rooms, path, name):
    for prefix, folders in rooms.headers:
        if name.startswith(prefix) and not within(path, folders):
            return f"<{name}> belongs to {', '.join(folders)} only"
    return None


def includes(root, files):
    rooms = Rooms(os.path.join(root, "tests/lint/rooms.txt"))
    known = set(files)
    # A header that somebody is about to commit is no reason to fail on the one who includes it.
    on_disk = lambda name: os.path.isfile(os.path.join(root, name))
    pattern = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
    for path in files:
        if not path.endswith((".c", ".h")):
            continue
        for n, line in enumerate(lines_of(root, path), 1):
            m = pattern.match(line)
            if not m:
                continue
            quoted, name = m.group(1) == '"', m.group(2)
            if quoted and "/" in name and not name.startswith(".") and on_disk(name):
                known.add(name)
            said = (check_quoted(root, rooms, path, name, known) if quoted
                    else check_angled(rooms, path, name))
            if said:
                yield f"{path}:{n}: {said}"


def names(root, files):
    for path in files:
        stem = os.path.basename(path).split(".")[0]
        bad = BAD_NOUNS & set(re.split(r"[_-]", stem.lower()))
        if bad and path not in NAME_EXEMPT and path.endswith((".c", ".h", ".py", ".proto")):
            yield f"{path}:1: a file called {bad.pop()} has no noun: what is in it?"


def words(root, files):
    word = re.compile(r"\b(" + "|".join(BAD_WORDS) + r")\b")
    place = re.compile("|".join(r"(?<![\w.$}])" + re.escape(p) for p in BAD_PATHS))
    for path in files:
        if os.path.splitext(path)[1] not in TEXT or path.endswith((".jsonl", ".gz")):
            continue
        for n, line in enumerate(lines_of(root, path), 1):
            if m := word.search(line):
                yield f"{path}:{n}: {m.group(1)}: do it, or say in words what is missing and when"
            if m := place.search(line):
                yield f"{path}:{n}: {m.group(0)}: a path of one machine"


def proto(root, files):
    """A field or a method says what it means: behind it, or on the lines just before."""
    entry = re.compile(r"(?:^|\{)\s*(rpc\s+\w+|(?:optional|required|repeated)\s+[\w.]+\s+\w+\s*=|"
                       r"map\s*<[^>]*>\s*\w+\s*=)")
    for path in files:
        if not (path.startswith("proto/shunt/") and path.endswith(".proto")):
            continue
        before = ""
        for n, line in enumerate(lines_of(root, path), 1):
            code, slashes, comment = line.partition("//")
            if (m := entry.search(code)) and not comment.strip() and not before.startswith("//"):
                yield f"{path}:{n}: {m.group(1).strip(' =')}: no comment says what it means"
            before = line.strip()


def anchor(heading):
    """What a reader's browser makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def dead_link(root, path, link, known):
    """Why a link of a Markdown file leads nowhere, or None; other sites are not asked."""
    if re.match(r"[a-z]+:", link):
        return None
    name, _, heading = link.partition("#")
    target = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
    if target not in known:
        return f"{link}: there is no {target}"
    if heading and target.endswith(".md"):
        titles = {anchor(l.lstrip("#")) for l in lines_of(root, target) if re.match(r"#+ ", l)}
        if heading not in titles:
            return f"{link}: no heading of {target} is called that"
    return None


def links(root, files):
    """A Markdown file leads only to what is there, and has no two blank lines in a row."""
    known = set(files)
    for path in files:  # And every folder that holds one.
        while path := os.path.dirname(path):
            known.add(path)
    named = re.compile(r"(?<![\w/.<-])((?:proto|state|server|client|tests|deploy)/[\w./-]*\w)(?![\w*{/])")
    for path in [f for f in files if f.endswith(".md")]:
        before = None
        for n, line in enumerate(lines_of(root, path)[:-1], 1):
            if not line.strip() and before is not None and not before.strip():
                yield f"{path}:{n}: two blank lines in a row"
            before = line
            for link in re.findall(r"\]\(([^)\s]+)\)", line):
                if said := dead_link(root, path, link, known):
                    yield f"{path}:{n}: {said}"
            for name in named.findall(line):  # server/rpc/codec stands for its .c and .h.
                near = os.path.normpath(os.path.join(os.path.dirname(path), name))
                if not {name, name + ".c", name + ".h", near} & known:
                    yield f"{path}:{n}: there is no {name}"


def format_(root, files):
    tool = shutil.which("clang-format")
    if not tool:
        print("clang-format is not installed: skipped")
        sys.exit(77)
    sources = [f for f in files if f.endswith((".c", ".h"))]
    for i in range(0, len(sources), 50):
        out = subprocess.run([tool, "--dry-run", "-Werror"] + sources[i:i + 50], cwd=root,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             check=False)
        for line in out.stdout.splitlines():
            if re.match(r"\S+:\d+:\d+: (error|warning)", line):
                yield line


CHECKS = {"includes": includes, "names": names, "words": words, "proto": proto,
          "links": links, "format": format_}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), "..", ".."))
    parser.add_argument("check", nargs="+", choices=CHECKS)
    args = parser.parse_args()
    root = os.path.realpath(args.root)
    files = tracked(root)
    found = 0
    for check in args.check:
        for line in CHECKS[check](root, files):
            print(line)
            found += 1
    print(f"{len(files)} files, {found} found")
    sys.exit(1 if found or not files else 0)


if __name__ == "__main__":
    main()
