import { PassThrough, Readable } from "node:stream";
import { createHash } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import seedrandom from "seedrandom";
import { describe, expect, test } from "vitest";
import { RainError } from "@rain/protocol";
import {
  extractTree,
  listTree,
  packToFile,
  sliceTree,
  treeLimits,
  type TreeOptions,
} from "@rain/protocol/tree";
import {
  canaries,
  collect,
  END,
  file,
  folder,
  header,
  link,
  padded,
  pax,
  paxRaw,
  seal,
  snapshot,
  stream,
  tar,
  typed,
  withFolder,
} from "./tree-archives.ts";

const long = (length: number): string => "n".repeat(length);
const nested = (depth: number): string => Array.from({ length: depth }, () => "d").join("/");
const latin1 = Buffer.from([0x63, 0x61, 0x66, 0xe9]);
const surrogate = Buffer.from([0x78, 0xed, 0xa0, 0x80]);

/** What it is, its bytes, and what the error says: the entry's name wherever one can be known. */
type Case = [what: string, archive: Buffer, says: RegExp, options?: TreeOptions];
const refused: Case[] = [
  // Names
  ["climbs out", tar(file("../evil", "x")), /"\.\.\/evil" has '\.\.'/],
  ["climbs out behind a name", tar(file("a/../../evil", "x")), /"a\/\.\.\/\.\.\/evil" has '\.\.'/],
  ["a '..' that stays inside", tar(file("a/../evil", "x")), /"a\/\.\.\/evil" has '\.\.'/],
  ["the parent itself", tar(folder("..")), /"\.\." has '\.\.'/],
  ["absolute", tar(file("/tmp/evil", "x")), /"\/tmp\/evil" has an absolute name/],
  ["absolute twice", tar(file("//evil", "x")), /"\/\/evil" has an absolute name/],
  [
    "absolute by its prefix",
    tar(file("evil", "x", { prefix: "/tmp" })),
    /"\/tmp\/evil" has an absolute name/,
  ],
  ["climbs by its prefix", tar(file("evil", "x", { prefix: ".." })), /"\.\.\/evil" has '\.\.'/],
  ["the root as '/'", tar(header({ name: "/", type: "5" })), /"" has no name/],
  ["the root as './'", tar(folder(".")), /"\." has an empty or '\.' component/],
  ["a '.' first", tar(file("./a", "x")), /"\.\/a" has an empty or '\.' component/],
  ["a '.' last", tar(file("a/.", "x")), /"a\/\." has an empty or '\.' component/],
  ["an empty component", tar(file("a//b", "x")), /"a\/\/b" has an empty/],
  ["two slashes at the end", tar(folder("a/")), /"a\/" has an empty/],
  ["no name", tar(file("", "x")), /"" has no name/],
  ["a file with a slash at its end", tar(file("a/", "x")), /"a\/" has an empty/],
  ["a backslash", tar(file("..\\evil", "x")), /"\.\.\\\\evil" contains a backslash/],
  ["a drive", tar(file("C:\\evil", "x")), /contains a backslash/],
  ["a long component", tar(pax({ path: long(256) }), file("x")), /component of more than 255 bytes/],
  ["a long component in bytes", tar(pax({ path: "ä".repeat(128) }), file("x")), /more than 255 bytes/],
  ["a long path", tar(pax({ path: `${`${long(200)}/`.repeat(21)}x` }), file("x")), /longer than 4096 bytes/],
  ["a deep path", tar(pax({ path: nested(65) }), file("x")), /"d\/d\/.*deeper than 64 folders/],
  ["a name in Latin-1", tar(file(latin1, "x")), /not valid UTF-8/],
  ["a prefix in Latin-1", tar(file("a", "x", { prefix: latin1 })), /not valid UTF-8/],
  ["a surrogate in a name", tar(file(surrogate, "x")), /not valid UTF-8/],
  ["PAX: climbs out", tar(pax({ path: "../evil" }), file("good", "x")), /"\.\.\/evil" has '\.\.'/],
  ["PAX: absolute", tar(pax({ path: "/tmp/evil" }), file("good", "x")), /"\/tmp\/evil" has an absolute/],
  ["PAX: NUL", tar(pax({ path: "evil\0.txt" }), file("good", "x")), /"path" with a NUL/],
  ["PAX: not UTF-8", tar(pax({ path: latin1 }), file("good", "x")), /not valid UTF-8/],
  ["PAX: empty path", tar(pax({ path: "" }), file("good", "x")), /"path" without a value/],
  // Order, twice the same, one beneath the other
  ["the same file twice", tar(file("a", "1"), file("a", "2")), /"a" is there twice/],
  ["the same folder twice", tar(folder("a"), folder("a")), /"a" is there twice/],
  ["a folder and a file", tar(folder("a"), file("a", "x")), /"a" is there twice/],
  ["a link and a file", tar(link("a", "b"), file("a", "x")), /"a" is there twice/],
  ["the same file again later", tar(file("a", "1"), file("b"), file("a", "2")), /"a" comes after "b"/],
  ["not sorted", tar(file("b"), file("a")), /"a" comes after "b"/],
  ["sorted as text, not by bytes", tar(file("\u{1f600}"), file("\uff5e")), /comes after "\u{1f600}"/u],
  ["beneath a file", tar(file("a", "x"), file("a/b", "x")), /"a\/b" is beneath "a", which is a file/],
  ["beneath a file, neighbours between", tar(file("a"), file("a.b"), file("a/b")), /"a\/b" is beneath "a"/],
  ["deep beneath a file", tar(file("a", "x"), file("a/b/c/d", "x")), /"a\/b\/c\/d" is beneath "a"/],
  [
    "through a link",
    tar(folder("d"), link("l", "d"), file("l/evil", "x")),
    /"l\/evil" is beneath "l", which is a link/,
  ],
  ["a folder given late", tar(file("a/b"), folder("a")), /"a" comes after "a\/b"/],
  // Links
  ["link: absolute", tar(link("l", "/etc/passwd")), /"l" has an absolute target.*\/etc\/passwd/],
  ["link: out", tar(link("l", "../passwd")), /"l" leads out of the tree.*"\.\.\/passwd"/],
  ["link: out, deep", tar(folder("a"), link("a/l", "../../passwd")), /"a\/l" leads out/],
  ["link: behind '.'", tar(link("l", "./../passwd")), /"l" leads out/],
  [
    "link: climbs behind a name",
    tar(folder("a"), link("l", "a/../../passwd")),
    /"l" has '\.\.' after a name/,
  ],
  [
    "link: climbs behind another link",
    tar(folder("a"), folder("a/b"), link("a/b/up", "../.."), link("l", "a/b/up/..")),
    /"l" has '\.\.' after a name/,
  ],
  ["link: no target", tar(link("l", "")), /"l" has no target/],
  ["link: backslash", tar(link("l", "..\\passwd")), /"l" has a target that contains a backslash/],
  ["link: not UTF-8", tar(link("l", latin1)), /not valid UTF-8/],
  ["link: NUL by PAX", tar(pax({ linkpath: "a\0b" }), link("l", "a")), /"linkpath" with a NUL/],
  ["link: out by PAX", tar(pax({ linkpath: "../../etc/passwd" }), link("l", "a")), /"l" leads out/],
  [
    "link: a long target",
    tar(pax({ linkpath: "x/".repeat(2100) }), link("l", "a")),
    /"l" has a target that is longer/,
  ],
  ["link: a long component", tar(pax({ linkpath: long(256) }), link("l", "a")), /255 bytes in its target/],
  ["link with a size", tar(link("l", "a", { size: 512 })), /"l" is a link and yet has 512 bytes/],
  [
    "link that swallows a header",
    tar(link("l", "a", { size: 512 }), file("m")),
    /"l" is a link and yet has 512/,
  ],
  ["link with a PAX size", tar(pax({ size: "512" }), link("l", "a")), /"l" is a link and yet has 512/],
  ["hard link inside", tar(file("a", "x"), typed("1", "b", "a")), /"b" is a hard link/],
  ["hard link outside", tar(typed("1", "b", "/etc/passwd")), /"b" is a hard link/],
  [
    "two links and a hard link",
    tar(link("a", "."), link("b", "a"), typed("1", "c", "b/../evil")),
    /"c" is a hard link/,
  ],
  // Types
  ["character device", tar(typed("3", "tty")), /"tty" is a character device/],
  ["block device", tar(typed("4", "sda")), /"sda" is a block device/],
  ["FIFO", tar(typed("6", "pipe")), /"pipe" is a FIFO/],
  ["contiguous file", tar(typed("7", "c")), /"c" is a contiguous file/],
  ["sparse file", tar(typed("S", "s")), /"s" is a sparse file/],
  ["GNU long name", tar(typed("L", "././@LongLink")), /a GNU long name/],
  ["GNU long link", tar(typed("K", "././@LongLink")), /a GNU long link name/],
  ["GNU dump folder", tar(typed("D", "dump")), /"dump" is of the unknown type "D"/],
  ["GNU volume", tar(typed("V", "label")), /"label" is of the unknown type "V"/],
  ["GNU multi-volume", tar(typed("M", "part")), /"part" is of the unknown type "M"/],
  ["Solaris extended header", tar(typed("X", "acl")), /"acl" is of the unknown type "X"/],
  ["global header", tar(typed("g", "global")), /"global" is a global extended header/],
  ["unknown type", tar(typed("Z", "z")), /"z" is of the unknown type "Z"/],
  ["control character as type", tar(typed("\x01", "z")), /"z" is of the unknown type "\\u0001"/],
  // Sizes
  ["folder with a size", tar(folder("d", { size: 512 })), /"d\/" is a directory and yet has 512 bytes/],
  [
    "folder with data",
    tar(folder("d", { size: 5 }), padded(Buffer.from("hello"))),
    /"d\/" is a directory and yet/,
  ],
  ["folder with a PAX size", tar(pax({ size: "7" }), folder("d")), /"d\/" is a directory and yet has 7/],
  ["negative size", tar(header({ name: "f", size: Buffer.alloc(12, 0xff) })), /"f" has a malformed size/],
  ["minus in a size", tar(header({ name: "f", size: "-0000000001\0" })), /"f" has a malformed size/],
  ["huge size", tar(header({ name: "f", size: Buffer.alloc(12, 0x80) })), /"f" has a malformed size/],
  [
    "a size of 2^53",
    tar(header({ name: "f", size: Buffer.from("800000000020000000000000", "hex") })),
    /malformed size/,
  ],
  ["letters in a size", tar(header({ name: "f", size: "00000000x00\0" })), /"f" has a malformed size/],
  ["a size of 9s", tar(header({ name: "f", size: "00000000009\0" })), /"f" has a malformed size/],
  ["no size", tar(header({ name: "f", size: "           \0" })), /"f" has a malformed size/],
  [
    "more than there is",
    tar(header({ name: "f", size: 8_589_934_591 }), END),
    /cut off at or after entry "f"/,
  ],
  [
    "more than allowed",
    tar(header({ name: "f", size: 2_000_000 })),
    /"f" has 2000000 bytes/,
    { bytes: 1_000_000 },
  ],
  ["PAX size 1e9", tar(pax({ size: "1e9" }), file("f", "x")), /"size" with "1e9", which is no size/],
  ["PAX size negative", tar(pax({ size: "-1" }), file("f", "x")), /with "-1", which is no size/],
  ["PAX size hexadecimal", tar(pax({ size: "0x10" }), file("f", "x")), /with "0x10", which is no size/],
  ["PAX size with blanks", tar(pax({ size: " 1" }), file("f", "x")), /with " 1", which is no size/],
  ["PAX size empty", tar(pax({ size: "" }), file("f", "x")), /with "", which is no size/],
  ["PAX size huge", tar(pax({ size: "9".repeat(16) }), file("f", "x")), /which is no size/],
  [
    "PAX size of 15 digits",
    tar(pax({ size: "9".repeat(15) }), file("f")),
    /cut off at or after|"f" has 9{15} bytes/,
  ],
  ["PAX size that differs", tar(pax({ size: "2" }), file("f", "x")), /"f" has two sizes, 1 and 2/],
  // Extended headers
  ["PAX: length 0", tar(paxRaw("0 path=evil\n"), file("f")), /malformed extended header/],
  ["PAX: length too large", tar(paxRaw("99 path=evil\n"), file("f")), /malformed extended header/],
  ["PAX: length too small", tar(paxRaw("5 path=evil\n"), file("f")), /malformed extended header/],
  ["PAX: length with zeros", tar(paxRaw("013 path=evil\n"), file("f")), /malformed extended header/],
  ["PAX: length with a sign", tar(paxRaw("+13 path=evil\n"), file("f")), /malformed extended header/],
  ["PAX: no length", tar(paxRaw("path=evil\n"), file("f")), /malformed extended header/],
  ["PAX: no newline", tar(paxRaw("13 path=evil!"), file("f")), /malformed extended header/],
  ["PAX: no '='", tar(paxRaw("11 pathevl\n"), file("f")), /malformed extended header/],
  ["PAX: no key", tar(paxRaw("8 =evil\n"), file("f")), /malformed extended header/],
  ["PAX: NULs", tar(paxRaw(Buffer.alloc(100)), file("f")), /malformed extended header/],
  ["PAX: a key twice", tar(paxRaw("9 path=a\n9 path=b\n"), file("f")), /"path" twice/],
  ["PAX: empty", tar(paxRaw(""), file("f")), /extended header after entry "" is empty/],
  ["PAX: two in a row", tar(pax({ path: "a" }), pax({ path: "../evil" }), file("f")), /two extended headers/],
  ["PAX: no entry after it", tar(file("f"), pax({ path: "evil" })), /without its entry \(after "f"\)/],
  [
    "PAX: too long",
    tar(file("f"), pax({ comment: long(70_000) }), file("g")),
    /after entry "f" has 70\d+ bytes/,
  ],
  [
    "PAX: 4 GiB",
    tar(header({ name: "p", type: "x", size: 2 ** 32 })),
    /has 4294967296 bytes; 65536 are allowed/,
  ],
  [
    "PAX: sparse",
    tar(pax({ "GNU.sparse.major": "1" }), file("f")),
    /"GNU\.sparse\.major" which is not supported/,
  ],
  [
    "PAX: sparse name",
    tar(pax({ "GNU.sparse.name": "../evil" }), file("f")),
    /"GNU\.sparse\.name" which is not/,
  ],
  [
    "PAX: character set",
    tar(pax({ hdrcharset: "BINARY" }), file("f")),
    /"hdrcharset" which is not supported/,
  ],
  ["PAX: attributes", tar(pax({ "SCHILY.xattr.user.x": "1" }), file("f")), /which is not supported/],
  [
    "PAX: __proto__",
    tar(pax({ ["__proto__"]: "x" }), paxRaw("17 __proto__=evil\n"), file("f")),
    /__proto__|is empty/,
  ],
  // The archive as a whole
  ["nothing", Buffer.alloc(0), /ends before its first entry/],
  ["half a header", file("a", "x").subarray(0, 300), /ends before its first entry/],
  ["no end", file("a", "x"), /cut off at or after entry "a"/],
  ["one zero block", Buffer.concat([file("a", "x"), Buffer.alloc(512)]), /cut off at or after entry "a"/],
  [
    "no padding",
    Buffer.concat([header({ name: "a", size: 1 }), Buffer.from("x")]),
    /cut off at or after entry "a"/,
  ],
  [
    "an entry behind a zero block",
    tar(file("a"), Buffer.alloc(512), file("b")),
    /after a zero block \(last entry "a"\)/,
  ],
  [
    "bytes behind the end",
    Buffer.concat([tar(file("a")), Buffer.from("more")]),
    /after its end \(last entry "a"\)/,
  ],
  ["an entry behind the end", Buffer.concat([tar(file("a")), tar(file("../evil"))]), /after its end/],
  ["zeros behind the end", Buffer.concat([tar(file("a")), Buffer.alloc(8192)]), /after its end/],
  [
    "a wrong checksum",
    tar(header({ name: "a", checksum: "000001\0 " })),
    /first header has a wrong checksum/,
  ],
  [
    "a signed checksum",
    tar(file("a"), header({ name: "b", checksum: "-00001\0 " })),
    /after entry "a" has a wrong/,
  ],
  [
    "an empty header with a checksum",
    tar(Buffer.concat([Buffer.alloc(148), Buffer.from("7"), Buffer.alloc(363)])),
    /not of a POSIX tar/,
  ],
  ["GNU format", tar(file("a", "x", { magic: "ustar  \0" })), /not of a POSIX tar/],
  ["format of 1979", tar(file("a", "x", { magic: "" })), /not of a POSIX tar/],
  ["another version", tar(file("a", "x", { magic: "ustar\x0001" })), /not of a POSIX tar/],
  ["gzip", Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(2044, 7)]), /not of a POSIX tar/],
  ["letters in a mode", tar(file("a", "x", { mode: "rwxr-xr\0" })), /"a" has a malformed mode/],
  [
    "ten long names in one another",
    tar(...Array.from({ length: 10 }, (_, at) => pax({ path: `${"d/".repeat(at)}${long(300)}` })), file("f")),
    /two extended headers|more than 255 bytes/,
  ],
  [
    "long names of GNU, ten deep",
    tar(...Array.from({ length: 10 }, () => typed("L", "././@LongLink")), file("f")),
    /a GNU long name/,
  ],
  ["setuid on a link out", tar(link("l", "/bin/sh", { mode: "0004755\0" })), /"l" has an absolute target/],
  ["the same name in two Unicode forms, not in order", tar(file("é"), file("e\u0301")), /comes after/],
  [
    "the same name by PAX and by header",
    tar(pax({ path: "a" }), file("b", "x"), file("a", "y")),
    /"a" is there twice/,
  ],
  ["a device behind a good file", tar(file("a", "x"), typed("3", "b")), /"b" is a character device/],
  [
    "a FIFO with data",
    tar(header({ name: "p", type: "6", size: 4 }), padded(Buffer.from("data"))),
    /"p" is a FIFO/,
  ],
  // Limits
  ["too many entries", tar(file("a"), file("b"), file("c")), /more than 2 entries, at "c"/, { entries: 2 }],
  ["too many bytes", tar(file("a", long(5000))), /larger than|more than the 4096/, { bytes: 4096 }],
  [
    "links as a memory bomb",
    tar(link("a", long(90)), link("b", long(90))),
    /links up to "b"/,
    { linkBytes: 400 },
  ],
];

