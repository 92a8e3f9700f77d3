import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RainError } from "@rain/protocol";
import { extractTree, listTree } from "@rain/protocol/tree";
import {
  canaries,
  file,
  folder,
  header,
  link,
  padded,
  pax,
  seal,
  snapshot,
  stream,
  tar,
} from "../../protocol/tree-archives.ts";
import type { Random } from "../random.ts";
import { showBytes, type OpenTarget, type Outcome, type Target } from "../target.ts";

/** Archives that are taken: every kind of entry, extended headers, several blocks of data. */
const corpus: readonly Buffer[] = [
  tar(
    file("a", "first"),
    folder("b"),
    file("b/run", "x".repeat(1300), { mode: "0000755\0" }),
    pax({ path: `b/${"ü".repeat(60)}`, linkpath: "../a" }),
    link("PaxHeader", "PaxHeader"),
    folder("c"),
    file("c/empty"),
    link("d", "b/run"),
  ),
  tar(file("d/e/a", "x"), file("d/f/b", "y")),
  tar(pax({ size: "3" }), header({ name: "a" }), padded(Buffer.from("xyz"))),
  tar(pax({ mtime: "1.5", uname: "root", comment: "hi" }), file("a", "x")),
  tar(folder("d", { mode: "0001777\0" }), file("d/a", "x", { mode: "0007777\0" }), link("l", "d/a")),
];
/** Names, types, digits and ends of fields. */
const interesting = [0, 0x2e, 0x2f, 0x30, 0x31, 0x35, 0x32, 0x37, 0x39, 0x80, 0xff, 0x78, 0x67, 0x5c, 0x20];
/** Where a header has its fields: name, mode, size, checksum, type, link, magic, prefix. */
const fields = [0, 1, 2, 100, 106, 124, 134, 135, 148, 156, 157, 158, 257, 263, 345, 346];
const LIMITS = { bytes: 1_000_000, entries: 1_000 };
const pieceSizes = [1, 97, 333, 512, 700, 4_096];

function mutant(random: Random): Buffer {
  const archive = random.pick(corpus);
  let blocks: Buffer[] = Array.from({ length: archive.length / 512 }, (_, at) =>
    Buffer.from(archive.subarray(at * 512, at * 512 + 512)),
  );
  do blocks = change(blocks, random);
  while (random.oneIn(2));
  const bytes = Buffer.concat(blocks);
  return random.oneIn(8) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
}

/** Changes a byte, or copies, moves and removes blocks; often the checksum is put right, so that it gets further. */
function change(blocks: Buffer[], random: Random): Buffer[] {
  const at = random.below(blocks.length);
  const block = blocks[at];
  if (block === undefined) return blocks;
  const value = random.oneIn(3) ? random.below(256) : random.pick(interesting);
  let changed = blocks;
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2:
      block[random.pick(fields)] = value;
      break;
    case 3:
      block[random.below(512)] = value;
      break;
    case 4:
      block[random.below(160)] = value;
      break;
    case 5:
      changed = blocks.toSpliced(random.below(blocks.length), 0, Buffer.from(block));
      break;
    case 6:
      changed = blocks.toSpliced(at, 1);
      break;
    default: {
      const other = random.pick(corpus);
      const from = random.below(other.length / 512) * 512;
      changed = blocks.toSpliced(at, 0, Buffer.from(other.subarray(from, from + 512)));
    }
  }
  if (!random.oneIn(3) && block.toString("latin1", 257, 262) === "ustar") seal(block);
  return changed;
}

async function outcomeOf(work: Promise<unknown>): Promise<Outcome> {
  try {
    await work;
    return "accepted";
  } catch (error) {
    if (error instanceof RainError && ["bad-file", "limit-exceeded"].includes(error.code)) return "refused";
    throw error;
  }
}

async function list(archive: Buffer, piece: number): Promise<void> {
  for await (const _ of listTree(stream(archive, piece), LIMITS));
}

/**
 * Archives: listed, and unpacked when they were taken (and now and then when not). Both say the same, nothing but plain
 * files, folders and links comes out, and nothing outside changes.
 */
export const tarArchives: Target = {
  name: "tar",
  open: async () => {
    const root = await mkdtemp(join(tmpdir(), "rain-fuzz-tar-"));
    process.once("exit", () => rmSync(root, { recursive: true, force: true }));
    const inner = await canaries(root);
    const before = await snapshot(root);
    const into = join(inner, "tree");
    const target: OpenTarget = {
      run: async (random) => {
        const archive = mutant(random);
        const piece = random.pick(pieceSizes);
        const listed = await outcomeOf(list(archive, piece));
        if (listed === "refused" && !random.oneIn(8)) return listed;
        const unpacked = await outcomeOf(extractTree(stream(archive, piece), into, undefined, LIMITS));
        if (unpacked !== listed) throw new Error(`listed: ${listed}, unpacked: ${unpacked}`);
        if (unpacked === "refused") return unpacked;
        const odd = (await snapshot(into)).find((line) => !/^(dir 755|file (755|644)|link) /.test(line));
        if (odd !== undefined) throw new Error(`it made ${odd}`);
        await rm(into, { recursive: true });
        return unpacked;
      },
      show: (random) => showBytes(mutant(random)),
      check: async () => {
        const after = await snapshot(root);
        const changed = after.filter((line, at) => line !== before[at]);
        if (changed.length > 0 || after.length !== before.length)
          throw new Error(`outside of the tree there is ${changed.join(", ") || "something missing"}`);
      },
      close: () => rm(root, { recursive: true, force: true }),
    };
    return target;
  },
};
