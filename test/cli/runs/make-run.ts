import { Client, type Session } from "@rain/client";
import type { RunManifest } from "../../../packages/cli/src/runs/manifest.ts";
import type { Home } from "../rain.ts";
import { manifest } from "./rows.ts";

/** A run as docs/runs.md has it, made with the client library. */

export interface MadeTrial {
  readonly texts: Readonly<Record<string, string>>;
  /** Line for sh. */
  readonly script: string;
  readonly combination?: number;
  readonly repeat?: number;
}

export const connect = (home: Home): Promise<Client> =>
  Client.connect({ accessFile: home.path("default", "access.json") });

export async function makeRun(
  client: Client,
  fields: Partial<RunManifest>,
  trials: readonly MadeTrial[],
): Promise<Session> {
  const run = manifest({ count: trials.length, created: Date.now(), ...fields });
  const session = await client.newSession(run.name, {
    onError: "continue",
    detached: true,
    unique: true,
    user: { run: JSON.parse(JSON.stringify(run)) as never },
  });
  for (const [index, { texts, script, combination = index, repeat = 0 }] of trials.entries()) {
    const task = session.execute(["sh", "-c", script, "trial", ...Object.values(texts)], {
      name: `${run.name}-exp${index}`,
      stdout: true,
      files: "artifacts",
      metrics: true,
      env: { RAIN_RUN: run.name, RAIN_EXPERIMENT: String(index), RAIN_SEED: String(run.seed + index) },
      user: { trial: { index, combination, repeat, params: numbers(texts), texts } },
    });
    task.keepOutputs();
  }
  await session.submit();
  return session;
}

const numbers = (texts: Readonly<Record<string, string>>): Record<string, string | number> =>
  Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, Number.isNaN(Number(text)) ? text : Number(text)]),
  );