test("R9: the corpus is large enough", () => {
  expect(refused.length).toBeGreaterThanOrEqual(60);
});

describe.each<Case>(refused)("case 34: %s", (_what, archive, says, options = {}) => {
  test("is refused by name, and touches nothing", async () => {
    await withFolder(async (root) => {
      const inner = await canaries(root);
      const before = await snapshot(root);
      for (const piece of [archive.length + 1, 512, 333]) {
        const failed = await failure(
          extractTree(stream(archive, piece), join(inner, "tree"), undefined, options),
        );
        expect(failed).toBeInstanceOf(RainError);
        expect((failed as RainError).code).toMatch(/^(bad-file|limit-exceeded)$/);
        expect((failed as RainError).message).toMatch(says);
        expect(await snapshot(root)).toEqual(before);
      }
      if (options.linkBytes === undefined) {
        const listed = await failure(collectEntries(archive, options));
        expect((listed as RainError).message).toMatch(says);
      }
    });
  });
});

const cleaned: readonly (readonly [what: string, archive: Buffer, gives: readonly string[]])[] = [
  ["setuid, setgid, sticky", tar(file("a", "x", { mode: "0007777\0" })), ["file 755 a eA=="]],
  ["setuid without execution", tar(file("a", "x", { mode: "0006644\0" })), ["file 644 a eA=="]],
  [
    "writable by all",
    tar(folder("d", { mode: "0001777\0" }), file("d/a", "x", { mode: "0000666\0" })),
    ["dir 755 d", "file 644 d/a eA=="],
  ],
  [
    "no rights at all",
    tar(folder("d", { mode: "0000000\0" }), file("d/a", "", { mode: "0000000\0" })),
    ["dir 755 d", "file 644 d/a "],
  ],
  [
    "owners and times",
    tar(file("a", "x", { uid: "0001750\0", owner: "root", mtime: "14000000000\0" })),
    ["file 644 a eA=="],
  ],
  [
    "PAX keys without effect",
    tar(pax({ mtime: "1.5", uname: "root", comment: "hi" }), file("a", "x")),
    ["file 644 a eA=="],
  ],
  ["a type of NUL", tar(file("a", "x", { type: "\0" })), ["file 644 a eA=="]],
  [
    "no entries for parents",
    tar(file("d/e/a", "x"), file("d/f/b", "y")),
    ["dir 755 d", "dir 755 d/e", "file 644 d/e/a eA==", "dir 755 d/f", "file 644 d/f/b eQ=="],
  ],
  [
    "a PAX size where the header has none",
    tar(pax({ size: "3" }), header({ name: "a" }), padded(Buffer.from("xyz"))),
    ["file 644 a eHl6"],
  ],
  [
    "a size in base 256",
    tar(
      header({ name: "a", size: Buffer.from("800000000000000000000003", "hex") }),
      padded(Buffer.from("xyz")),
    ),
    ["file 644 a eHl6"],
  ],
  ["nothing in it", tar(), []],
];
test.each(cleaned)("case 34: %s: taken, without harm", async (_what, archive, gives) => {
  await withFolder(async (root) => {
    await extractTree(stream(archive, 500), join(root, "tree"));
    expect(await snapshot(join(root, "tree"))).toEqual(gives);
  });
});

