import type { Digest, DroppedObject, ObjectRef } from "@rain/protocol";
import { objectKey } from "./types.ts";

/** What this governor has of some bytes, and who needs them. */
interface Entry {
  /** An `acquire` of them is under way. */
  acquiring: boolean;
  /** They are in the store. */
  present: boolean;
  /** Objects (by key) that have these bytes. */
  readonly objects: Set<string>;
  /** Attempts (by key) that wait for them or use them. */
  readonly users: Set<string>;
}

/** Which bytes are here, which objects they are, and which attempts use them. Bytes go when neither is left. */
export class Holdings {
  readonly #entries = new Map<Digest, Entry>();
  readonly #objects = new Map<string, { readonly ref: ObjectRef; readonly sha256: Digest }>();
  readonly #remove: (sha256: Digest) => void;

  /** `remove` is called when bytes are of no more use. */
  constructor(remove: (sha256: Digest) => void) {
    this.#remove = remove;
  }

  has(sha256: Digest): boolean {
    return this.#entries.get(sha256)?.present ?? false;
  }

  /** An attempt needs these bytes from now on. Answers what to do about them. */
  use(sha256: Digest, user: string): "present" | "coming" | "acquire" {
    const entry = this.#entry(sha256);
    entry.users.add(user);
    if (entry.present) return "present";
    if (entry.acquiring) return "coming";
    entry.acquiring = true;
    return "acquire";
  }

  /** The attempt is done with these bytes. */
  unuse(sha256: Digest, user: string): void {
    const entry = this.#entries.get(sha256);
    if (!entry) return;
    entry.users.delete(user);
    this.#collect(sha256, entry);
  }

  /** An `acquire` ended. Answers the attempts (by key) that use these bytes. */
  acquired(sha256: Digest): string[] {
    const entry = this.#pending(sha256);
    entry.acquiring = false;
    entry.present = true;
    return [...entry.users];
  }

  /** An `acquire` failed. Answers the attempts that cannot go on; none when the bytes came in another way. */
  acquireFailed(sha256: Digest): string[] {
    const entry = this.#pending(sha256);
    entry.acquiring = false;
    return entry.present ? [] : [...entry.users];
  }

  /** A run put these bytes into the store. Answers the attempts that use them. */
  produced(sha256: Digest): string[] {
    const entry = this.#entry(sha256);
    entry.present = true;
    return [...entry.users];
  }

  /** Deletes bytes that are of no use. To be called after `acquired`, `acquireFailed` and `produced`. */
  settle(sha256: Digest): void {
    const entry = this.#entries.get(sha256);
    if (entry) this.#collect(sha256, entry);
  }

  /** This object is here, with these bytes. Answers whether that is news. */
  hold(ref: ObjectRef, sha256: Digest): boolean {
    const key = objectKey(ref);
    const before = this.#objects.get(key);
    if (before?.sha256 === sha256) return false;
    if (before) this.drop(ref); // its program ran again and wrote other bytes
    this.#objects.set(key, { ref: { session: ref.session, object: ref.object }, sha256 });
    this.#entry(sha256).objects.add(key);
    return true;
  }

  /** The object is not needed here; with a digest, that version of it. */
  drop(ref: DroppedObject): void {
    const key = objectKey(ref);
    const held = this.#objects.get(key);
    if (!held || (ref.sha256 ?? held.sha256) !== held.sha256) return;
    this.#objects.delete(key);
    const entry = this.#entry(held.sha256);
    entry.objects.delete(key);
    this.#collect(held.sha256, entry);
  }

  /** Number of objects that are here. */
  get count(): number {
    return this.#objects.size;
  }

  /** All objects that are here. */
  *all(): IterableIterator<ObjectRef & { readonly sha256: Digest }> {
    for (const { ref, sha256 } of this.#objects.values()) yield { ...ref, sha256 };
  }

  #entry(sha256: Digest): Entry {
    let entry = this.#entries.get(sha256);
    if (!entry) {
      entry = { acquiring: false, present: false, objects: new Set(), users: new Set() };
      this.#entries.set(sha256, entry);
    }
    return entry;
  }

  #pending(sha256: Digest): Entry {
    const entry = this.#entries.get(sha256);
    if (!entry?.acquiring) throw new Error(`an answer about ${sha256}, which nobody asked for`);
    return entry;
  }

  #collect(sha256: Digest, entry: Entry): void {
    if (entry.acquiring || entry.users.size > 0 || entry.objects.size > 0) return;
    this.#entries.delete(sha256);
    if (entry.present) this.#remove(sha256);
  }
}
