import { clientRequest, governorMessage, limits, RainError } from "@rain/protocol";
import { decode, encode, messageBounds, parse } from "@rain/protocol/codec";
import { describe, expect, test } from "vitest";

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(" ", ""), "hex");
const u32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
};
const list = (count: number, body: Uint8Array): Buffer => Buffer.concat([Buffer.of(0xdd), u32(count), body]);
const repeat = (part: Uint8Array, times: number): Buffer => Buffer.alloc(part.length * times, part);

function refusal(act: () => unknown): RainError {
  try {
    act();
  } catch (error) {
    if (error instanceof RainError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("encode", () => {
  test("is plain msgpack", () => {
    expect(encode({ type: "leaving" })).toEqual(Buffer.from(hex("81 a4 74797065 a7 6c656176696e67")));
    expect(Buffer.from(encode({ a: [1, -1, 1.5, null, true], b: Uint8Array.of(9) })).toString("hex")).toBe(
      "82a1619501ffcb3ff8000000000000c0c3a162c40109",
    );
  });
  test("integers beyond 32 bits are integers", () => {
    expect(Buffer.from(encode({ a: 5e9, b: -5e9 })).toString("hex")).toBe(
      "82a161d3000000012a05f200a162d3fffffffed5fa0e00",
    );
    const numbers = [
      2 ** 53 - 1,
      -(2 ** 53) + 1,
      2 ** 32,
      2 ** 32 - 1,
      -(2 ** 31),
      -(2 ** 31) - 1,
      0.1,
      -0,
      1e300,
    ];
    expect(decode(encode({ numbers }))).toEqual({ numbers: numbers.map((n) => n + 0) });
  });
  test("leaves out fields that are undefined, also in objects without a prototype", () => {
    const bare: unknown = Object.assign(Object.create(null) as object, { x: 1, y: undefined });
    expect(decode(encode({ a: undefined, bare }))).toEqual({ bare: { x: 1 } });
  });
  test("text that is cut within a character becomes valid", () => {
    expect(decode(encode({ a: "x🌧".slice(0, 2) }))).toEqual({ a: "x\ufffd" });
  });
  test.each<[string, object]>([
    ["a Map", { a: new Map() }],
    ["a Date", { a: new Date(0) }],
    ["undefined in a list", { a: [undefined] }],
    ["a BigInt", { a: 1n }],
    ["a function", { a: () => 1 }],
    ["a forbidden key", { a: { constructor: 1 } }],
  ])("refuses %s and names the place", (_, message) => {
    const error = refusal(() => encode(message));
    expect(error.code).toBe("bad-message");
    expect(error.message).toContain("a");
  });
  test("refuses what no receiver takes", () => {
    let deep: unknown = 1;
    for (let i = 0; i < 40; i++) deep = [deep];
    const tooLarge = [
      { text: "x".repeat(limits.messageStringBytes + 1) },
      { deep },
      { data: new Uint8Array(limits.messageBytes) },
      { items: Array.from({ length: limits.messageItems }, () => 0) },
    ];
    for (const message of tooLarge) expect(refusal(() => encode(message)).code).toBe("limit-exceeded");
  });
  test("the bytes of one message stay when more are made", () => {
    const first = encode({ text: "first" });
    for (let i = 0; i < 5_000; i++) encode({ text: `other ${i}` });
    expect(decode(first)).toEqual({ text: "first" });
  });
});

describe("decode", () => {
  test("bin is a Uint8Array with memory of its own", () => {
    const bytes = Buffer.from(encode({ data: Uint8Array.of(1, 2, 3) }));
    const { data } = decode(bytes) as { data: Uint8Array };
    bytes.fill(0);
    expect(data.constructor).toBe(Uint8Array);
    expect([...data]).toEqual([1, 2, 3]);
  });
  test("reads every form that another language may choose", () => {
    const wide = hex("df00000001 db00000001 61 dd00000004 ce00000001 cf0000000000000002 d00a ca3fc00000");
    expect(decode(wide)).toEqual({ a: [1, 2, 10, 1.5] });
    expect(decode(hex("de0001 d90161 dc0003 c50001ff c60000000100 da000162"))).toEqual({
      a: [Uint8Array.of(255), Uint8Array.of(0), "b"],
    });
  });
  test("an integer beyond 2^53 is refused by the schema", () => {
    const value = decode(hex("82 a474797065 ab7365727665722e696e666f a3726571 cf0020000000000001"));
    expect(refusal(() => parse(clientRequest, value, "request")).message).toContain("req");
  });

  const keys = (...names: string[]): Buffer =>
    Buffer.concat([
      Buffer.of(0xde, names.length >> 8, names.length & 0xff),
      ...names.flatMap((name) => [Buffer.of(0xd9, Buffer.byteLength(name)), Buffer.from(name), Buffer.of(1)]),
    ]);
  const many = Array.from({ length: 9_000 }, (_, i) => `key ${i}`);

  test.each<[string, Uint8Array, number, RegExp]>([
    ["nothing", new Uint8Array(0), 0, /ends in the middle/],
    ["a cut integer", hex("81 a161 cd01"), 3, /only 2 are left/],
    ["a cut text", hex("81 a161 a57878"), 3, /only 3 are left/],
    ["a cut length", hex("da01"), 0, /ends in the middle/],
    ["the unused byte", hex("81 a161 c1"), 3, /c1/],
    ["trailing bytes", hex("80 00 00"), 1, /2 bytes after/],
    ["an extension", hex("81 a161 d40001"), 3, /extension/],
    ["an extension with a length", hex("c70300 010203"), 0, /extension/],
    ["undefined as msgpackr writes it", hex("81 a161 d40000"), 3, /extension/],
    ["a record of msgpackr", hex("d47240 91 a161 01"), 0, /extension/],
    ["a number as key", hex("81 01 01"), 1, /key that is not a text/],
    ["bad UTF-8", hex("81 a161 a1ff"), 3, /UTF-8/],
    ["an overlong form", hex("a2 c080"), 0, /UTF-8/],
    ["a surrogate", hex("a3 eda080"), 0, /UTF-8/],
    [
      "bad UTF-8 in a long text",
      Buffer.concat([hex("da0200"), Buffer.alloc(511, 97), hex("c3")]),
      0,
      /UTF-8/,
    ],
    ["a key twice", keys("a", "b", "a"), 13, /twice/],
    ["a key twice among thousands", keys(...many, "key 77"), -1, /twice/],
    ["__proto__", keys("__proto__"), 5, /__proto__/],
    ["constructor", keys("a", "constructor"), 9, /constructor/],
    ["prototype within", Buffer.concat([hex("81 a161"), keys("prototype")]), 8, /prototype/],
    ["a huge map", Buffer.concat([hex("de4e20"), Buffer.alloc(60_000)]), 0, /20000 keys/],
    ["a list longer than the bytes", hex("dd ffffffff"), 0, /4294967295 entries where only 0/],
    ["a map longer than the bytes", hex("df ffffffff 00"), 0, /4294967295 entries where only 1/],
    [
      "nested lists, 32 bits",
      Buffer.concat([repeat(hex("dd 00000001"), 800_000), hex("c0")]),
      160,
      /deeper than 32/,
    ],
    [
      "nested lists, 16 bits",
      Buffer.concat([repeat(hex("dc 0001"), 1_300_000), hex("c0")]),
      96,
      /deeper than 32/,
    ],
    ["depth 200,000", Buffer.concat([repeat(hex("91"), 200_000), hex("c0")]), 32, /deeper than 32/],
    ["nested maps", Buffer.concat([repeat(hex("81 a161"), 200_000), hex("c0")]), 96, /deeper than 32/],
    ["4 MiB of empty maps", list(4_194_299, repeat(hex("80"), 4_194_299)), 0, /values/],
    ["16 MiB of empty maps", list(16_777_211, repeat(hex("80"), 16_777_211)), 0, /at most 4194304/],
    [
      "a text of more than 1 MiB",
      Buffer.concat([hex("db"), u32(2 ** 20 + 1), Buffer.alloc(2 ** 20 + 1, 97)]),
      0,
      /a text of 1048577/,
    ],
  ])("case 38: refuses %s, before anything is built of it", (_, bytes, offset, problem) => {
    const before = process.memoryUsage();
    const error = refusal(() => decode(bytes));
    const after = process.memoryUsage();
    // 16 MiB of empty maps would be 1.1 GiB; what is refused costs the list of a map's keys and no more.
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(2 ** 24);
    expect(error.code).toBe("bad-message");
    expect(error.message).toMatch(problem);
    if (offset >= 0) expect(error.facts["offset"]).toBe(offset);
  });

  test("a message of the largest size passes", () => {
    const texts = Math.floor((messageBounds.bytes - 5) / 21);
    const body = repeat(Buffer.concat([Buffer.of(0xb4), Buffer.from("é".repeat(10))]), texts);
    expect((decode(list(texts, body)) as unknown[]).length).toBe(texts);
  });

  test("random bytes are refused or decoded, and never anything else", () => {
    let state = 12_345;
    const next = (): number => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 16;
    const seed = encode({
      type: "finish",
      outputs: [{ a: 1.5, b: "text", c: Uint8Array.of(1, 2) }],
      info: {},
    });
    for (let round = 0; round < 20_000; round++) {
      const bytes = Uint8Array.from(seed);
      for (let flips = 1 + (next() % 4); flips > 0; flips--) bytes[next() % bytes.length] = next() & 0xff;
      const cut = next() % 3 === 0 ? bytes.subarray(0, next() % bytes.length) : bytes;
      try {
        decode(cut);
      } catch (error) {
        expect(error).toBeInstanceOf(RainError);
        expect((error as RainError).code).toBe("bad-message");
      }
    }
  });
});

describe("parse", () => {
  /** More often than a schema is asked before it is compiled. */
  const OFTEN = 40;
  const submit = (change: object): object => ({
    type: "submit",
    req: 1,
    session: 1,
    key: "12345678",
    part: 0,
    last: true,
    constants: [],
    tasks: [
      {
        id: 0,
        work: { type: "execute", args: ["a"] },
        inputs: [],
        outputs: [{ object: 0, label: "o", kind: "blob", contentType: "", keep: false, ...change }],
        request: { cpus: 1, gpus: 0, memory: 0, named: {} },
      },
    ],
  });
  test.each<[string, object, RegExp]>([
    ["a bad path", submit({ path: "../x" }), /^submit: tasks\[0\]\.outputs\[0\]\.path: .*leaves/],
    ["a missing field", submit({ keep: undefined }), /^submit: tasks\[0\]\.outputs\[0\]\.keep: /],
    ["an unknown field", submit({ more: 1 }), /^submit: tasks\[0\]\.outputs\[0\]: .*more/],
    ["NaN", { ...submit({}), part: Number.NaN }, /^submit: part: /],
    ["2^53", { ...submit({}), part: 2 ** 53 }, /^submit: part: /],
    ["a negative number", { ...submit({}), part: -1 }, /^submit: part: /],
    ["an unknown type", { type: "sumbit", req: 1 }, /^submit: type: is not one of the known kinds/],
    ["no object", {}, /^submit: type: /],
    ["attributes that are no JSON", submit({ user: { a: [1, Buffer.from("x")] } }), /outputs\[0\]\.user/],
  ])("names the place of %s, however often it came", (_, value, problem) => {
    for (let time = 0; time < OFTEN; time++) {
      const error = refusal(() => parse(clientRequest, decode(encode(value)), "submit"));
      expect(error.code).toBe("bad-message");
      expect(error.message).toMatch(problem);
    }
  });
  test("gives the same for what came often", () => {
    const user = { text: "a", number: 1.5, none: null, list: [true, { deep: ["b", {}] }] };
    const value = submit({ user, path: "a/b" });
    for (let time = 0; time < OFTEN; time++)
      expect(parse(clientRequest, decode(encode(value)), "submit")).toEqual(value);
  });
  test("names the place within a union, and escapes hostile keys", () => {
    const bad = {
      type: "fail",
      session: 1,
      task: 0,
      attempt: 1,
      failure: { reason: "exit", message: 3 },
      info: {},
    };
    expect(refusal(() => parse(governorMessage, bad, "fail")).message).toMatch(/^fail: failure\.message: /);
    const register = {
      type: "register",
      identity: "12345678",
      incarnation: "12345678",
      name: "n",
      dataUrl: "",
      capacity: { cpus: 1, gpus: 0, memory: 0, named: {} },
      labels: { "\u001b[31m": 5 },
      attempts: [],
    };
    expect(refusal(() => parse(governorMessage, register, "register")).message).toContain(
      String.raw`labels["\u001b[31m"]: `,
    );
  });
});