/** With every kind of entry, extended headers, several blocks of data. */
const sample = tar(
  file("a", "first"),
  folder("b"),
  file("b/run", long(1300), { mode: "0000755\0" }),
  pax({ path: `b/${"ü".repeat(60)}`, linkpath: "../a" }),
  link("PaxHeader", "PaxHeader"),
  folder("c"),
  file("c/empty"),
  link("d", "b/run"),
);

test("R9: a tar cut at any 512 bytes is refused, with and without its envelope", async () => {
  await withFolder(async (root) => {
    const envelope = { size: sample.length, sha256: createHash("sha256").update(sample).digest("hex") };
    await extractTree(stream(sample), join(root, "whole"), envelope);
    const before = await snapshot(root);
    for (let at = 0; at < sample.length; at += 512) {
      const cut = sample.subarray(0, at);
      expect(await failure(extractTree(stream(cut), join(root, "x"))), `cut at ${at}`).toMatchObject({
        code: "bad-file",
      });
      const known = extractTree(stream(cut), join(root, "x"), envelope);
      expect(await failure(known), `cut at ${at}`).toMatchObject({ code: "bad-digest" });
      expect(await failure(packToFile(stream(cut), join(root, "x"))), `cut at ${at}`).toMatchObject({
        code: "bad-file",
      });
    }
    expect(await snapshot(root)).toEqual(before);
  });
});

