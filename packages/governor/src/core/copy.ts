import type { Digest, ObjectRef, ServerToGovernor } from "@rain/protocol";
import type { Machine } from "./machine.ts";
import { objectKey } from "./types.ts";

/** Objects that the server wants to have here, although no attempt here needs them: another governor is drained. */

type Copy = Extract<ServerToGovernor, { readonly type: "copy" }>;

export function copy(m: Machine, message: Copy): void {
  for (const { sha256, size, kind, sources, ...ref } of message.objects) {
    const user = userOf(ref, sha256);
    if (m.copying.has(user)) continue;
    if (m.leaving || m.fresh.has(objectKey(ref))) {
      m.uncopied.push({ ...ref, why: m.leaving ? "it is leaving" : "it has just made another version" });
      continue;
    }
    m.copying.set(user, { ref, sha256 });
    const answer = m.holdings.use(sha256, user);
    if (answer === "present") take(m, user);
    if (answer === "acquire") m.emit({ type: "acquire", sha256, size, kind, data: undefined, sources });
  }
}

/** Bytes came in: the objects (by the names of their users) that were waiting for them are here. */
export function copied(m: Machine, users: readonly string[]): void {
  for (const user of users) take(m, user);
}

export function copyFailed(m: Machine, users: readonly string[], why: string): void {
  for (const user of users) {
    const wanted = m.copying.get(user);
    if (!wanted) continue;
    m.copying.delete(user);
    m.holdings.unuse(wanted.sha256, user);
    m.uncopied.push({ ...wanted.ref, why });
  }
}

function take(m: Machine, user: string): void {
  const wanted = m.copying.get(user);
  if (!wanted) return;
  const { ref, sha256 } = wanted;
  m.copying.delete(user);
  if (m.fresh.has(objectKey(ref))) m.uncopied.push({ ...ref, why: "it has just made another version" });
  else {
    m.holdings.hold(ref, sha256);
    m.copied.push({ ...ref, sha256 });
  }
  m.holdings.unuse(sha256, user);
}

const userOf = (ref: ObjectRef, sha256: Digest): string => `copy ${objectKey(ref)} ${sha256}`;
