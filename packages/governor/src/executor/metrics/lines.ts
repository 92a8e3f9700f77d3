import { StringDecoder } from "node:string_decoder";
import { stripVTControlCharacters } from "node:util";

/** Characters of a line that are looked at; the rest of a longer one is skipped. */
export const LINE_LENGTH = 8_192;

/**
 * Cuts what a program writes into lines, as they come. A line that is drawn again and again (progress bars end each
 * state with a carriage return) gives only its last whole state of each piece: as often as somebody looks.
 */
export class Lines {
  readonly #decoder = new StringDecoder("utf8");
  readonly #longest: number;
  /** What has come of a line that has no end yet, at most `#longest` characters. */
  #open = "";
  /** A state of the present line, ended by a carriage return. */
  #redrawn: string | undefined;

  constructor(longest: number = LINE_LENGTH) {
    this.#longest = longest;
  }

  /** The lines that these bytes end. */
  *push(bytes: Buffer): Generator<string, void> {
    const text = this.#decoder.write(bytes);
    let from = 0;
    for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", from)) {
      this.#add(text.slice(from, at));
      yield* this.#endLine();
      from = at + 1;
    }
    this.#add(text.slice(from));
  }

  /** The last state of a line that is still being drawn; to be called when a look is over. */
  *look(): Generator<string, void> {
    if (this.#redrawn !== undefined) yield clean(this.#redrawn);
    this.#redrawn = undefined;
  }

  /** The last line, when it has no end. */
  *end(): Generator<string, void> {
    this.#add(this.#decoder.end());
    yield* this.#endLine();
  }

  *#endLine(): Generator<string, void> {
    // "\r\n" ends a line as "\n" does: what is open then is empty, and the state before it is the line.
    const last = this.#open === "" ? this.#redrawn : this.#open;
    this.#open = "";
    this.#redrawn = undefined;
    if (last !== undefined) yield clean(last);
  }

  #add(part: string): void {
    if (!part.includes("\r")) {
      if (this.#open.length < this.#longest) this.#open += part.slice(0, this.#longest - this.#open.length);
      return;
    }
    const states = (this.#open + part).split("\r");
    this.#open = (states.pop() ?? "").slice(0, this.#longest);
    const last = states.findLast((state) => state !== "");
    if (last !== undefined) this.#redrawn = last.slice(0, this.#longest);
  }
}

const control = /[^\P{Cc}\t]/u;
const controls = /[^\P{Cc}\t]/gu;
/** Without colours, cursor moves and titles of terminals, and other control characters. */
const clean = (line: string): string =>
  control.test(line) ? stripVTControlCharacters(line).replace(controls, "") : line;