test("case 33: a tar cut exactly between two entries is refused, and so is one with an end put there", async () => {
  const entries = [
    file("a", "first"),
    folder("b"),
    file("b/c", long(1300)),
    link("d", "b/c"),
    file("e", "last"),
  ];
  const whole = tar(...entries);
  const envelope = { size: whole.length, sha256: createHash("sha256").update(whole).digest("hex") };
  await withFolder(async (root) => {
    const inner = await canaries(root);
    const before = await snapshot(root);
    for (let count = 0; count < entries.length; count++) {
      const first = Buffer.concat(entries.slice(0, count));
      // The source died there.
      const cut = await failure(extractTree(stream(first), join(inner, "tree"), envelope));
      expect(cut, `after ${count} entries`).toMatchObject({ code: "bad-digest" });
      const unknown = await failure(extractTree(stream(first), join(inner, "tree")));
      expect((unknown as Error).message).toMatch(/cut off at or after entry|ends before its first entry/);
      // A good archive, but not the one that was promised.
      const ended = await failure(
        extractTree(stream(tar(...entries.slice(0, count))), join(inner, "tree"), envelope),
      );
      expect(ended, `ended after ${count} entries`).toMatchObject({ code: "bad-digest" });
      expect(await snapshot(root)).toEqual(before);
    }
    await extractTree(stream(whole), join(inner, "tree"), envelope);
  });
});

