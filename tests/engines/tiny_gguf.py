#!/usr/bin/env python3
"""Writes a model of a few kilobytes for llama.cpp, and LoRA adapters of it: nothing is downloaded.

    tiny_gguf.py DIR NAME...

DIR/base.gguf is a llama of one layer with random weights and bytes for tokens; it talks nonsense.
DIR/NAME.gguf adapts it so that its text is known: the first adapter makes it answer "AAAA...", the
second "BBBB...", and so on. That is how a test sees which adapter really ran. Standard library only.

Format: GGUF version 3 (docs/gguf.md of ggml), all numbers little-endian, tensors 32-bit floats.
"""
import os
import random
import struct
import sys

U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5
ALIGNMENT = 32
EMBEDDING, HEADS, HIDDEN, CONTEXT = 32, 2, 64, 4096
UNKNOWN, CONTROL, BYTE = 2, 3, 6  # Kinds of tokens.
RANK, ALPHA = 2, 2.0
LETTER_LOGIT = 60.0


def text(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return text(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f"}[kind], v)


def entry(key, kind, v):
    if isinstance(v, list):
        head = struct.pack("<IIQ", ARRAY, kind, len(v))
        return text(key) + head + b"".join(value(kind, one) for one in v)
    return text(key) + struct.pack("<I", kind) + value(kind, v)


def padded(data):
    return data + bytes(-len(data) % ALIGNMENT)


def write(path, entries, tensors):
    """tensors: name -> (dimensions, fastest first; numbers)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    head += b"".join(entry(*e) for e in entries)
    body = b""
    for name, (dims, numbers) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, len(body))
        body += padded(struct.pack(f"<{len(numbers)}f", *numbers))
    with open(path, "wb") as f:
        f.write(padded(head) + body)


def tokens():
    """(text, kind): what is none, begin, end; then one token a byte."""
    return ([("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
            + [(f"<0x{b:02X}>", BYTE) for b in range(256)])


def token_of(letter):
    return 3 + ord(letter)


def noise(rng, n, size):
    return [rng.gauss(0, size) for _ in range(n)]


def model(path):
    rng = random.Random(7)
    vocab = tokens()
    n = len(vocab)
    embedding = noise(rng, EMBEDDING * n, .3)
    # Of every token the first number is large: after all layers it is still, and adapters use it.
    embedding[::EMBEDDING] = [4.0] * n
    square = EMBEDDING * EMBEDDING
    layer = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square}
    tensors = {"token_embd.weight": ((EMBEDDING, n), embedding),
               "output_norm.weight": ((EMBEDDING,), [1.0] * EMBEDDING),
               "output.weight": ((EMBEDDING, n), noise(rng, EMBEDDING * n, .3))}
    for name, size in layer.items():
        tensors[f"blk.0.{name}.weight"] = ((EMBEDDING, EMBEDDING), noise(rng, size, .1))
    for name in ("attn_norm", "ffn_norm"):
        tensors[f"blk.0.{name}.weight"] = ((EMBEDDING,), [1.0] * EMBEDDING)
    for name in ("ffn_gate", "ffn_up"):
        tensors[f"blk.0.{name}.weight"] = ((EMBEDDING, HIDDEN), noise(rng, EMBEDDING * HIDDEN, .05))
    tensors["blk.0.ffn_down.weight"] = ((HIDDEN, EMBEDDING), noise(rng, EMBEDDING * HIDDEN, .05))
    write(path, [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "tiny"),
        ("llama.vocab_size", U32, n),
        ("llama.context_length", U32, CONTEXT),
        ("llama.embedding_length", U32, EMBEDDING),
        ("llama.block_count", U32, 1),
        ("llama.feed_forward_length", U32, HIDDEN),
        ("llama.attention.head_count", U32, HEADS),
        ("llama.attention.head_count_kv", U32, HEADS),
        ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("llama.rope.dimension_count", U32, EMBEDDING // HEADS),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", STRING, [t for t, _ in vocab]),
        ("tokenizer.ggml.scores", F32, [0.0] * n),
        ("tokenizer.ggml.token_type", I32, [k for _, k in vocab]),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.unknown_token_id", U32, 0),
    ], tensors)


def adapter(path, letter):
    """To what goes in, it adds B(A x): A takes the first number, B gives it to the letter. The
    values of the attention are changed too, so that what is cached of a prompt is the adapter's."""
    rng = random.Random(letter)
    first = [1.0] + [0.0] * (EMBEDDING - 1) + [0.0] * EMBEDDING * (RANK - 1)
    letters = [0.0] * RANK * len(tokens())
    letters[token_of(letter) * RANK] = LETTER_LOGIT
    write(path, [
        ("general.architecture", STRING, "llama"),
        ("general.type", STRING, "adapter"),
        ("general.name", STRING, "letter " + letter),
        ("adapter.type", STRING, "lora"),
        ("adapter.lora.alpha", F32, ALPHA),
    ], {
        "output.weight.lora_a": ((EMBEDDING, RANK), first),
        "output.weight.lora_b": ((RANK, len(tokens())), letters),
        "blk.0.attn_v.weight.lora_a": ((EMBEDDING, RANK), noise(rng, EMBEDDING * RANK, .1)),
        "blk.0.attn_v.weight.lora_b": ((RANK, EMBEDDING), noise(rng, EMBEDDING * RANK, .1)),
    })


def make(directory, names):
    """Paths: of the model, and of each adapter; the letter of adapter i is the i-th."""
    base = os.path.join(directory, "base.gguf")
    paths = [os.path.join(directory, name + ".gguf") for name in names]
    model(base)
    for i, path in enumerate(paths):
        adapter(path, chr(ord("A") + i))
    return base, paths


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    make(sys.argv[1], sys.argv[2:])
