import { mkdtemp, mkdir, readdir, readFile, readlink, lstat, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";

/** Raw tar blocks, written by hand: a library would refuse to write most of what is needed here. */
export interface HeaderFields {
  readonly name?: string | Buffer;
  readonly type?: string;
  readonly size?: number | string | Buffer;
  readonly mode?: string;
  readonly uid?: string;
  readonly target?: string | Buffer;
  readonly prefix?: string | Buffer;
  readonly magic?: string;
  readonly owner?: string;
  readonly checksum?: string;
  readonly mtime?: string;
}

export function header(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(512);
  const put = (value: string | Buffer, at: number): void => {
    block.set(typeof value === "string" ? Buffer.from(value) : value, at);
  };
  const { size = 0 } = fields;
  put(fields.name ?? "", 0);
  put(fields.mode ?? "0000644\0", 100);
  put(fields.uid ?? "0000000\0", 108);
  put("0000000\0", 116);
  put(typeof size === "number" ? `${size.toString(8).padStart(11, "0")}\0` : size, 124);
  put(fields.mtime ?? "00000000000\0", 136);
  put(fields.type ?? "0", 156);
  put(fields.target ?? "", 157);
  put(fields.magic ?? "ustar\x0000", 257);
  put(fields.owner ?? "", 265);
  put(fields.prefix ?? "", 345);
  seal(block);
  if (fields.checksum !== undefined) put(fields.checksum, 148);
  return block;
}

/** Writes the checksum that belongs to a header. */
export function seal(block: Buffer): void {
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
}

export const padded = (data: Buffer): Buffer =>
  Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
export const file = (name: string | Buffer, data: string | Buffer = "", more: HeaderFields = {}): Buffer => {
  const bytes = Buffer.from(data);
  return Buffer.concat([header({ name, size: bytes.length, ...more }), padded(bytes)]);
};
export const folder = (name: string, more: HeaderFields = {}): Buffer =>
  header({ name: `${name}/`, type: "5", mode: "0000755\0", ...more });
export const link = (name: string, target: string | Buffer, more: HeaderFields = {}): Buffer =>
  header({ name, type: "2", target, ...more });
export const typed = (type: string, name: string, target = ""): Buffer => header({ name, type, target });

/** One record of an extended header, with the right length. */
function record(key: string, value: string | Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from("\n")]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}
export const paxRaw = (data: string | Buffer): Buffer => {
  const bytes = Buffer.from(data);
  return Buffer.concat([header({ name: "PaxHeader", type: "x", size: bytes.length }), padded(bytes)]);
};
export const pax = (records: Readonly<Record<string, string | Buffer>>): Buffer =>
  paxRaw(Buffer.concat(Object.entries(records).map(([key, value]) => record(key, value))));

export const END: Buffer = Buffer.alloc(1024);
export const tar = (...parts: Buffer[]): Buffer => Buffer.concat([...parts, END]);

/** A stream of these bytes in pieces of `size`. */
export function stream(bytes: Buffer, size = 10_000): Readable {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
  return Readable.from(pieces, { objectMode: false });
}

export async function collect(source: AsyncIterable<unknown>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of source) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

export async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "rain-tree-"));
  try {
    await work(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** All of a folder as text lines: kind, mode, path, content; so that two can be compared. */
export async function snapshot(root: string, prefix = ""): Promise<string[]> {
  const lines: string[] = [];
  for (const name of (await readdir(join(root, prefix))).toSorted()) {
    const path = prefix === "" ? name : `${prefix}/${name}`;
    const found = await lstat(join(root, path));
    const mode = (found.mode & 0o7777).toString(8);
    if (found.isDirectory()) lines.push(`dir ${mode} ${path}`, ...(await snapshot(root, path)));
    else if (found.isSymbolicLink()) lines.push(`link ${path} -> ${await readlink(join(root, path))}`);
    else if (found.isFile())
      lines.push(`file ${mode} ${path} ${(await readFile(join(root, path))).toString("base64")}`);
    else lines.push(`other ${path}`);
  }
  return lines;
}

/** A place with files around it that no archive may touch. Returns the folder in which to unpack. */
export async function canaries(root: string): Promise<string> {
  const inner = join(root, "a", "b");
  await mkdir(inner, { recursive: true });
  for (const at of [root, join(root, "a"), inner])
    for (const name of ["canary", "evil", "passwd"]) await writeFile(join(at, name), `${at} is as it was`);
  return inner;
}