test(
  "case 34: an archive of more entries than the limit, a million, is refused at the entry over it",
  { timeout: 120_000 },
  async () => {
    expect(treeLimits.entries).toBe(1_000_000);
    // A twentieth of it: the same code, and seconds less.
    const limit = treeLimits.entries / 20;
    let made = 0;
    const name = (at: number): string => `f${String(at).padStart(7, "0")}`;
    // Headers of files in order, a thousand at a time, with their checksums put right.
    const source = Readable.from(
      (function* () {
        const block = header({ name: name(0) });
        for (let at = 0; at <= limit + 5_000; at += 1_000) {
          const piece = Buffer.alloc(512 * 1_000);
          for (let index = 0; index < 1_000; index++) {
            block.write(name(at + index), 0);
            seal(block);
            piece.set(block, index * 512);
          }
          made += 1_000;
          yield piece;
        }
      })(),
      { objectMode: false },
    );
    const error = await failure(collect(sliceTree(source, "zz/none/", { entries: limit })));
    expect(error).toMatchObject({ code: "limit-exceeded" });
    expect((error as Error).message).toContain(`more than ${limit} entries, at "${name(limit)}"`);
    expect(made).toBeLessThanOrEqual(limit + 5_000);
  },
);

test(
  "R9: mutated archives are refused or harmless, and listing and unpacking agree",
  { timeout: 120_000 },
  async () => {
    await withFolder(async (root) => {
      const inner = await canaries(root);
      const before = await snapshot(root);
      let accepted = 0;
      for (let seed = 0; seed < 4000; seed++) {
        const mutant = mutate(sample, seedrandom(`tree ${seed}`));
        const listed = await failure(collectEntries(mutant, { bytes: 1e6 }));
        if (listed !== undefined) expect(listed, `seed ${seed}`).toBeInstanceOf(RainError);
        if (listed !== undefined && seed % 8 > 0) continue;
        const into = join(inner, "tree");
        const failed = await failure(extractTree(stream(mutant, 700), into, undefined, { bytes: 1e6 }));
        // Which of two faults is met first may differ; whether there is one may not.
        expect(failed === undefined, `seed ${seed}`).toBe(listed === undefined);
        if (failed !== undefined) expect(failed, `seed ${seed}`).toBeInstanceOf(RainError);
        if (failed !== undefined) continue;
        accepted++;
        for (const line of await snapshot(into))
          expect(line, `seed ${seed}`).toMatch(/^(dir 755|file (755|644)|link) /);
        await rm(into, { recursive: true });
      }
      expect(accepted).toBeGreaterThan(0);
      expect(await snapshot(root)).toEqual(before);
    });
  },
);

