import { readFileSync } from "node:fs";
import {
  clientRequest,
  governorMessage,
  replySchemas,
  requestTypes,
  serverToClient,
  serverToGovernor,
} from "@rain/protocol";
import { decode, encode, parse } from "@rain/protocol/codec";
import { describe, expect, test } from "vitest";
import {
  error,
  governorMessages,
  laterFields,
  laterMessages,
  laterReplies,
  replies,
  requests,
  toGovernor,
} from "./golden/messages.ts";

const golden = new Map<string, string>(
  Object.entries(
    JSON.parse(readFileSync(new URL("golden/messages.json", import.meta.url), "utf8")) as Record<
      string,
      string
    >,
  ),
);

interface Case {
  readonly message: object;
  readonly schema: Parameters<typeof parse>[0];
}
const cases = new Map<string, Case>();
const add = (direction: string, messages: object, schema: Parameters<typeof parse>[0]): void => {
  for (const [type, message] of Object.entries(messages) as [string, object][])
    cases.set(`${direction} ${type}`, { message, schema });
};
add("request", requests, clientRequest);
add("governor", governorMessages, governorMessage);
add("to governor", toGovernor, serverToGovernor);
cases.set("request submit, later parts", { message: laterMessages.request, schema: clientRequest });
cases.set("governor finish, later parts", { message: laterMessages.finish, schema: governorMessage });
add("request", laterFields.requests, clientRequest);
add("governor", laterFields.governor, governorMessage);
add("to governor", laterFields.toGovernor, serverToGovernor);
cases.set("error", { message: error, schema: serverToClient });
for (const type of requestTypes)
  cases.set(`reply ${type}`, {
    message: { type: "reply", req: 1, ok: replies[type] },
    schema: serverToClient,
  });

for (const [name, ok] of Object.entries(laterReplies))
  cases.set(`reply ${name}`, { message: { type: "reply", req: 1, ok }, schema: serverToClient });

describe("golden bytes", () => {
  test("there is a vector for each message and a message for each vector", () => {
    expect([...golden.keys()].toSorted()).toEqual([...cases.keys()].toSorted());
  });
  test.each([...cases])("%s", (name, { message, schema }) => {
    const hex = golden.get(name) ?? "";
    expect(Buffer.from(encode(message)).toString("hex")).toBe(hex);
    const value = decode(Buffer.from(hex, "hex"));
    expect(value).toEqual(message);
    expect(parse(schema, value, name)).toEqual(message);
  });
  test.each(requestTypes)("reply to %s is of its schema", (type) => {
    const bytes = encode({ type: "reply", req: 1, ok: replies[type] });
    const { ok } = decode(bytes) as { ok: unknown };
    expect(parse<object>(replySchemas[type], ok, type)).toEqual(replies[type]);
  });
  test.each(Object.entries(laterReplies))("reply to %s is of its schema", (name, reply) => {
    const { ok } = decode(encode({ ok: reply })) as { ok: unknown };
    expect(parse(replySchemas.next, ok, name)).toEqual(reply);
  });
});
