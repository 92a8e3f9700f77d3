import type { Client } from "@rain/client";
import { asGovernorId, type GovernorView } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import { governorJson, governorTable } from "../governors-view.ts";
import { print } from "../output.ts";

/** `rain governors`: the governors of the server, with their labels and environments. */
export async function run(context: Context): Promise<number> {
  const { governors } = await withClient(context, (client) => client.request("server.info", {}));
  const json = { governors: governors.map(governorJson) };
  print(context.io, context.globals.output, json, () =>
    json.governors.length === 0
      ? 'No governors: nothing can run. Start one with "rain governor".'
      : governorTable(json.governors, context.io),
  );
  return exitCodes.ok;
}

/** `rain governors drain|stop GOVERNOR...`: by number or name. Nothing is done when one of them is not known. */
export async function act(
  context: Context,
  what: "drain" | "stop",
  wanted: readonly string[],
): Promise<number> {
  const done = await withClient(context, async (client) => {
    const { governors } = await client.request("server.info", {});
    const chosen = wanted.map((text) => find(governors, text));
    for (const { governor } of chosen) await ask(client, what, governor);
    return chosen.map(({ governor, name }) => ({ id: governor, name }));
  });
  const verb =
    what === "drain" ? "drained: it gets no new tasks and stops when it is not needed" : "told to stop";
  print(context.io, context.globals.output, { [what]: done }, () =>
    done.map(({ id, name }) => `governor ${id} (${name}) is ${verb}`).join("\n"),
  );
  return exitCodes.ok;
}

const ask = (client: Client, what: "drain" | "stop", governor: GovernorView["governor"]): Promise<object> =>
  client.request(what === "drain" ? "governor.drain" : "governor.stop", { governor: asGovernorId(governor) });

function find(governors: readonly GovernorView[], text: string): GovernorView {
  const found = governors.filter((each) => String(each.governor) === text || each.name === text);
  const [one, ...others] = found;
  if (one !== undefined && others.length === 0) return one;
  const known = governors.map((each) => `${each.governor} (${each.name})`).join(", ") || "none";
  throw new CommandError(
    exitCodes.failed,
    one === undefined
      ? `there is no governor ${JSON.stringify(text)}; known: ${known}`
      : `${JSON.stringify(text)} is the name of several governors: use the number; known: ${known}`,
  );
}