test("a sender that stops is noticed", async () => {
  await withFolder(async (root) => {
    for (const bytes of [0, 300, 512, 700, 2000, sample.length]) {
      const source = new PassThrough();
      source.write(sample.subarray(0, bytes));
      const failed = await failure(extractTree(source, join(root, "tree"), undefined, { idleMs: 100 }));
      expect(failed).toMatchObject({ code: "timeout" });
      expect(source.destroyed).toBe(true);
    }
    expect(await readdir(root)).toEqual([]);
  });
});

test("a source that fails passes its error on, and nothing stays", async () => {
  await withFolder(async (root) => {
    const source = new PassThrough();
    source.write(sample.subarray(0, 1200));
    const extracted = failure(extractTree(source, join(root, "tree")));
    setImmediate(() => source.destroy(new Error("the line is cut")));
    expect(await extracted).toMatchObject({ message: "the line is cut" });
    const early = new PassThrough();
    early.destroy(new Error("dead at once"));
    expect(await failure(extractTree(early, join(root, "tree")))).toMatchObject({ message: "dead at once" });
    expect(await readdir(root)).toEqual([]);
  });
});

test("the envelope decides: another digest, more bytes, fewer bytes", async () => {
  await withFolder(async (root) => {
    const sha256 = createHash("sha256").update(sample).digest("hex");
    const wrong = extractTree(stream(sample), join(root, "t"), {
      size: sample.length,
      sha256: "0".repeat(64),
    });
    expect(await failure(wrong)).toMatchObject({ code: "bad-digest" });
    const longer = extractTree(stream(sample), join(root, "t"), { size: sample.length - 512, sha256 });
    expect(await failure(longer)).toMatchObject({ code: "bad-digest" });
    const shorter = extractTree(stream(sample), join(root, "t"), { size: sample.length + 512, sha256 });
    expect(await failure(shorter)).toMatchObject({ code: "bad-digest" });
    const huge = extractTree(stream(sample), join(root, "t"), { size: 2 ** 60, sha256 });
    expect(await failure(huge)).toMatchObject({ code: "limit-exceeded" });
    expect(await readdir(root)).toEqual([]);
  });
});

