import {
  asObjectId,
  formatObject,
  RainError,
  type ObjectId,
  type ObjectInfo,
  type ObjectKind,
  type ObjectState,
  type UserAttributes,
} from "@rain/protocol";
import type { TreeEntry } from "@rain/protocol/tree";
import { badRequest } from "./check.ts";
import type { DataInstance } from "./instance.ts";
import type { Session } from "./session.ts";
import type { Spool } from "./spool.ts";
import type { Task } from "./task.ts";
import type { WaitOptions } from "./wait-limit.ts";

/** What the library knows of a data object. The handle that users hold reads it; the session changes it. */
export interface ObjectRecord {
  readonly label: string;
  readonly kind: ObjectKind;
  /** As declared; what was measured is in `info`. */
  readonly contentType: string;
  /** Bytes of a constant, or where they are; undefined for an output, and for a folder that is not packed yet. */
  content: Uint8Array | Spool | undefined;
  /** The folder of this machine that a constant directory is made of at its submit. */
  readonly folder: string | undefined;
  /** The part of the folder that is meant; undefined for all of it. */
  readonly entries: readonly TreeEntry[] | undefined;
  /** A constant whose bytes the server has already: a datastore. */
  readonly stored: boolean;
  /** Attributes that it was declared with. */
  user: UserAttributes | undefined;
  session: Session | undefined;
  id: ObjectId | undefined;
  producer: Task | undefined;
  /** An output of a task of an array: all of them are kept, or none. */
  readonly ofArray: boolean;
  keep: boolean;
  /** "sent": a submit with it is under way or done, so that its description is fixed. "unkept": let go since. */
  phase: "new" | "sent" | "unkept";
  state: ObjectState | undefined;
  info: ObjectInfo | undefined;
}

/** What was asked of a data object. */
export interface DataObjectSpec {
  readonly id: number | undefined;
  readonly label: string;
  readonly kind: ObjectKind;
  readonly contentType: string;
  readonly keep: boolean;
  readonly user: UserAttributes;
}

/** For the library's own files: the record behind a handle. */
export let recordOf: (object: DataObject) => ObjectRecord;

/**
 * An immutable piece of data: an output of a task, or a constant. Its bytes can be fetched when it was kept before the
 * submit that makes it.
 */
export class DataObject {
  readonly #record: ObjectRecord;

  static {
    recordOf = (object) => object.#record;
  }

  /** Made by `blob`, `json`, `directory`, and by the tasks; not by users. */
  constructor(record: ObjectRecord) {
    this.#record = record;
  }

  /** Number in its session; undefined for a constant that no task uses yet. */
  get id(): number | undefined {
    return this.#record.id;
  }
  get session(): Session | undefined {
    return this.#record.session;
  }
  get label(): string {
    return this.#record.label;
  }
  get kind(): ObjectKind {
    return this.#record.kind;
  }
  /** The measured content type, or the declared one as long as nothing was measured. */
  get contentType(): string {
    return this.#record.info?.contentType ?? this.#record.contentType;
  }
  /** The task that makes it; undefined for a constant. */
  get producer(): Task | undefined {
    return this.#record.producer;
  }
  get isKept(): boolean {
    return this.#record.keep && this.#record.phase !== "unkept";
  }
  /** Where it was at the last news: `update()` asks for news. Undefined until it is submitted. */
  get state(): ObjectState | undefined {
    return this.#record.state;
  }
  /** What was declared: `label`, `kind`, `contentType`, `keep`, and the `user` attributes. */
  get spec(): DataObjectSpec {
    const { id, label, kind, contentType, keep, user } = this.#record;
    return { id, label, kind, contentType, keep, user: user ?? {} };
  }
  /**
   * `size` in bytes, `sha256`, `contentType`: known once it is finished and fetched or updated. `user` has the
   * attributes of the `spec`, and those that its task set.
   */
  get info(): Partial<ObjectInfo> {
    const { info, user } = this.#record;
    const attributes = { ...user, ...info?.user };
    return { ...info, ...(Object.keys(attributes).length > 0 && { user: attributes }) };
  }

  /** Hold the object beyond its consumers, so that it can be fetched and used by later submits. Before the submit. */
  keep(): this {
    if (this.#record.phase !== "new") {
      throw badRequest(`${nameObject(this)} is submitted: keep() it before the submit that makes it`);
    }
    if (this.#record.ofArray && !this.#record.keep) throw keptWithArray(this);
    this.#record.keep = true;
    return this;
  }

  /** Let go of it: it is removed everywhere once no task needs it. At any time; the promise tells when it is agreed. */
  async unkeep(): Promise<void> {
    const record = this.#record;
    checkOwnKeep(this);
    if (record.phase === "new") record.keep = false;
    else await this.#sessionOr("unkeep").unkeep([this]);
  }

  /** Until it is there. Throws what its task's `wait` throws. */
  async wait(options: WaitOptions = {}): Promise<void> {
    await this.#sessionOr("wait for").wait([this], options);
  }

  /** Brings its bytes here, once it is finished. It must have been kept. */
  async fetch(options: WaitOptions = {}): Promise<DataInstance> {
    return await this.#sessionOr("fetch").fetch(this, options);
  }

  /** Asks the server for `state` and `info`. */
  async update(): Promise<this> {
    await this.#sessionOr("update").update([this]);
    return this;
  }

  #sessionOr(verb: string): Session {
    const { session } = this.#record;
    if (session) return session;
    throw badRequest(`cannot ${verb} ${nameObject(this)}: no task uses it, so that it belongs to no session`);
  }
}

/** How people read a data object: `data object 3/o17 (stdout)`. */
export function nameObject(object: DataObject): string {
  const { session, id, label } = object;
  const number = session && id !== undefined ? ` ${formatObject(session.id, asObjectId(id))}` : "";
  return `data object${number}${label === "" ? "" : ` (${label})`}`;
}

/** Throws when whether to keep it is not for it alone to say: before the submit of its array. */
export function checkOwnKeep(object: DataObject): void {
  const { ofArray, phase, keep } = recordOf(object);
  if (ofArray && phase === "new" && keep) throw keptWithArray(object);
}
const keptWithArray = (object: DataObject): RainError =>
  badRequest(
    `${nameObject(object)} is of a task array, of which all outputs are kept or none: array.keepOutputs()`,
  );

/** Throws unless a new task of `session` may use the object. */
export function checkUsable(object: DataObject, session: Session): void {
  const record = recordOf(object);
  if (record.session && record.session !== session) {
    const other = `session ${record.session.id} (${record.session.name})`;
    throw badRequest(`${nameObject(object)} belongs to ${other}; it cannot be used in session ${session.id}`);
  }
  if (record.phase === "unkept") {
    throw new RainError(
      "object-removed",
      `${nameObject(object)} was let go by unkeep(); it cannot be used any more`,
    );
  }
  if (record.phase === "sent" && !record.keep) {
    throw new RainError(
      "not-kept",
      `${nameObject(object)} is of an earlier submit and not kept; keep() it before the submit that makes it`,
    );
  }
}

export const newRecord = (
  fields: Pick<ObjectRecord, "label" | "contentType"> & Partial<ObjectRecord>,
): ObjectRecord => ({
  kind: "blob",
  content: undefined,
  folder: undefined,
  entries: undefined,
  stored: false,
  user: undefined,
  session: undefined,
  id: undefined,
  producer: undefined,
  ofArray: false,
  keep: false,
  phase: "new",
  state: undefined,
  info: undefined,
  ...fields,
});
