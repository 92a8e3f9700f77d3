import { readFileSync } from "node:fs";
import { clientRequest, governorMessage, RainError, serverToClient, serverToGovernor } from "@rain/protocol";
import { decode, encode, parse } from "@rain/protocol/codec";
import { Mutator } from "../mutate.ts";
import type { Random } from "../random.ts";
import { showBytes, type OpenTarget, type Outcome, type Target } from "../target.ts";

/** Every token of msgpack that begins another kind of value, and the edges of those with a length in them. */
const tokens: readonly number[] = [
  0x00,
  0x7f,
  0x80,
  0x81,
  0x8f,
  0x90,
  0x91,
  0x9f,
  0xa0,
  0xa1,
  0xbf,
  0xe0,
  0xff,
  ...Array.from({ length: 32 }, (_, at) => 0xc0 + at),
];
type Schema = Parameters<typeof parse>[0];

/** The golden vectors: every message that is said, with the schema that its receiver has. */
function vectors(): { readonly bytes: Uint8Array; readonly schema: Schema; readonly name: string }[] {
  const text = readFileSync(new URL("../../protocol/golden/messages.json", import.meta.url), "utf8");
  const golden = JSON.parse(text) as Record<string, string>;
  return Object.entries(golden).map(([name, hex]) => ({
    name,
    bytes: new Uint8Array(Buffer.from(hex, "hex")),
    schema: schemaOf(name),
  }));
}

function schemaOf(name: string): Schema {
  if (name.startsWith("request ")) return clientRequest;
  if (name.startsWith("governor ")) return governorMessage;
  return name.startsWith("to governor ") ? serverToGovernor : serverToClient;
}

/** Nothing comes out but what JSON has, and bytes. */
function checkPlain(value: unknown): void {
  if (typeof value === "number" || typeof value === "string" || typeof value === "boolean") return;
  if (value === null || value instanceof Uint8Array) return;
  if (Array.isArray(value)) return value.forEach(checkPlain);
  if (typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype)
    throw new Error(`a value of another kind: ${Object.prototype.toString.call(value)}`);
  for (const key in value) checkPlain(Reflect.get(value, key));
}

/** Bytes of a message: decoded and parsed, or refused. What is decoded has a form that comes back. */
export const decoder: Target = {
  name: "decoder",
  open: () => {
    const all = vectors();
    const mutator = new Mutator(
      all.map(({ bytes }) => bytes),
      tokens,
      4_096,
    );
    const input = (random: Random): { bytes: Uint8Array; schema: Schema; name: string } => {
      const { bytes, schema, name } = random.pick(all);
      return { bytes: mutator.of(bytes, random), schema, name };
    };
    const target: OpenTarget = {
      run: (random): Outcome => {
        const { bytes, schema, name } = input(random);
        let value: unknown;
        try {
          value = decode(bytes);
          checkPlain(value);
          parse(schema, value, name);
        } catch (error) {
          if (!(error instanceof RainError) || error.code !== "bad-message") throw error;
          // What passed the scan of its structure has to be readable: the two must not see different things.
          if (error.cause !== undefined) throw error;
          return "refused";
        }
        // What a receiver takes it can also say, and it means the same.
        if (typeof value === "object" && value !== null && random.oneIn(16)) {
          const told = encode(value);
          if (JSON.stringify(decode(told)) !== JSON.stringify(value))
            throw new Error(`${name} is another message when it is said again`);
        }
        return "accepted";
      },
      show: (random) => {
        const { bytes, name } = input(random);
        return `mutant of "${name}": ${showBytes(bytes)}`;
      },
    };
    return Promise.resolve(target);
  },
};