test("a slice is held to the same rules", async () => {
  for (const [what, archive, says, options] of refused) {
    if (options?.linkBytes !== undefined) continue;
    const message = await failure(collect(sliceTree(stream(archive), "zz/none/", options)));
    expect((message as Error).message, what).toMatch(says);
  }
});

async function failure(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  return undefined;
}

async function collectEntries(archive: Buffer, options: TreeOptions): Promise<number> {
  let count = 0;
  for await (const _entry of listTree(stream(archive, 700), options)) count++;
  return count;
}

/** Changes bytes, or copies, moves and removes blocks; checksums are put right half of the time, so that it gets further. */
function mutate(archive: Buffer, random: () => number): Buffer {
  const pick = (n: number): number => Math.floor(random() * n);
  let blocks = Array.from({ length: archive.length / 512 }, (_, at) =>
    Buffer.from(archive.subarray(at * 512, at * 512 + 512)),
  );
  for (let changes = 1 + pick(3); changes > 0; changes--) {
    const at = pick(blocks.length);
    const block = blocks[at];
    if (block === undefined) continue;
    const kind = pick(6);
    const interesting = [0, 0x2e, 0x2f, 0x30, 0x35, 0x32, 0x37, 0x80, 0xff, 0x78, 0x5c, 0x20];
    if (kind < 3)
      block[[pick(160), pick(512), 156][kind] ?? 0] = interesting[pick(interesting.length)] ?? pick(256);
    else if (kind === 3) blocks.splice(pick(blocks.length), 0, Buffer.from(block));
    else if (kind === 4) blocks.splice(at, 1);
    else blocks = [...blocks.slice(0, at), ...blocks.slice(at).toReversed()];
    if (random() < 0.6 && block.toString("latin1", 257, 262) === "ustar") seal(block);
  }
  return Buffer.concat(blocks);
}
